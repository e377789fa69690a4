package ipam_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// forWorlds runs check on many random worlds and stops at the first that fails.
func forWorlds(t *testing.T, check func(*testing.T, *world)) {
	t.Helper()
	for seed := range int64(3000) {
		w := newWorld(seed)
		check(t, w)
		if t.Failed() {
			t.Fatalf("the world of seed %d:\n%s", seed, newWorld(seed))
		}
	}
}

func TestTheOrderOfRequestsAndPoolsDecidesNothing(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		want := w.assign()
		w.rng.Shuffle(len(w.requests), func(i, j int) { w.requests[i], w.requests[j] = w.requests[j], w.requests[i] })
		w.rng.Shuffle(len(w.pools), func(i, j int) { w.pools[i], w.pools[j] = w.pools[j], w.pools[i] })
		w.rng.Shuffle(len(w.kept), func(i, j int) { w.kept[i], w.kept[j] = w.kept[j], w.kept[i] })
		if diff := diffOf(want, w.assign()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFeedingGrantsBackChangesNothing(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		first := w.assign()
		w.settle(first)
		if diff := diffOf(settled(first), w.assign()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEveryGrantIsLawful(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		if err := lawful(w, w.assign()); err != nil {
			t.Error(err)
		}
	})
}

func TestAgreesWithTheTwin(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		if err := agree(w, w.assign()); err != nil {
			t.Error(err)
		}
	})
}

// agree compares grants with those of the twin.
func agree(w *world, grants map[ipam.Key]ipam.Grant) error {
	have := map[ipam.Key][]netip.Addr{}
	for k, g := range grants {
		if len(g.Addrs) > 0 {
			have[k] = g.Addrs
		}
	}
	want := twinAssign(w.pools, w.requests, w.kept)
	for k, addrs := range want {
		if len(addrs) == 0 {
			delete(want, k)
		}
	}
	if !reflect.DeepEqual(want, have) {
		return fmt.Errorf("the twin grants %v, Assign %v", want, have)
	}
	return nil
}

func TestAServiceThatArrivesMovesNoService(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		before := w.assign()
		w.settle(before)
		key := w.create()
		after := w.assign()
		for k, g := range before {
			// Others of its namespace may have more kept for them than they can have from now on.
			if k != key && !slices.Equal(g.Addrs, after[k].Addrs) && len(w.kept) == 0 && !slices.Contains(w.leavers(), k) {
				t.Errorf("%v arrives, and %v has %v instead of %v", key, k, after[k].Addrs, g.Addrs)
			}
		}
		if err := stays(before, after, append(w.leavers(), key)...); err != nil {
			t.Error(err)
		}
	})
}

func TestAServiceThatLeavesMovesNoServiceWhoHolds(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		if len(w.requests) == 0 {
			return
		}
		before := w.assign()
		w.settle(before)
		gone := w.requests[0].Service
		w.requests = w.requests[1:]
		if err := stays(before, w.assign(), append(w.leavers(), gone)...); err != nil {
			t.Error(err)
		}
	})
}
