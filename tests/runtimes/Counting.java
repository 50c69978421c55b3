import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;

/**
 * Threads that count under a monitor, timers, waits with limits, a collector of garbage that always has work, and
 * loops that are compiled as they run. Says "ready", and "ok" for each line that it is told.
 */
public class Counting {
    static final int THREADS = 6;
    static final ConcurrentLinkedQueue<String> complaints = new ConcurrentLinkedQueue<>();
    static final AtomicLong ticks = new AtomicLong();
    static final AtomicLong rubbish = new AtomicLong();
    static final AtomicLong sums = new AtomicLong();

    static class Counters {
        final long[] each = new long[THREADS];
        long sum;

        synchronized void count(int at) {
            long found = 0;
            for (long one : each) found += one;
            if (found != sum) complaints.add("the sum is " + found + ", not " + sum);
            each[at]++;
            sum++;
        }

        synchronized long[] all() {
            return each.clone();
        }
    }

    interface Job {
        void turn() throws Exception;
    }

    static void forever(String name, Job job) {
        Thread thread = new Thread(() -> {
            while (true) {
                try {
                    job.turn();
                } catch (Throwable wrong) {
                    complaints.add(name + ": " + wrong);
                }
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
    }

    static double polynomial(double[] of, double at) {
        double value = 0;
        for (double one : of) value = value * at + one;
        return value;
    }

    public static void main(String[] arguments) throws Exception {
        Counters counters = new Counters();
        for (int number = 0; number < THREADS; number++) {
            int at = number;
            forever("counter " + at, () -> {
                counters.count(at);
                if (at % 2 == 0) Thread.sleep(1);
                else Thread.yield();
            });
        }
        forever("sleeper", () -> {
            long begun = System.nanoTime();
            Thread.sleep(200);
            long slept = System.nanoTime() - begun;
            if (slept < 200_000_000L) complaints.add("a sleep took " + slept + " ns");
        });
        LinkedBlockingQueue<Integer> questions = new LinkedBlockingQueue<>();
        SynchronousQueue<Integer> answers = new SynchronousQueue<>();
        forever("answers", () -> {
            Integer question = questions.poll(3600, TimeUnit.SECONDS);
            if (question == null) complaints.add("a wait of an hour has ended");
            else answers.put(2 * question);
        });
        forever("rubbish", () -> {
            List<byte[]> kept = new ArrayList<>();
            for (int at = 0; at < 200; at++) kept.add(new byte[10_000]);
            rubbish.addAndGet(kept.size());
            Thread.sleep(1);
        });
        double[] factors = new Random(1).doubles(64).toArray();
        double wanted = polynomial(factors, 0.7);
        forever("sums", () -> {
            for (int at = 0; at < 1000; at++) {
                if (polynomial(factors, 0.7) != wanted) complaints.add("a loop counts wrong");
            }
            sums.incrementAndGet();
            Thread.yield();
        });
        ScheduledExecutorService timers = Executors.newScheduledThreadPool(2, job -> {
            Thread thread = new Thread(job);
            thread.setDaemon(true);
            return thread;
        });
        timers.scheduleAtFixedRate(ticks::incrementAndGet, 10, 10, TimeUnit.MILLISECONDS);
        Map<Integer, byte[]> data = new HashMap<>();
        Random random = new Random(2);
        for (int at = 0; at < 5000; at++) {
            byte[] bytes = new byte[200];
            random.nextBytes(bytes);
            data.put(at, bytes);
        }
        long checksum = checksum(data);
        Process echo = new ProcessBuilder("/bin/cat").start();
        BufferedReader echoed = echo.inputReader();
        until("the first turns", () -> ticks.get() > 0 && rubbish.get() > 0 && sums.get() > 20);
        System.out.println("ready");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (int turn = 1; input.readLine() != null; turn++) {
            long[] counted = counters.all();
            long ticked = ticks.get();
            long thrown = rubbish.get();
            long summed = sums.get();
            until("every thread's next turn", () -> {
                long[] now = counters.all();
                boolean on = ticks.get() > ticked && rubbish.get() > thrown && sums.get() > summed;
                for (int at = 0; at < THREADS; at++) on &= now[at] > counted[at];
                return on;
            });
            questions.put(turn);
            Integer answer = answers.poll(60, TimeUnit.SECONDS);
            if (answer == null || answer != 2 * turn) complaints.add("the answer is " + answer);
            if (checksum(data) != checksum) complaints.add("data are not what they were");
            System.gc();
            int asked = turn;
            int given = CompletableFuture.supplyAsync(() -> asked + 1).get(60, TimeUnit.SECONDS);
            if (given != turn + 1) complaints.add("a pool of threads gave " + given);
            echo.getOutputStream().write(("turn " + turn + "\n").getBytes());
            echo.getOutputStream().flush();
            String line = echoed.readLine();
            if (!("turn " + turn).equals(line)) complaints.add("cat says " + line);
            System.out.println(complaints.isEmpty() ? "ok" : String.join("; ", complaints));
        }
        echo.getOutputStream().close();
        if (echo.waitFor() != 0) System.out.println("cat ended with " + echo.exitValue());
    }

    interface Fact {
        boolean holds();
    }

    static void until(String what, Fact fact) throws InterruptedException {
        long limit = System.nanoTime() + 60_000_000_000L;
        while (!fact.holds()) {
            if (System.nanoTime() > limit) {
                complaints.add("waited in vain for " + what);
                return;
            }
            Thread.sleep(1);
        }
    }

    static long checksum(Map<Integer, byte[]> data) {
        CRC32 sum = new CRC32();
        for (int at = 0; at < data.size(); at++) sum.update(data.get(at));
        return sum.getValue();
    }
}
