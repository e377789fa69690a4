package e2e

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// capture is what a host hears of ARP and NDP during a story.
type capture struct {
	mu    sync.Mutex
	lines []string
}

// said matches a frame that says who has an address: its sender's MAC, and the
// address. A reply names the MAC itself, which is another one if a backup
// answers in the place of a node that restarts.
var (
	said    = regexp.MustCompile(`^\S+ (\S+) > .*(?:Announcement|tell|tgt is) ([0-9a-f.:]+?)(?:,|$)`)
	replied = regexp.MustCompile(`Reply ([0-9.]+) is-at ([0-9a-f:]+)`)
)

// turns returns the MACs that were said to have the address, in the order in
// which they were, each as often as that began.
func (c *capture) handovers(addr string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var macs []string
	for _, l := range c.lines {
		if m := replied.FindStringSubmatch(l); m != nil && m[1] == addr {
			macs = append(macs, m[2])
		} else if m := said.FindStringSubmatch(l); m != nil && m[2] == addr {
			macs = append(macs, m[1])
		}
	}
	return slices.Compact(macs)
}

// holders returns the MACs that were said to have the address, sorted.
func (c *capture) holders(addr string) []string {
	return slices.Compact(slices.Sorted(slices.Values(c.handovers(addr))))
}

// record listens on a host until the story ends.
func (s *story) record(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: record HOST")
	}
	s.heard, _ = s.sniff(ts, args[0], "arp or (icmp6 and ip6[40] == 136)")
}

// sniff listens to what passes a host's eth0, until stop or the end of the story.
func (s *story) sniff(ts *testscript.TestScript, host, filter string) (_ *capture, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := onHost(ctx, s, host, "tcpdump", "--immediate-mode", "-lneq", "-i", "eth0", filter)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	diagnosis, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	heard := &capture{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			heard.mu.Lock()
			heard.lines = append(heard.lines, lines.Text())
			heard.mu.Unlock()
		}
	})
	ready := make(chan struct{})
	reading.Go(func() {
		markReady := sync.OnceFunc(func() { close(ready) })
		defer markReady()
		for lines := bufio.NewScanner(diagnosis); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "listening on") {
				markReady()
			}
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		reading.Wait()
		_ = cmd.Wait() // it was killed
	})
	ts.Defer(stop)
	select {
	case <-ready:
	case <-time.After(timeout):
		ts.Fatalf("tcpdump does not listen")
	}
	return heard, stop
}

// hearsay is how long a frame may be on its way from the wire to the story.
const hearsay = 300 * time.Millisecond

// heardOf returns the command that prints what show returns for an address.
func (s *story) heardOf(logState func(*capture, string) []string) command {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 || s.heard == nil {
			ts.Fatalf("usage: holders ADDRESS, or turns ADDRESS, after record")
		}
		time.Sleep(hearsay)
		fmt.Fprint(ts.Stdout(), strings.Join(logState(s.heard, args[0]), " "))
	}
}
