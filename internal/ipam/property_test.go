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
		have := map[ipam.Key][]netip.Addr{}
		for k, g := range w.assign() {
			if len(g.Addrs) > 0 {
				have[k] = g.Addrs
			}
		}
		want := twinAssign(w.pools, w.requests)
		for k, addrs := range want {
			if len(addrs) == 0 {
				delete(want, k)
			}
		}
		if !reflect.DeepEqual(want, have) {
			t.Errorf("the twin grants %v, Assign %v", want, have)
		}
	})
}

func TestAServiceThatArrivesMovesNobody(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		before := w.assign()
		w.settle(before)
		key := w.create()
		after := w.assign()
		for k, g := range before {
			if k != key && !slices.Equal(g.Addrs, after[k].Addrs) {
				t.Errorf("%v arrives, and %v has %v instead of %v", key, k, after[k].Addrs, g.Addrs)
			}
		}
	})
}

func TestAServiceThatLeavesMovesNobodyWhoHolds(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		if len(w.requests) == 0 {
			return
		}
		before := w.assign()
		w.settle(before)
		gone := w.requests[0].Service
		w.requests = w.requests[1:]
		if err := stays(before, w.assign(), gone); err != nil {
			t.Error(err)
		}
	})
}

// TestHistories lives through long histories of edits, each followed by one
// Assign whose grants are written.
func TestHistories(t *testing.T) {
	for seed := range int64(20) {
		w := newWorld(seed)
		w.settle(w.assign())
		for step := range 300 {
			before := map[ipam.Key]ipam.Grant{}
			for _, r := range w.requests {
				before[r.Service] = ipam.Grant{Addrs: r.Has}
			}
			what, touched := w.edit()
			world := *w // what follows replaces the requests, and changes none
			grants := w.assign()
			err := lawful(w, grants)
			if err == nil && what != "edit pools" {
				err = stays(before, grants, touched...)
			}
			if err == nil {
				err = nobodyWaitsInVain(w, grants)
			}
			w.settle(grants)
			if diff := diffOf(settled(grants), w.assign()); err == nil && diff != "" {
				err = fmt.Errorf("not stable: %s", diff)
			}
			if err != nil {
				t.Fatalf("seed %d, step %d, %s %v: %v\n%s", seed, step, what, touched, err, &world)
			}
		}
	}
}

// edit changes one thing and returns whose addresses it may move.
func (w *world) edit() (what string, touched []ipam.Key) {
	n := len(w.requests)
	switch dice := w.rng.Intn(100); {
	case dice < 40 && n < 10 || n == 0:
		return "create", []ipam.Key{w.create()}
	case dice < 60:
		i := w.rng.Intn(n)
		key := w.requests[i].Service
		w.requests = slices.Delete(slices.Clone(w.requests), i, i+1)
		return "delete", []ipam.Key{key}
	case dice < 95:
		i := w.rng.Intn(n)
		w.requests = slices.Clone(w.requests)
		w.ask(&w.requests[i])
		return "edit request", w.sharers(i)
	default:
		w.editPools()
		return "edit pools", nil
	}
}

// sharers are the Service and those who share an address with it: of these the
// oldest keeps it.
func (w *world) sharers(i int) []ipam.Key {
	var out []ipam.Key
	for j, r := range w.requests {
		if i == j || slices.ContainsFunc(r.Has, func(a netip.Addr) bool { return slices.Contains(w.requests[i].Has, a) }) {
			out = append(out, r.Service)
		}
	}
	return out
}

// stays fails if anyone but those who are touched loses an address.
func stays(before, after map[ipam.Key]ipam.Grant, touched ...ipam.Key) error {
	for k, g := range before {
		for _, a := range g.Addrs {
			if !slices.Contains(touched, k) && !slices.Contains(after[k].Addrs, a) {
				return fmt.Errorf("%v had %v and has %v", k, g.Addrs, after[k].Addrs)
			}
		}
	}
	return nil
}

// lawful checks each grant against its request, and all users of an address
// against one another.
func lawful(w *world, grants map[ipam.Key]ipam.Grant) error {
	if len(grants) != len(w.requests) {
		return fmt.Errorf("%d answers to %d requests", len(grants), len(w.requests))
	}
	tw := twin{w.pools, map[netip.Addr][]ipam.Request{}}
	for _, r := range w.requests {
		g := grants[r.Service]
		if (g.Reason == "") != (len(g.Addrs) > 0) || len(g.Addrs) != len(g.Pools) {
			return fmt.Errorf("%v: neither addresses nor a reason, or both: %+v", r.Service, g)
		}
		if g.Reason != "" && g.Message == "" {
			return fmt.Errorf("%v: a reason without words: %+v", r.Service, g)
		}
		if n := len(g.Addrs); r.Invalid == "" && r.Families.All && n != 0 && n != len(r.Families.Want) {
			return fmt.Errorf("%v wants all of %v and has %v", r.Service, r.Families.Want, g.Addrs)
		}
		if !slices.Equal(g.Addrs, inOrder(g.Addrs, r)) {
			return fmt.Errorf("%v wants %v and has %v", r.Service, r.Families.Want, g.Addrs)
		}
		for i, a := range g.Addrs {
			switch p := tw.poolOf(a); {
			case !tw.suits(a, r) || p.Name != g.Pools[i]:
				return fmt.Errorf("%v must not have %s of %s", r.Service, a, g.Pools[i])
			case !slices.Contains(r.Has, a) && p.Frozen:
				return fmt.Errorf("%v got %s of the frozen pool %s", r.Service, a, p.Name)
			case !slices.Contains(r.Has, a) && !slices.Contains(r.Want, a) && r.Pool == "" && !p.AutoAssign:
				return fmt.Errorf("%v got %s of %s, which gives nothing by itself", r.Service, a, p.Name)
			case !tw.free(a, r):
				return fmt.Errorf("%v shares %s with one it may not share it with", r.Service, a)
			}
		}
		tw.enter(r, g.Addrs)
	}
	return nil
}

// nobodyWaitsInVain fails if a Service that wants one family, and got nothing,
// could have had what is still free.
func nobodyWaitsInVain(w *world, grants map[ipam.Key]ipam.Grant) error {
	tw := twin{w.pools, map[netip.Addr][]ipam.Request{}}
	for _, r := range w.requests {
		tw.enter(r, grants[r.Service].Addrs)
	}
	for _, r := range w.requests {
		if len(grants[r.Service].Addrs) == 0 && r.Invalid == "" {
			if addrs, ok := tw.completes(r, nil); ok {
				return fmt.Errorf("%v waits for %v, which is free: %+v", r.Service, addrs, grants[r.Service])
			}
		}
	}
	return nil
}
