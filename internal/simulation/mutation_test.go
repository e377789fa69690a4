package simulation

import (
	"flag"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

var broken = flag.Uint64("broken", 2000, "within how many histories a mutation must be found")

// mutations break what the speakers decide, each in one way.
func mutations() []mutation {
	return []mutation{
		{name: "answers though it is isolated", seed: 21, needs: "lan split unplug", before: func(_ *speaker, f *failover.Facts) { f.Members.Isolated = false }},
		{name: "answers though it stood still", seed: 33, needs: "freeze suspend", steady: true},
		{name: "takes who restarts for dead", seed: 93, needs: "restart rolling", before: func(_ *speaker, f *failover.Facts) { standings(f, membership.Restarting, membership.Dead) }},
		{name: "takes the dead for alive", seed: 2, needs: "power lan", before: func(_ *speaker, f *failover.Facts) { standings(f, membership.Dead, membership.Alive) }},
		{name: "takes dead links for alive", seed: 24, needs: "lan unplug", before: func(_ *speaker, f *failover.Facts) {
			f.Members.Segments = maps.Clone(f.Members.Segments)
			for segment, v := range f.Members.Segments {
				v.Standing = replaced(v.Standing, membership.Dead, membership.Alive)
				f.Members.Segments[segment] = v
			}
		}},
		{name: "does not look at L2Claims", seed: 23, needs: "power move", before: func(_ *speaker, f *failover.Facts) { f.Claims = nil }},
		{name: "believes L2Claims as they were at first", seed: 53, needs: "power move", before: func(s *speaker, f *failover.Facts) {
			if first, known := s.notes.([]failover.Claim); known {
				f.Claims = first
			} else if f.API.Synced && len(f.Claims) > 0 {
				s.notes = f.Claims
			}
		}},
		{name: "takes for alive only whom it hears", seed: 10, needs: "crash power", before: func(_ *speaker, f *failover.Facts) { f.Leases = nil }},
		{name: "hears no other speaker announce", seed: 719, needs: "split api", before: func(_ *speaker, f *failover.Facts) { f.Conflicts = nil }},
		{name: "does not answer for one that restarts", seed: 15, needs: "restart rolling", after: func(s *speaker, _ *failover.Facts, o *failover.Output) {
			o.Proxy = slices.DeleteFunc(o.Proxy, func(c announce.Claim) bool { return c.ProxyReplies[0].MAC != s.node.mac })
		}},
		{name: "does not write whose an address is", seed: 10, needs: "power crash", after: func(_ *speaker, _ *failover.Facts, o *failover.Output) {
			o.Unconfirmed = maps.Clone(o.Claimed)
		}},
		{name: "takes without asking", seed: 32, needs: "api freeze suspend lan split", before: func(s *speaker, f *failover.Facts) { asked(s, f, membership.Unanswered) }},
		{name: "asks, and hears no answer", seed: 23, needs: "api freeze suspend lan split", before: func(s *speaker, f *failover.Facts) { f.Probes = nil }},
		{name: "believes that the API server always answers", seed: 719, needs: "api", before: func(_ *speaker, f *failover.Facts) { f.API.Reachable, f.API.Synced = f.API.WasSynced, f.API.WasSynced }},
		{name: "believes that the API server is away", seed: 2, needs: "", before: func(_ *speaker, f *failover.Facts) { f.API.Reachable, f.API.Synced = false, false }},
		{name: "gives to nodes that report that they are isolated", history: "isolated-but-leased", needs: "lan split unplug cut-receive mute", before: func(_ *speaker, f *failover.Facts) { f.Isolated = nil }},
		{name: "believes a Lease for ever", seed: 112, needs: "others power crash", before: func(_ *speaker, f *failover.Facts) { expired(f, false) }},
		{name: "believes no Lease", seed: 2, needs: "", before: func(_ *speaker, f *failover.Facts) { expired(f, true) }},
		{name: "trusts who was lost as soon as it renews", seed: 26, needs: "", before: func(s *speaker, _ *failover.Facts) { s.failover.Misses = 0 }},
		{name: "never trusts a node again that was lost", history: "bad-paths-of-one-node", needs: "pair oneway split", before: func(_ *speaker, f *failover.Facts) { renewed(f, time.Time{}) }},
		{name: "forgets what it did", seed: 6, needs: "", before: func(s *speaker, _ *failover.Facts) { s.failover = failover.New(s.failover.Options) }},
		{name: "believes L2Claims as they were 5 s ago", seed: 26, needs: "", before: func(s *speaker, f *failover.Facts) {
			old, _ := s.notes.([]dated)
			old = append(old, dated{f.Now, f.Claims})
			for len(old) > 1 && f.Now.Sub(old[1].at) >= 5*time.Second {
				old = old[1:]
			}
			s.notes, f.Claims = old, old[0].claims
		}},
		{name: "does not yield without the API server", seed: 719, needs: "api", before: func(_ *speaker, f *failover.Facts) {
			if !f.API.Reachable {
				f.Conflicts = nil
			}
		}},
		{name: "never looks again", seed: 953, needs: "", after: func(_ *speaker, _ *failover.Facts, o *failover.Output) { o.Wake = 0 }},
		{name: "never announces again", history: "announces-against-one-that-dies", needs: "split lan", after: func(_ *speaker, _ *failover.Facts, o *failover.Output) {
			for i := range o.Plan.Claims {
				o.Plan.Claims[i].Generation = 0
			}
		}},
	}
}

// dated is L2Claims as of a time.
type dated struct {
	at     time.Time
	claims []failover.Claim
}

// asked has all addresses have been asked for just now.
func asked(s *speaker, f *failover.Facts, reply membership.Reply) {
	f.Probes = map[netip.Addr]failover.Probe{}
	for _, a := range s.granted() {
		f.Probes[a] = failover.Probe{Reply: reply, Asked: f.Now, Done: f.Now, Links: []string{"eth0"}}
	}
}

// expired has all Leases be so.
func expired(f *failover.Facts, is bool) {
	f.Leases = maps.Clone(f.Leases)
	for name, l := range f.Leases {
		l.Expired = is
		f.Leases[name] = l
	}
}

// renewed has all Leases show the same renewal at all times.
func renewed(f *failover.Facts, at time.Time) {
	f.Leases = maps.Clone(f.Leases)
	for name, l := range f.Leases {
		l.Renewed = at
		f.Leases[name] = l
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
	return kinds == "" || slices.ContainsFunc(h.Faults, func(f Fault) bool { return slices.Contains(strings.Fields(kinds), f.Kind) })
}

// TestMutations shows that the rules find what is broken on purpose.
func TestMutations(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			m.find(t, Random, func(h History) bool { return h.has(m.needs) && h.Nodes <= 7 })
		})
	}
}

