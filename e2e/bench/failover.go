package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// claim is the first or a later announcement of an address by a node.
type claim struct {
	at   time.Time
	addr netip.Addr
	mac  string
}

// failover is a rack on which the owner of an address fails again and again.
type failover struct {
	*lab.Rack
	nodes  map[string]string // by MAC
	claims chan claim
	owner  string
}

// failovers measures the time from a failure to the new owner's first
// announcement, as the client sees it.
func failovers(ctx context.Context, r *lab.Rack, o options) error {
	f, stop, err := watchFailovers(ctx, r)
	if err != nil {
		return err
	}
	defer stop()
	rows := [][]string{{"from the failure to the new owner's first announcement", "runs", "p50", "p99", "most"}}
	for _, h := range f.harms(ctx) {
		times, err := f.measure(ctx, h, failoversPerRound*o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		if h.after != "" {
			rows = append(rows, rowOf(h.after, times[:1]))
			times = times[1:]
		}
		rows = append(rows, rowOf(h.name, times))
	}
	return table(rows)
}

// watchFailovers makes the Service, and returns when it has an owner.
func watchFailovers(ctx context.Context, r *lab.Rack) (f *failover, stop func(), err error) {
	if err := kubectl(ctx, r, site, "apply", "-f", "-"); err != nil {
		return nil, nil, err
	}
	f = &failover{Rack: r, nodes: map[string]string{}, claims: make(chan claim, 1024)}
	stop, err = listen(ctx, r, func(c claim) {
		if c.addr == netip.MustParseAddr(address) {
			f.claims <- c
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if err := f.settle(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return f, stop, nil
}

func rowOf(name string, times []time.Duration) []string {
	slices.Sort(times)
	return []string{name, fmt.Sprint(len(times)), ms(at(times, 0.5)), ms(at(times, 0.99)), ms(times[len(times)-1])}
}

// harm is one way for an owner to fail.
type harm struct {
	name       string
	after      string // names the first failure of all, which has a row of its own; empty: it has none
	harm, mend func(node string) error
	begin, end func() error // around all failures; nil: nothing
	each, past func() error // around each; nil: nothing
}

func (f *failover) harms(ctx context.Context) []harm {
	away := func(d time.Duration) func() error {
		return func() error { return errors.Join(f.signalAPI(syscall.SIGSTOP), pause(ctx, d)) }
	}
	return []harm{
		{name: "the owner's cable is cut", harm: f.Cut, mend: f.Join},
		{name: "its node is switched off", harm: f.link("down"), mend: f.link("up")},
		{name: "its cable is cut, the API server away for 5 seconds", harm: f.Cut, mend: f.Join,
			each: away(5 * time.Second), past: func() error { return f.back(ctx) }},
		{name: "the same again and again, nodes cut off one after the other, the API server still away", harm: f.Cut, mend: f.Join,
			after: "its cable is cut, the API server away for 5 minutes", begin: away(5 * time.Minute), end: func() error { return f.back(ctx) }},
	}
}

// measure has the owner fail so many times.
func (f *failover) measure(ctx context.Context, h harm, runs int) (times []time.Duration, err error) {
	do := func(step func() error) {
		if step != nil && err == nil {
			err = step()
		}
	}
	fmt.Printf("failover, %s\n", h.name)
	do(h.begin)
	for tries := 1; len(times) < runs && err == nil; tries++ {
		do(h.each)
		do(func() error {
			took, err := f.fail(ctx, h.harm, h.mend)
			if errors.Is(err, errMoved) && tries < 2*runs {
				fmt.Printf("  not counted: %v\n", err)
				return nil
			}
			times = append(times, took)
			fmt.Printf("failover, %s, %d of %d: %s\n", h.name, len(times), runs, took.Round(time.Millisecond))
			return err
		})
		do(h.past)
	}
	do(h.end)
	return times, err
}

const (
	// failoversPerRound gives 50 of them for the usual number of rounds.
	failoversPerRound = 17
	// healTime is how long after a failure all sessions are Up again, and the API
	// server is heard.
	healTime = 6 * time.Second
)

func (f *failover) signalAPI(s syscall.Signal) error { return f.Kill("control", "kube-apiserver", s) }

// back has the API server go on, and returns when all is known there, and by all.
func (f *failover) back(ctx context.Context) error {
	if err := f.signalAPI(syscall.SIGCONT); err != nil {
		return err
	}
	for range 60 {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		if f.follow(); f.named(ctx) == f.owner {
			return pause(ctx, healTime)
		}
	}
	return fmt.Errorf("the API server is back, and %s is not said to answer for %s", f.owner, address)
}

// named returns the node that the claim names, or "".
func (f *failover) named(ctx context.Context) string {
	out, err := f.Command(ctx, "control", "kubectl", "get", "l2claims.steelyard.dev", address, "-o", "jsonpath={.status.node}").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// link sets a node's own end of its cable up or down.
func (f *failover) link(state string) func(string) error {
	return func(node string) error {
		if out, err := f.Command(context.Background(), node, "ip", "link", "set", "eth0", state).CombinedOutput(); err != nil {
			return fmt.Errorf("set the link of %s %s: %w: %s", node, state, err, out)
		}
		return nil
	}
}

var announcement = regexp.MustCompile(`^([0-9.]+) .*Reply ([0-9.]+) is-at ([0-9a-f:]+)`)

// listen has the rack's client tell of all announcements by ARP, until stop is called.
func listen(ctx context.Context, r *lab.Rack, report func(claim)) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := r.Command(ctx, "client", "tcpdump", "--immediate-mode", "-B", "65536", "-l", "-n", "-tt", "-i", "eth0", "arp")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen for announcements: %w", err)
	}
	go readAnnouncements(out, report)
	return func() {
		cancel()
		var ended *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &ended) {
			fmt.Println("tcpdump:", err)
		}
	}, nil
}

func readAnnouncements(from io.Reader, report func(claim)) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		m := announcement.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		seconds, err1 := strconv.ParseFloat(m[1], 64)
		addr, err2 := netip.ParseAddr(m[2])
		if err1 == nil && err2 == nil {
			report(claim{time.UnixMicro(int64(seconds * 1e6)), addr, m[3]})
		}
	}
}

// settle waits for the first owner.
func (f *failover) settle(ctx context.Context) error {
	for range 60 {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		out, err := f.Command(ctx, "control", "kubectl", "get", "speakers.steelyard.dev", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.links[0].mac}{"\n"}{end}`).Output()
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) == 2 {
				f.nodes[words[1]] = words[0]
			}
		}
		if owner := f.named(ctx); owner != "" && len(f.nodes) == f.Nodes {
			f.owner = owner
			return pause(ctx, 2*healTime)
		}
	}
	return fmt.Errorf("no node answers for %s", address)
}

// follow takes in that the address has moved meanwhile.
func (f *failover) follow() {
	for len(f.claims) > 0 {
		f.owner = f.nodes[(<-f.claims).mac]
	}
}

// errMoved says that the address had moved before the node failed that seemed to
// be the owner: on a busy machine one node took another for dead.
var errMoved = errors.New("the address had moved by itself")

// fail has the owner fail once, and returns after how long another node
// announced the address.
func (f *failover) fail(ctx context.Context, harm, mend func(string) error) (time.Duration, error) {
	f.follow()
	failed := f.owner
	start := time.Now()
	if err := harm(failed); err != nil {
		return 0, err
	}
	timeout := time.After(20 * time.Second)
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timeout:
			return 0, errors.Join(fmt.Errorf("no node took over from %s", failed), mend(failed))
		case c := <-f.claims:
			by := f.nodes[c.mac]
			if by == failed {
				continue
			}
			f.owner = by
			if err := errors.Join(mend(failed), pause(ctx, healTime)); err != nil {
				return 0, err
			}
			if c.at.Before(start) {
				return 0, errMoved
			}
			return c.at.Sub(start), nil
		}
	}
}
