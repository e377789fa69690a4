package bfd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// childWork is the environment variable with the task of the test binary as a child
// process: "hold" the sessions that it reads, or "watch" for stalls.
const childWork = "BFD_TEST_CHILD"

// TestChild is the body of a child process that other tests and benchmarks start on a
// host. It ends when its standard input is closed.
func TestChild(t *testing.T) {
	switch os.Getenv(childWork) {
	case "hold":
		hold(t)
	case "watch":
		watch()
	default:
		t.Skip("runs only as a child of other tests")
	}
}

// child is a process that runs TestChild. It writes lines of words.
type child struct {
	*exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func startChild(t testing.TB, h host, work string) child {
	t.Helper()
	c := child{Cmd: exec.Command("ip", "netns", "exec", h.name, os.Args[0], "-test.run=^TestChild$"), lines: make(chan string, 10000)}
	c.Env = append(os.Environ(), childWork+"="+work)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // its own scheduling group, as a container has it
	c.Stderr = os.Stderr
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if inErr != nil || outErr != nil {
		t.Fatal(inErr, outErr)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	c.in = in
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { c.finish() })
	return c
}

// finish ends the child and returns the lines that were not yet read.
func (c child) finish() (rest []string) {
	_ = c.in.Close() // a second call does no harm
	for line := range c.lines {
		rest = append(rest, line)
	}
	_ = c.Wait()
	return rest
}

// holding starts a child with sessions.
func holding(t testing.TB, h host, sessions []bfd.Session) child {
	t.Helper()
	c := startChild(t, h, "hold")
	if err := json.NewEncoder(c.in).Encode(sessions); err != nil {
		t.Fatal(err)
	}
	return c
}

// await returns the words after the first of the next line that begins with it.
func (c child) await(t testing.TB, word string) []string {
	t.Helper()
	late := time.After(timeout)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("the child has ended without writing %q", word)
			}
			if words := strings.Fields(line); len(words) > 0 && words[0] == word {
				return words[1:]
			}
		case <-late:
			t.Fatalf("the child has not written %q", word)
		}
	}
}

// loss is the loss of a session that a child reports.
type loss struct {
	peer string
	at   time.Time
}

func readLoss(t testing.TB, words []string) loss {
	t.Helper()
	var l loss
	var nanos int64
	if _, err := fmt.Sscan(strings.Join(words, " "), &l.peer, &nanos); err != nil {
		t.Fatal(err)
	}
	l.at = time.Unix(0, nanos)
	return l
}

// losses ends the child and returns the losses that were not yet read.
func (c child) losses(t testing.TB) (all []loss) {
	for _, line := range c.finish() {
		if words, isLoss := strings.CutPrefix(line, "lost "); isLoss {
			all = append(all, readLoss(t, strings.Fields(words)))
		}
	}
	return all
}

// usage is a child's use of CPU and memory.
type usage struct {
	at   time.Time
	cpu  time.Duration
	heap uint64 // octets in use
}

func (c child) usage(t testing.TB) usage {
	t.Helper()
	fmt.Fprintln(c.in, `"usage"`)
	var at, cpu int64
	var u usage
	if _, err := fmt.Sscan(strings.Join(c.await(t, "usage"), " "), &at, &cpu, &u.heap); err != nil {
		t.Fatal(err)
	}
	u.at, u.cpu = time.Unix(0, at), time.Duration(cpu)
	return u
}

// hold reads sessions and runs them. It writes "usage TIME CPU HEAP" at its start and for
// each further line that it reads, "up" when all sessions are Up, and "lost PEER TIME" for
// each loss. Times are in nanoseconds.
func hold(t *testing.T) {
	in := json.NewDecoder(os.Stdin)
	var sessions []bfd.Session
	if err := in.Decode(&sessions); err != nil {
		t.Fatal(err)
	}
	printUsage(t)
	engine := bfd.New(udp.New(), slog.New(slog.DiscardHandler))
	done := make(chan error)
	go func() { done <- engine.Run(t.Context()) }()
	engine.Set(sessions)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for word := ""; in.Decode(&word) == nil; {
			asked <- struct{}{}
		}
	}()
	outages, wereUp := map[bfd.Path]time.Time{}, false
	for {
		select {
		case err := <-done:
			t.Fatal(err)
		case _, more := <-asked:
			if !more {
				return
			}
			printUsage(t)
		case <-engine.Changed():
			up := 0
			for _, s := range engine.States() {
				if s.Status == bfd.Up {
					up++
				}
				if at := s.LastOutage.At; !at.Equal(outages[s.Session.Path]) {
					outages[s.Session.Path] = at
					fmt.Println("lost", s.Session.Peer, at.UnixNano())
				}
			}
			if all := up == len(sessions); all != wereUp {
				if wereUp = all; all {
					fmt.Println("up")
				}
			}
			time.Sleep(5 * time.Millisecond) // so that many changes are read at once
		}
	}
}

func printUsage(t *testing.T) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Println("usage", now.UnixNano(), used.Utime.Nano()+used.Stime.Nano(), memory.HeapAlloc+memory.StackInuse)
}

// stalled is how late a thread must wake to count as stalled.
const stalled = 30 * time.Millisecond

// watch has a thread on each core write "stall TIME DURATION" when it wakes late.
func watch() {
	for cpu := range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			var only unix.CPUSet
			only.Set(cpu)
			if err := unix.SchedSetaffinity(0, &only); err != nil {
				fmt.Fprintln(os.Stderr, "watch a core:", err)
				os.Exit(1)
			}
			for last := time.Now(); ; {
				_ = unix.Nanosleep(&unix.Timespec{Nsec: 5e6}, nil) // a shorter sleep is as good
				now := time.Now()
				if d := now.Sub(last); d > stalled {
					fmt.Println("stall", now.UnixNano(), d.Nanoseconds())
				}
				last = now
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed, however
}