// find runs the history that is known to show a mutation: that of a seed, or of testdata. If a rule does not find it
// there any more, since histories have changed, it runs others that may show it until one
// does, and says which: that is to be noted.
func (m mutation) find(t *testing.T, random func(uint64) History, may func(History) bool) {
	var known History
	switch {
	case m.history != "":
		known = read(t, "testdata/"+m.history+".txt")
	case m.seed > 0:
		known = random(m.seed)
	}
	if known.Subnets > 0 {
		if v := known.run(m, nil); v != nil {
			t.Logf("%s, seed %d: %s", m.history, known.Seed, v)
			return
		}
	}
	start := time.Now()
	var next, seed atomic.Uint64
	var found atomic.Pointer[Violation]
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < *broken && found.Load() == nil && !late(t, start); n = next.Add(1) - 1 {
				if h := random(n); !may(h) {
					continue
				} else if v := h.run(m, nil); v != nil && Run(h) == nil && found.CompareAndSwap(nil, v) {
					seed.Store(n)
				}
			}
		})
	}
	wg.Wait()
	if v := found.Load(); v == nil {
		t.Errorf("not found within %d histories", min(next.Load(), *broken))
	} else {
		t.Logf("seed %d, where %d is noted: %s", seed.Load(), m.seed, v)
	}
}
