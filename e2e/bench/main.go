// Command bench measures the built programs on racks, each figure beside a
// floor that is measured in the same run, and prints tables. Nothing passes or
// fails: compare the ratios, for the times depend on the machine. But an
// address that two Services have at once, or a Service that is not served, is an
// error.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// options are the flags.
type options struct {
	name     string // of the racks
	run      string // parts, by comma; empty: all
	services int
	rounds   int
	profile  string // folder for profiles; "": none
	seconds  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.name, "name", "bench1", "name of the rack that is made, and removed in the end")
	flag.StringVar(&o.run, "run", "", "measure only these, a comma list of: "+strings.Join(partNames(), ", "))
	flag.IntVar(&o.services, "services", full, "how many Services the large cluster has; all other numbers of Services are in proportion")
	flag.IntVar(&o.rounds, "rounds", 3, "how often a figure is measured, where one measurement is quick")
	flag.StringVar(&o.profile, "profile", "", "a folder, which must be there, for profiles of speakers and controller during each burst that is announced; empty: none")
	flag.DurationVar(&o.seconds, "profile-for", 10*time.Second, "how long each profile is taken")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// step is a part of the bench, or one half of a part that needs two clusters.
type step struct {
	part string
	what string // for people
	do   func(*bench, context.Context) error
}

// steps are in the order that fills the cluster least often.
func steps() []step {
	return []step{
		{"waiters", "a freed address in a small cluster", (*bench).fewWaiters},
		{"scattered", "new Services in large pools whose start is half full", (*bench).scattered},
		{"growth", "new Services in a small cluster", (*bench).growthSmall},
		{"burst", "bursts of new Services", (*bench).bursts},
		{"memory", "memory of the controller", (*bench).memory},
		{"edit", "an edit of a pool that no Service is of", (*bench).edit},
		{"limits", "new Services beside many reservations and quotas", (*bench).limits},
		{"restart", "a restart of the only controller", (*bench).restart},
		{"leader", "a change of the active controller", (*bench).leader},
		{"waiters", "a freed address in a large cluster", (*bench).manyWaiters},
		{"deletion", "half of all Services deleted", (*bench).deletion},
		{"growth", "new Services in a large cluster", (*bench).growthLarge},
	}
}

// apart is a part that has racks of its own, one for each kind of router.
type apart struct {
	name    string
	nodes   int
	routers []string
	do      func(context.Context, *lab.Rack, options) error
	flags   []string // of the speakers
}

func aparts() []apart {
	return []apart{
		{name: "neighbors", nodes: 1, routers: []string{"none"}, do: neighbors},
		{name: "addresses", nodes: 3, routers: []string{"none"}, do: holding},
		{name: "burst-layer2", nodes: 3, routers: []string{"none"}, do: announcedBursts, flags: []string{"--endpoint-wait=0"}},
		{name: "burst-bgp", nodes: 3, routers: []string{"bird"}, do: announcedBursts, flags: []string{"--endpoint-wait=0"}},
		{name: "outage", nodes: 3, routers: []string{"none"}, do: outages},
		{name: "failover", nodes: 3, routers: []string{"none"}, do: failovers},
		{name: "failover-pools", nodes: 3, routers: []string{"none"}, do: failoversAmongPools},
		{name: "failover-fast", nodes: 3, routers: []string{"none"}, do: failovers, flags: []string{"--membership-interval=50ms", "--membership-multiplier=3"}},
		// What is measured is this program's part; kube-proxy, which it would wait for, syncs once a second.
		{name: "routes", nodes: 1, routers: []string{"bird", "frr"}, do: routes, flags: []string{"--endpoint-wait=0"}},
	}
}

// bfdPart needs no rack.
const bfdPart = "bfd"

func partNames() []string {
	var names []string
	for _, s := range steps() {
		if !slices.Contains(names, s.part) {
			names = append(names, s.part)
		}
	}
	for _, a := range aparts() {
		if !slices.Contains(names, a.name) {
			names = append(names, a.name)
		}
	}
	return append(names, bfdPart, sizePart)
}

