package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

const (
	// manyPools of so many addresses each, no two of which touch: as many ranges as
	// the schema allows for a pool.
	manyPools  = 60
	mostRanges = 256
)

// failoversAmongPools measures the time from a failure to the new owner's first
// announcement, first with a single pool, then beside many.
func failoversAmongPools(ctx context.Context, r *lab.Rack, o options) error {
	rows := [][]string{{"from a cut cable to the new owner's first announcement", "runs", "p50", "p99", "most"}}
	f, stop, err := watchFailovers(ctx, r)
	if err != nil {
		return err
	}
	defer stop()
	for _, step := range []struct{ name, objects string }{
		{"one pool", ""},
		{fmt.Sprintf("%d more pools of %d addresses", manyPools, mostRanges), scatteredPools()},
	} {
		if step.objects != "" {
			if err := kubectl(ctx, r, step.objects, "apply", "--server-side", "-f", "-"); err != nil {
				return err
			}
			if err := pause(ctx, 2*healTime); err != nil {
				return err
			}
		}
		times, err := f.measure(ctx, harm{name: step.name, harm: f.Cut, mend: f.Join}, failoversPerRound*o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		rows = append(rows, rowOf(step.name, times))
	}
	return table(rows)
}

func scatteredPools() string {
	var out strings.Builder
	for i := range manyPools {
		fmt.Fprintf(&out, "---\napiVersion: steelyard.dev/v1beta1\nkind: IPAddressPool\nmetadata: {name: many%02d}\nspec:\n  autoAssign: false\n  addresses:\n", i)
		for j := range mostRanges {
			fmt.Fprintf(&out, "  - 10.%d.%d.%d\n", i, j/128, j%128*2+1)
		}
	}
	return out.String()
}
