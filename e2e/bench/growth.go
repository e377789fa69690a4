package main

import (
	"context"
	"fmt"
	"time"
)

// pair is a figure of Steelyard's and the floor's.
type pair struct{ ours, floor time.Duration }

func (p pair) ratio() float64 { return ratio(p.ours, p.floor) }

// growth is how fast new Services are served while held others are there.
type growth struct {
	held   int
	burst  pair // time per Service in a burst
	single pair // one Service, created when the one before has its address
}

func (b *bench) growthSmall(ctx context.Context) (err error) {
	b.small, err = b.growthAt(ctx, b.scaled(1_000))
	return err
}

// growthLarge prints what growthSmall measured too.
func (b *bench) growthLarge(ctx context.Context) error {
	large, err := b.growthAt(ctx, b.scaled(20_000))
	if err != nil {
		return err
	}
	rows := [][]string{{"time for a new Service", "held", "Steelyard", "bare client", "ratio"}}
	row := func(what, held string, p pair) {
		rows = append(rows, []string{what, held, ms(p.ours), ms(p.floor), times([]float64{p.ratio()})})
	}
	grown := func(small, large pair) {
		rows = append(rows, []string{"", "growth", times([]float64{ratio(large.ours, small.ours)}), times([]float64{ratio(large.floor, small.floor)}), times([]float64{large.ratio() / small.ratio()})})
	}
	in := fmt.Sprintf("in a burst of %d", b.scaled(500))
	row(in, fmt.Sprint(b.small.held), b.small.burst)
	row(in, fmt.Sprint(large.held), large.burst)
	grown(b.small.burst, large.burst)
	row("one at a time", fmt.Sprint(b.small.held), b.small.single)
	row("one at a time", fmt.Sprint(large.held), large.single)
	grown(b.small.single, large.single)
	return table(rows)
}

func (b *bench) growthAt(ctx context.Context, held int) (growth, error) {
	g := growth{held: held}
	if err := b.ready(ctx, held); err != nil {
		return g, err
	}
	var floors, ours []time.Duration
	for round := range b.rounds {
		fmt.Printf("  %d Services held, round %d of %d\n", held, round+1, b.rounds)
		floor, err := b.passingFloor(ctx, b.scaled(500))
		if err != nil {
			return g, err
		}
		our, err := b.passing(ctx, b.scaled(500), spec{})
		if err != nil {
			return g, err
		}
		floors, ours = append(floors, floor.each()), append(ours, our.each())
	}
	g.burst = pair{ours: at(ours, 0.5), floor: at(floors, 0.5)}
	fmt.Printf("  %d Services held, one new Service at a time\n", held)
	var err error
	if g.single.ours, err = b.single(ctx, spec{}); err != nil {
		return g, err
	}
	err = b.besideFloor(ctx, func(ctx context.Context) (err error) {
		g.single.floor, err = b.single(ctx, spec{class: floorClass})
		return err
	})
	return g, err
}

// single returns the median time in which one new Service is served while
// nothing else goes on.
func (b *bench) single(ctx context.Context, w spec) (time.Duration, error) {
	if err := b.settle(ctx); err != nil {
		return 0, err
	}
	var waits []time.Duration
	var all []*entry
	for range b.scaled(50) {
		of, err := b.serve(ctx, 1, w)
		if err != nil {
			return 0, err
		}
		all = append(all, of.entries...)
		waits = append(waits, of.entries[0].wait())
	}
	return at(waits, 0.5), b.remove(ctx, all)
}
