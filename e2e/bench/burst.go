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
func (b *bench) burst(ctx context.Context, n int, w wish) (burst, *batch, error) {
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
func (b *bench) passing(ctx context.Context, n int, w wish) (burst, error) {
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
		m, err = b.passing(ctx, n, wish{class: floorClass})
		return err
	})
	return m, err
}

// bursts measures bursts of several sizes in an empty cluster, Steelyard and the
// floor by turns. The last and largest it measures once, and leaves it there.
func (b *bench) bursts(ctx context.Context) error {
	if err := b.ready(ctx, 0); err != nil {
		return err
	}
	rows := [][]string{{"new Services at once", "", "p50", "p99", "Services/s", "controller's CPU"}}
	row := func(n int, who string, m burst) {
		rows = append(rows, []string{fmt.Sprint(n), who, ms(at(m.waits, 0.5)), ms(at(m.waits, 0.99)), fmt.Sprintf("%.0f", float64(n)/m.whole.Seconds()), ms(m.used)})
	}
	for _, n := range []int{b.scaled(500), b.scaled(2_000), b.scaled(full)} {
		rounds, largest := b.rounds, n == b.scaled(full)
		if largest {
			rounds = 1
		}
		var all [3][]float64 // ratios of p50, p99, and time per Service
		for round := range rounds {
			fmt.Printf("  burst of %d, round %d of %d\n", n, round+1, rounds)
			floor, err := b.passingFloor(ctx, n)
			if err != nil {
				return err
			}
			ours, err := b.oneBurst(ctx, n, largest)
			if err != nil {
				return err
			}
			row(n, "bare client", floor)
			row(n, "Steelyard", ours)
			for i, r := range []float64{
				ratio(at(ours.waits, 0.5), at(floor.waits, 0.5)),
				ratio(at(ours.waits, 0.99), at(floor.waits, 0.99)),
				ratio(ours.whole, floor.whole),
			} {
				all[i] = append(all[i], r)
			}
		}
		rows = append(rows, []string{fmt.Sprint(n), "ratio of the times, median", times(all[0]), times(all[1]), times(all[2]), ""})
	}
	return table(rows)
}

// oneBurst is Steelyard's turn of bursts.
func (b *bench) oneBurst(ctx context.Context, n int, stays bool) (burst, error) {
	if !stays {
		return b.passing(ctx, n, wish{})
	}
	if err := b.settle(ctx); err != nil {
		return burst{}, err
	}
	m, of, err := b.burst(ctx, n, wish{})
	if err != nil {
		return burst{}, err
	}
	b.held = of.entries
	return m, nil
}
