package e2e

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// capture is what a host hears of ARP and NDP during a story.
type capture struct {
	mu    sync.Mutex
	lines []string
}

// said matches a frame that says who has an address: its sender's MAC, and the
// address.
var said = regexp.MustCompile(`^\S+ (\S+) > .*(?:Reply|Announcement|tell|tgt is) ([0-9a-f.:]+?)(?:,| is-at|$)`)

// holders returns the MACs that said they have the address, sorted.
func (c *capture) holders(addr string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	macs := map[string]bool{}
	for _, l := range c.lines {
		if m := said.FindStringSubmatch(l); m != nil && m[2] == addr {
			macs[m[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(macs))
}

// record listens on a host until the story ends.
func (s *story) record(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: record HOST")
	}
	r, err := lab.Open(s.rack)
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	cmd := r.Command(ctx, args[0], "tcpdump", "-lneq", "-i", "eth0", "arp or (icmp6 and ip6[40] == 136)")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	diagnosis, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s.heard = &capture{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.heard.mu.Lock()
			s.heard.lines = append(s.heard.lines, lines.Text())
			s.heard.mu.Unlock()
		}
	})
	ready := make(chan struct{})
	reading.Go(func() {
		told := sync.OnceFunc(func() { close(ready) })
		defer told()
		for lines := bufio.NewScanner(diagnosis); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "listening on") {
				told()
			}
		}
	})
	ts.Defer(func() {
		stop()
		reading.Wait()
		_ = cmd.Wait() // it was killed
	})
	select {
	case <-ready:
	case <-time.After(patience):
		ts.Fatalf("tcpdump does not listen")
	}
}

// holders prints the MACs that said they have an address since record began.
func (s *story) holders(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || s.heard == nil {
		ts.Fatalf("usage: holders ADDRESS, after record")
	}
	fmt.Fprint(ts.Stdout(), strings.Join(s.heard.holders(args[0]), " "))
}