// chosen returns the parts of the flag -run; empty: all of them.
func chosen(run string) ([]string, error) {
	if run == "" {
		return partNames(), nil
	}
	parts := strings.Split(run, ",")
	for _, c := range parts {
		if !slices.Contains(partNames(), c) {
			return nil, fmt.Errorf("no part is called %q; there are %s", c, strings.Join(partNames(), ", "))
		}
	}
	return parts, nil
}

func run(ctx context.Context, o options) error {
	parts, err := chosen(o.run)
	if err != nil {
		return err
	}
	if flag.NArg() > 0 || o.services < 1 || o.rounds < 1 {
		return fmt.Errorf("want no words but flags, and 1 or more -services and -rounds: see -help")
	}
	todo := slices.DeleteFunc(steps(), func(s step) bool { return !slices.Contains(parts, s.part) })
	start := time.Now()
	if len(todo) > 0 {
		// Two replicas: which one is measured, and when both run, see alone.
		rack := lab.Options{Name: o.name, Nodes: 1, Router: "none", Controllers: 2}
		if err := onRack(ctx, rack, func(r *lab.Rack) error { return measure(ctx, r, o, todo) }); err != nil {
			return err
		}
	}
	for _, a := range aparts() {
		if slices.Contains(parts, a.name) {
			if err := a.run(ctx, o); err != nil {
				return err
			}
		}
	}
	if slices.Contains(parts, bfdPart) {
		if err := bfd(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(parts, sizePart) {
		if err := sizes(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("the whole bench took %s\n", time.Since(start).Round(time.Second))
	return nil
}

// run measures a with each of its routers, on a rack of its own each time.
func (a apart) run(ctx context.Context, o options) error {
	for _, router := range a.routers {
		rack := lab.Options{Name: o.name, Nodes: a.nodes, Router: router, SpeakerFlags: slices.Clone(a.flags)}
		if o.profile != "" {
			rack.SpeakerFlags = append(rack.SpeakerFlags, "--pprof-bind-address", speakerPprof)
			rack.ControllerFlags = []string{"--pprof-bind-address", controllerPprof}
		}
		if err := onRack(ctx, rack, func(r *lab.Rack) error { return a.do(ctx, r, o) }); err != nil {
			return err
		}
	}
	return nil
}

// measure takes the steps one after the other.
func measure(ctx context.Context, r *lab.Rack, o options, todo []step) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b, err := newBench(ctx, r, o)
	if err != nil {
		return err
	}
	for i, s := range todo {
		fmt.Printf("[%d of %d] %s: %s\n", i+1, len(todo), s.part, s.what)
		start := time.Now()
		if err := s.do(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		fmt.Printf("[%d of %d] took %s\n", i+1, len(todo), time.Since(start).Round(time.Second))
	}
	return b.ledger.fault()
}

// onRack runs do on a rack of its own.
func onRack(ctx context.Context, o lab.Options, do func(*lab.Rack) error) error {
	if err := lab.Down(o.Name); err != nil { // what an aborted run left
		return err
	}
	defer func() {
		if err := lab.Down(o.Name); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	fmt.Printf("rack %s: %d nodes\n", o.Name, o.Nodes)
	r, err := lab.Up(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	return do(r)
}

// table prints rows in columns.
func table(rows [][]string) error {
	fmt.Println()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for _, cell := range row {
			fmt.Fprint(t, cell, "\t")
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Println()
	return nil
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func ratio(ours, floor time.Duration) float64 { return float64(ours) / float64(floor) }

// times writes the median of some ratios.
func times(ratios []float64) string { return fmt.Sprintf("%.2f", at(ratios, 0.5)) }

// at returns the value that a share of all values is below; the median is at 0.5.
func at[T cmp.Ordered](x []T, share float64) T {
	x = slices.Sorted(slices.Values(x))
	return x[min(len(x)-1, int(share*float64(len(x))))]
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
