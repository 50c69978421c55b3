// Goroutines that count under a mutex, timers, waits with limits, and garbage that is always being collected.
// Says "ready", and "ok" for each line that it is told.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const goroutines = 200

var (
	lock       sync.Mutex
	each       [goroutines]int64
	sum        int64
	complaints []string
	said       sync.Mutex
)

func complain(format string, values ...any) {
	said.Lock()
	defer said.Unlock()
	complaints = append(complaints, fmt.Sprintf(format, values...))
}

func count(at int) {
	for {
		lock.Lock()
		var found int64
		for _, one := range each {
			found += one
		}
		if found != sum {
			complain("the sum is %d, not %d", found, sum)
		}
		each[at]++
		sum++
		lock.Unlock()
		if at%2 == 0 {
			time.Sleep(time.Millisecond)
		} else {
			runtime.Gosched()
		}
	}
}

// A stack that grows and shrinks all the time.
func deep(level int, seed byte) byte {
	var space [256]byte
	for at := range space {
		space[at] = seed
	}
	if level > 0 && deep(level-1, seed+1) != seed+1 {
		return seed - 1
	}
	return space[level%256]
}

func forever(turns *int64, turn func()) {
	for {
		turn()
		atomic.AddInt64(turns, 1)
	}
}

func until(what string, holds func() bool) {
	limit := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(limit) {
			complain("waited in vain for %s", what)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func all() [goroutines]int64 {
	lock.Lock()
	defer lock.Unlock()
	return each
}

func main() {
	for at := 0; at < goroutines; at++ {
		go count(at)
	}
	var sleeps, stacks, rubbish, ticks int64
	go forever(&sleeps, func() {
		begun := time.Now()
		time.Sleep(100 * time.Millisecond)
		if slept := time.Since(begun); slept < 100*time.Millisecond {
			complain("a sleep took %s", slept)
		}
	})
	go forever(&stacks, func() {
		if deep(200, 7) != 7 {
			complain("a stack is not what it was")
		}
		time.Sleep(time.Millisecond)
	})
	var kept [][]byte
	go forever(&rubbish, func() {
		kept = kept[:0]
		for at := 0; at < 100; at++ {
			kept = append(kept, make([]byte, 10000))
		}
		time.Sleep(time.Millisecond)
	})
	// Never gives its processor away: it is stopped by signals.
	var spins int64
	go func() {
		for {
			spins++
		}
	}()
	ticker := time.NewTicker(10 * time.Millisecond)
	go forever(&ticks, func() { <-ticker.C })
	questions, answers := make(chan int), make(chan int)
	go func() {
		for {
			select {
			case question := <-questions:
				answers <- 2 * question
			case <-time.After(time.Hour):
				complain("a wait of an hour has ended")
			}
		}
	}()
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGUSR1)
	data := map[int][]byte{}
	for at := 0; at < 5000; at++ {
		data[at] = []byte(strings.Repeat(fmt.Sprint(at), 50))
	}
	digest := func() string {
		hash := sha256.New()
		for at := 0; at < len(data); at++ {
			hash.Write(data[at])
		}
		return string(hash.Sum(nil))
	}
	before := digest()
	echo := exec.Command("/bin/cat")
	to, _ := echo.StdinPipe()
	out, _ := echo.StdoutPipe()
	if err := echo.Start(); err != nil {
		complain("cat: %s", err)
	}
	from := bufio.NewReader(out)
	until("the first turns", func() bool {
		return atomic.LoadInt64(&ticks) > 0 && atomic.LoadInt64(&rubbish) > 0 && atomic.LoadInt64(&stacks) > 0
	})
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for turn := 1; lines.Scan(); turn++ {
		counted := all()
		turns := []*int64{&sleeps, &stacks, &rubbish, &ticks}
		var done []int64
		for _, it := range turns {
			done = append(done, atomic.LoadInt64(it))
		}
		until("every goroutine's next turn", func() bool {
			on := true
			for at, now := range all() {
				on = on && now > counted[at]
			}
			for at, it := range turns {
				on = on && atomic.LoadInt64(it) > done[at]
			}
			return on
		})
		questions <- turn
		if answer := <-answers; answer != 2*turn {
			complain("the answer is %d", answer)
		}
		if digest() != before {
			complain("data are not what they were")
		}
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		select {
		case <-signals:
		case <-time.After(time.Minute):
			complain("no signal came")
		}
		runtime.GC()
		fmt.Fprintf(to, "turn %d\n", turn)
		if line, _ := from.ReadString('\n'); line != fmt.Sprintf("turn %d\n", turn) {
			complain("cat says %q", line)
		}
		said.Lock()
		if len(complaints) == 0 {
			fmt.Println("ok")
		} else {
			fmt.Println(strings.Join(complaints, "; "))
		}
		said.Unlock()
	}
	to.Close()
	if err := echo.Wait(); err != nil {
		fmt.Println("cat:", err)
	}
}
