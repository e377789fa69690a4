package main

import (
	"context"
	"fmt"
	"time"
)

// burst is one measurement: how long each of many Services, created as fast as
// can be, waited for its address.
type burst struct {
	waits []time.Duration
	whole time.Duration // from the first creation to the last address
	used  time.Duration // processor time of the controller
}

// each returns the time for each Service, were they served one by one.
func (m burst) each() time.Duration { return m.whole / time.Duration(len(m.waits)) }

// burst measures n new Services and leaves them there.
func (b *bench) burst(ctx context.Context, n int, w spec) (burst, *batch, error) {
	before, err := b.controllerUsed()
	if err != nil {
		return burst{}, nil, err
	}
	of, err := b.serve(ctx, n, w)
	if err != nil {
		return burst{}, nil, err
	}
	after, err := b.controllerUsed()
	if err != nil {
		return burst{}, nil, err
	}
	m := burst{used: after - before}
	first, last := of.entries[0].created, of.served[len(of.served)-1].served
	for _, e := range of.entries {
		m.waits = append(m.waits, e.wait())
		if e.created.Before(first) {
			first = e.created
		}
	}
	m.whole = last.Sub(first)
	return m, of, nil
}

// passing measures n new Services in a cluster that is idle, and removes them.
func (b *bench) passing(ctx context.Context, n int, w spec) (burst, error) {
	if err := b.settle(ctx); err != nil {
		return burst{}, err
	}
	m, of, err := b.burst(ctx, n, w)
	if err != nil {
		return burst{}, err
	}
	return m, b.remove(ctx, of.entries)
}

// passingFloor measures n new Services that the bare client serves.
func (b *bench) passingFloor(ctx context.Context, n int) (m burst, err error) {
	err = b.besideFloor(ctx, func(ctx context.Context) error {
		m, err = b.passing(ctx, n, spec{class: floorClass})
		return err
	})
	return m, err
}

// bursts measures bursts of several sizes in an empty cluster. The largest it
// measures once, and leaves it there.
func (b *bench) bursts(ctx context.Context) error {
	if err := b.ready(ctx, 0); err != nil {
		return err
	}
	for _, n := range []int{b.scaled(500), b.scaled(2_000)} {
		if err := b.burstsOf(ctx, n, b.rounds, b.passing); err != nil {
			return err
		}
	}
	return b.burstsOf(ctx, b.scaled(full), 1, b.staying)
}

// burstsOf measures the floor and Steelyard by turns; ours is Steelyard's turn.
func (b *bench) burstsOf(ctx context.Context, n, rounds int, ours func(context.Context, int, spec) (burst, error)) error {
	rows := [][]string{{fmt.Sprintf("burst of %d Services", n), "p50", "p99", "Services/s", "controller's CPU"}}
	row := func(who string, m burst) {
		rows = append(rows, []string{who, ms(at(m.waits, 0.5)), ms(at(m.waits, 0.99)), fmt.Sprintf("%.0f", float64(n)/m.whole.Seconds()), ms(m.used)})
	}
	var p50, p99, each []float64
	for round := range rounds {
		fmt.Printf("  burst of %d, round %d of %d\n", n, round+1, rounds)
		floor, err := b.passingFloor(ctx, n)
		if err != nil {
			return err
		}
		our, err := ours(ctx, n, spec{})
		if err != nil {
			return err
		}
		row("bare client", floor)
		row("Steelyard", our)
		p50 = append(p50, ratio(at(our.waits, 0.5), at(floor.waits, 0.5)))
		p99 = append(p99, ratio(at(our.waits, 0.99), at(floor.waits, 0.99)))
		each = append(each, ratio(our.each(), floor.each()))
	}
	return table(append(rows, []string{"ratio of the times, median", times(p50), times(p99), times(each), ""}))
}

// staying is passing for a burst that stays: it is what is held from then on.
func (b *bench) staying(ctx context.Context, n int, w spec) (burst, error) {
	if err := b.settle(ctx); err != nil {
		return burst{}, err
	}
	m, of, err := b.burst(ctx, n, w)
	if err != nil {
		return burst{}, err
	}
	b.held = of.entries
	return m, nil
}
