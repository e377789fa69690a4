package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// deletion deletes half of all Services, and while that goes on makes new ones.
// Beside it the same is done with as many Services of the floor's. It leaves
// half of the Services there.
func (b *bench) deletion(ctx context.Context) error {
	if err := b.hold(ctx, b.scaled(full)); err != nil {
		return err
	}
	half := b.scaled(full / 2)
	var floor, ours mass
	err := b.besideFloor(ctx, func(ctx context.Context) error {
		of, err := b.serve(ctx, half, spec{class: floorClass})
		if err != nil {
			return err
		}
		floor, err = b.thin(ctx, of.entries, spec{class: floorClass})
		return err
	})
	if err != nil {
		return err
	}
	doomed := b.held[:half] // the oldest, whose addresses the new ones get
	b.held = b.held[half:]
	if ours, err = b.thin(ctx, doomed, spec{}); err != nil {
		return err
	}
	return table([][]string{
		{fmt.Sprintf("%d Services deleted", half), "all are gone", "a new one meanwhile, p50", "how many"},
		{"bare client", ms(floor.whole), ms(at(floor.waits, 0.5)), fmt.Sprint(len(floor.waits))},
		{"Steelyard", ms(ours.whole), ms(at(ours.waits, 0.5)), fmt.Sprint(len(ours.waits))},
		{"ratio", times([]float64{ratio(ours.whole, floor.whole)}), times([]float64{ratio(at(ours.waits, 0.5), at(floor.waits, 0.5))}), ""},
	})
}

// mass is the measurement of one mass deletion.
type mass struct {
	whole time.Duration   // until the watch has shown that all are gone
	waits []time.Duration // of the Services that were made meanwhile
}

// thin deletes Services and makes others until all are gone, one at a time.
func (b *bench) thin(ctx context.Context, doomed []*entry, w spec) (mass, error) {
	if err := b.settle(ctx); err != nil {
		return mass{}, err
	}
	var m mass
	var made []*entry
	gone := make(chan struct{})
	start := time.Now()
	both, working := errgroup.WithContext(ctx)
	both.Go(func() error {
		defer close(gone)
		return b.remove(working, doomed)
	})
	both.Go(func() error {
		for {
			of, err := b.serve(working, 1, w)
			if err != nil {
				return err
			}
			made = append(made, of.entries...)
			m.waits = append(m.waits, of.entries[0].wait())
			select {
			case <-gone:
				return nil
			default:
			}
		}
	})
	if err := both.Wait(); err != nil {
		return mass{}, err
	}
	for _, e := range doomed {
		m.whole = max(m.whole, e.gone.Sub(start))
	}
	return m, b.remove(ctx, made)
}
