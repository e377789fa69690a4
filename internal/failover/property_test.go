package failover

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// change makes one thing else than before, at random.
func (d *fixture) change(r *rand.Rand) {
	node := []string{"x", "y"}[r.IntN(2)]
	a := []netip.Addr{addr, addr2}[r.IntN(2)]
	switch r.IntN(12) {
	case 0:
		d.Members.Isolated = !d.Members.Isolated
	case 1:
		d.Stalls++
	case 2:
		d.API = API{WasSynced: d.API.WasSynced}
	case 3:
		d.API = API{Reachable: true, WasSynced: d.API.WasSynced}
	case 4:
		d.back()
	case 5:
		d.Members.Standing[node] = membership.Standing(r.IntN(4))
	case 6:
		d.Leases[node] = Lease{Renewed: d.Now, Expired: r.IntN(2) == 0}
	case 7:
		d.claim(map[netip.Addr]string{addr: []string{self, "x", "y"}[r.IntN(3)], addr2: []string{self, "x", "y"}[r.IntN(3)]})
	case 8:
		d.probed(a, []string{"", "x", "y", "zebra"}[r.IntN(4)])
	case 9:
		d.heard(a, node, d.Now.Add(-time.Duration(r.IntN(3))*time.Second))
	case 10:
		d.Facts.Conflicts = nil
	case 11:
		d.Cluster.Nodes[0].Links[0].Up = r.IntN(3) > 0
	}
}

// shuffled returns the same facts in another order.
func shuffled(f Facts, r *rand.Rand) Facts {
	f.Claims = slices.Clone(f.Claims)
	r.Shuffle(len(f.Claims), func(i, j int) { f.Claims[i], f.Claims[j] = f.Claims[j], f.Claims[i] })
	f.Cluster.Nodes = slices.Clone(f.Cluster.Nodes)
	r.Shuffle(len(f.Cluster.Nodes), func(i, j int) {
		f.Cluster.Nodes[i], f.Cluster.Nodes[j] = f.Cluster.Nodes[j], f.Cluster.Nodes[i]
	})
	f.Cluster.Services = slices.Clone(f.Cluster.Services)
	r.Shuffle(len(f.Cluster.Services), func(i, j int) {
		f.Cluster.Services[i], f.Cluster.Services[j] = f.Cluster.Services[j], f.Cluster.Services[i]
	})
	return f
}

// Whatever happens, a node answers for nothing that the plan does not give it, for
// nothing while it is isolated or has just stood still, and equal facts lead to
// equal Outputs, whatever their order.
func TestStepUnderAnyHistory(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		d, twin := newFixture(), newFixture()
		stalls := uint64(0)
		for range 60 {
			d.Now = d.Now.Add(time.Duration(r.IntN(1500)) * time.Millisecond)
			d.change(r)
			o, other := d.Step(d.Facts), twin.Step(shuffled(d.Facts, r))
			if !reflect.DeepEqual(o, other) {
				t.Fatalf("seed %d: the order of facts decides:\n%+v\n%+v", seed, o, other)
			}
			if (d.Members.Isolated || d.Stalls != stalls) && len(o.Plan.Claims)+len(o.Proxy)+len(o.Probe) > 0 {
				t.Fatalf("seed %d: isolated %t, stalled %t, and %s", seed, d.Members.Isolated, d.Stalls != stalls, summary(o))
			}
			stalls = d.Stalls
			for _, c := range o.Plan.Claims {
				if !slices.ContainsFunc(results(o.Plan, c.Addr), func(v announce.Ownership) bool { return v.Owner == self }) {
					t.Fatalf("seed %d: it answers for %s, which the plan gives to others", seed, c.Addr)
				}
			}
			for range 3 { // a Resync, or an opponent that a probe found, takes effect in the next
				o = d.Step(d.Facts)
				twin.Step(d.Facts)
			}
			if len(o.Events) > 0 || o.Resync {
				t.Fatalf("seed %d: the same facts go on being news: %v", seed, o.Events)
			}
		}
	}
}

func results(p announce.Plan, a netip.Addr) []announce.Ownership {
	var out []announce.Ownership
	for _, v := range p.Results {
		out = append(out, v.Of(a))
	}
	return out
}
