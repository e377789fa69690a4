package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// claim is the first or a later announcement of the address by a node.
type claim struct {
	at  time.Time
	mac string
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
	if err := kubectl(ctx, r, site, "apply", "-f", "-"); err != nil {
		return err
	}
	f := &failover{Rack: r, nodes: map[string]string{}, claims: make(chan claim, 1024)}
	stop, err := f.listen(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := f.settle(ctx); err != nil {
		return err
	}
	rows := [][]string{{"from the failure to the new owner's first announcement", "runs", "p50", "p99", "most"}}
	for _, c := range []struct {
		name       string
		harm, mend func(string) error
		before     func() error
		after      func() error
	}{
		{name: "the owner's cable is cut", harm: r.Cut, mend: r.Join},
		{name: "its node is switched off", harm: f.link("down"), mend: f.link("up")},
		{name: "its cable is cut, the API server away for 5 minutes", harm: r.Cut, mend: r.Join,
			before: func() error { return errors.Join(f.stopAPI(), pause(ctx, 5*time.Minute)) },
			after:  func() error { return r.Kill("control", "kube-apiserver", syscall.SIGCONT) }},
	} {
		if c.before != nil {
			fmt.Printf("failover, %s: wait\n", c.name)
			if err := c.before(); err != nil {
				return err
			}
		}
		var times []time.Duration
		runs := failoversPerRound * o.rounds
		for run := range runs {
			fmt.Printf("failover, %s, %d of %d\n", c.name, run+1, runs)
			took, err := f.fail(ctx, c.harm, c.mend)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			times = append(times, took)
		}
		if c.after != nil {
			if err := c.after(); err != nil {
				return err
			}
		}
		slices.Sort(times)
		rows = append(rows, []string{c.name, fmt.Sprint(runs), ms(at(times, 0.5)), ms(at(times, 0.99)), ms(times[len(times)-1])})
	}
	return table(rows)
}

const (
	// failoversPerRound gives 50 of them for the usual number of rounds.
	failoversPerRound = 17
	// reunited is how long after a failure all sessions are Up again, and the API
	// server is heard.
	reunited = 6 * time.Second
)

func (f *failover) stopAPI() error { return f.Kill("control", "kube-apiserver", syscall.SIGSTOP) }

// link sets a node's own end of its cable up or down.
func (f *failover) link(state string) func(string) error {
	return func(node string) error {
		if out, err := f.Command(context.Background(), node, "ip", "link", "set", "eth0", state).CombinedOutput(); err != nil {
			return fmt.Errorf("set the link of %s %s: %w: %s", node, state, err, out)
		}
		return nil
	}
}

var announcement = regexp.MustCompile(`^([0-9.]+) .*Reply ` + regexp.QuoteMeta(address) + ` is-at ([0-9a-f:]+)`)

// listen has the client tell of all announcements, until stop is called.
func (f *failover) listen(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := f.Command(ctx, "client", "tcpdump", "-l", "-n", "-tt", "-i", "eth0", "arp")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen for announcements: %w", err)
	}
	go f.read(out)
	return func() {
		cancel()
		var ended *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &ended) {
			fmt.Println("tcpdump:", err)
		}
	}, nil
}

func (f *failover) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		m := announcement.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			continue
		}
		f.claims <- claim{time.UnixMicro(int64(seconds * 1e6)), m[2]}
	}
}

// settle waits for the first owner.
func (f *failover) settle(ctx context.Context) error {
	for range 60 {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		out, err := f.Command(ctx, "control", "kubectl", "get", "speakers", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.links[0].mac}{"\n"}{end}`).Output()
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) == 2 {
				f.nodes[words[1]] = words[0]
			}
		}
		owner, err := f.Command(ctx, "control", "kubectl", "get", "l2claim", address, "-o", "jsonpath={.status.node}").Output()
		if err == nil && len(owner) > 0 && len(f.nodes) == f.Nodes {
			f.owner = string(owner)
			return pause(ctx, 2*reunited)
		}
	}
	return fmt.Errorf("nobody answers for %s", address)
}

// fail has the owner fail once, and returns after how long another node
// announced the address.
func (f *failover) fail(ctx context.Context, harm, mend func(string) error) (time.Duration, error) {
	for len(f.claims) > 0 { // it may have moved meanwhile
		f.owner = f.nodes[(<-f.claims).mac]
	}
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
			return 0, errors.Join(fmt.Errorf("nobody took over from %s", failed), mend(failed))
		case c := <-f.claims:
			if f.nodes[c.mac] == failed || c.at.Before(start) {
				continue
			}
			f.owner = f.nodes[c.mac]
			return c.at.Sub(start), errors.Join(mend(failed), pause(ctx, reunited))
		}
	}
}
