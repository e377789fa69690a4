package simulation

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// within is after how many histories a mutation must have been found.
const within = 2000

// mutations break what the speakers decide, each in one way.
func mutations() []mutation {
	return []mutation{
		{name: "answers though it hears nobody", needs: "lan split unplug", before: func(_ *speaker, f *failover.Facts) { f.Members.Isolated = false }},
		{name: "answers though it stood still", needs: "freeze suspend", steady: true},
		{name: "takes who restarts for dead", needs: "restart rolling", before: func(_ *speaker, f *failover.Facts) { standings(f, membership.Restarting, membership.Dead) }},
		{name: "takes the dead for alive", needs: "power lan", before: func(_ *speaker, f *failover.Facts) { standings(f, membership.Dead, membership.Alive) }},
		{name: "takes dead links for alive", needs: "lan unplug", before: func(_ *speaker, f *failover.Facts) {
			f.Members.Segments = maps.Clone(f.Members.Segments)
			for segment, v := range f.Members.Segments {
				v.Standing = replaced(v.Standing, membership.Dead, membership.Alive)
				f.Members.Segments[segment] = v
			}
		}},
		{name: "does not look at L2Claims", needs: "power move", before: func(_ *speaker, f *failover.Facts) { f.Claims = nil }},
		{name: "believes L2Claims as they were at first", needs: "power move", before: func(s *speaker, f *failover.Facts) {
			if first, known := s.notes.([]failover.Claim); known {
				f.Claims = first
			} else if f.API.Synced && len(f.Claims) > 0 {
				s.notes = f.Claims
			}
		}},
		{name: "takes for alive only whom it hears", needs: "crash power", before: func(_ *speaker, f *failover.Facts) { f.Leases = nil }},
		{name: "hears no other speaker announce", needs: "split api", before: func(_ *speaker, f *failover.Facts) { f.Conflicts = nil }},
		{name: "does not answer for one that restarts", needs: "restart rolling", after: func(s *speaker, _ *failover.Facts, o *failover.Output) {
			o.Proxy = slices.DeleteFunc(o.Proxy, func(c announce.Claim) bool { return c.As[0].MAC != s.node.mac })
		}},
		{name: "does not write whose an address is", needs: "power crash", after: func(_ *speaker, _ *failover.Facts, o *failover.Output) {
			o.Unconfirmed = maps.Clone(o.Claimed)
		}},
		{name: "never announces again", needs: "split lan", after: func(_ *speaker, _ *failover.Facts, o *failover.Output) {
			for i := range o.Plan.Claims {
				o.Plan.Claims[i].Round = 0
			}
		}},
	}
}

// standings has all members that are one thing be another.
func standings(f *failover.Facts, is, to membership.Standing) {
	f.Members.Standing = replaced(f.Members.Standing, is, to)
}

func replaced(all map[string]membership.Standing, is, to membership.Standing) map[string]membership.Standing {
	out := maps.Clone(all)
	for name, s := range out {
		if s == is {
			out[name] = to
		}
	}
	return out
}

// has reports whether a History has a fault of one of some kinds: others show nothing
// of what a mutation breaks, and would take time only.
func (h History) has(kinds string) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool { return slices.Contains(strings.Fields(kinds), f.Kind) })
}

// TestMutations shows that the rules find what is broken on purpose.
func TestMutations(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			m.find(t, Random, func(h History) bool { return h.has(m.needs) && h.Nodes <= 7 })
		})
	}
}

// find runs histories that may show a mutation until a rule finds it.
func (m mutation) find(t *testing.T, random func(uint64) History, may func(History) bool) {
	var next atomic.Uint64
	var found atomic.Pointer[Violation]
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < within && found.Load() == nil; seed = next.Add(1) - 1 {
				if h := random(seed); !may(h) {
					continue
				} else if v := h.run(m, nil); v != nil {
					found.CompareAndSwap(nil, v)
				}
			}
		})
	}
	wg.Wait()
	if v := found.Load(); v == nil {
		t.Errorf("not found within %d histories", within)
	} else {
		t.Logf("after %d histories: %s", next.Load(), v)
	}
}
