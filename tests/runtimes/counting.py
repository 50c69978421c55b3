"""Threads that count under locks, sleep, and wait for each other; a process that echoes; generators.

Says "ready", and "ok" for each line that it is told.
"""

import hashlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time

THREADS = 8
complaints = []


def complain(what):
    complaints.append(what)


class Counters:
    """A number for each thread, and their sum, always the same under the lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.each = [0] * THREADS
        self.sum = 0

    def count(self, at):
        while True:
            with self.lock:
                if sum(self.each) != self.sum:
                    complain("the sum is %d, not %d" % (sum(self.each), self.sum))
                self.each[at] += 1
                self.sum += 1
            time.sleep(0.001 * at)


def sleeper():
    """No sleep is shorter than it was to be."""
    while True:
        begun = time.monotonic()
        time.sleep(0.2)
        slept = time.monotonic() - begun
        if slept < 0.2:
            complain("a sleep took %f s" % slept)


def answers(questions, given):
    """Waits with a limit of time that never comes."""
    while True:
        given.put(questions.get(timeout=3600) * 2)


def waiter(read, woken):
    """In select(2), for longer than the test takes."""
    while True:
        if not select.select([read], [], [], 3600)[0]:
            complain("select ended early")
        woken.put(os.read(read, 100))


def condition_of(condition, rounds):
    while True:
        with condition:
            if not condition.wait(3600):
                complain("a condition's wait ended early")
            rounds.append(len(rounds))


def numbers():
    at = 0
    while True:
        yield at
        at += 1


counters = Counters()
for at in range(THREADS):
    threading.Thread(target=counters.count, args=(at,), daemon=True).start()
threading.Thread(target=sleeper, daemon=True).start()
questions, given = queue.Queue(), queue.Queue()
threading.Thread(target=answers, args=(questions, given), daemon=True).start()
read, write = os.pipe()
woken = queue.Queue()
threading.Thread(target=waiter, args=(read, woken), daemon=True).start()
condition, rounds = threading.Condition(), []
threading.Thread(target=condition_of, args=(condition, rounds), daemon=True).start()

echo = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
generator = numbers()
generator.__next__()
data = {n: os.urandom(200) for n in range(20000)}
digest = hashlib.sha256(b"".join(data.values()))
before = digest.hexdigest()
caught = []
signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
signal.setitimer(signal.ITIMER_REAL, 5000)
log = open("/tmp/log", "w+b")
log.write(b"x" * 10000)
log.flush()
since = time.monotonic()


def look(turn):
    global since
    counted = list(counters.each)
    until = time.monotonic() + 60
    while not all(now > then for now, then in zip(counters.each, counted)):
        if time.monotonic() > until:
            complain("threads stand still: %s" % counted)
            break
        time.sleep(0.001)
    questions.put(turn)
    if given.get(timeout=60) != 2 * turn:
        complain("a queue gave something else")
    os.write(write, b"wake %d" % turn)
    if woken.get(timeout=60) != b"wake %d" % turn:
        complain("select gave something else")
    seen = len(rounds)
    with condition:
        condition.notify()
    while len(rounds) == seen and time.monotonic() < until:
        time.sleep(0.001)
    if len(rounds) != seen + 1:
        complain("a condition woke %d threads" % (len(rounds) - seen))
    echo.stdin.write(b"turn %d\n" % turn)
    echo.stdin.flush()
    if echo.stdout.readline() != b"turn %d\n" % turn:
        complain("cat says something else")
    if next(generator) != turn:
        complain("a generator is elsewhere")
    if hashlib.sha256(b"".join(data.values())).hexdigest() != before:
        complain("data are not what they were")
    if digest.hexdigest() != before:
        complain("a digest is not what it was")
    os.kill(os.getpid(), signal.SIGUSR1)
    if len(caught) != turn:
        complain("%d signals for %d" % (len(caught), turn))
    if not 4000 < signal.getitimer(signal.ITIMER_REAL)[0] <= 5000:
        complain("the timer has %s" % (signal.getitimer(signal.ITIMER_REAL),))
    log.write(b"y")
    log.flush()
    if log.tell() != 10000 + turn or os.fstat(log.fileno()).st_size != 10000 + turn:
        complain("the log is at %d" % log.tell())
    if subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode != 7:
        complain("the status of a child is lost")
    if time.monotonic() < since:
        complain("the monotonic clock went back")
    since = time.monotonic()


print("ready", flush=True)
for turn, _ in enumerate(sys.stdin, start=1):
    look(turn)
    print("; ".join(complaints) or "ok", flush=True)
echo.stdin.close()
if echo.wait() != 0:
    print("cat ended with", echo.returncode, flush=True)
