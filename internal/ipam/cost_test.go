package ipam_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestAHolderCostsNoAllocation(t *testing.T) {
	pools := ipam.Pools{pool("a", "10.0.0.0-10.15.255.255"), pool("b", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff")}
	cost := func(n int) float64 {
		requests := held(pools, services(n, ipam.IPv4, ipam.IPv6))
		return testing.AllocsPerRun(5, func() { ipam.Assign(pools, requests, nil) })
	}
	if limit, large := cost(100), cost(3000); large > limit+30 { // a map has one for each thousand or so
		t.Errorf("100 holders cost %v allocations, and 3000 cost %v", limit, large)
	}
}

func TestAPoolIsAskedOnceAboutAHolder(t *testing.T) {
	asked := 0
	var pools ipam.Pools
	for i := range 3 {
		pools = append(pools, pool(fmt.Sprint(i), fmt.Sprintf("10.0.%d.0-10.0.%d.99,2001:db8:%d::-2001:db8:%d::63", i, i, i, i)))
	}
	for i := range pools {
		pools[i].Allows = func(ipam.Key) bool { asked++; return true }
	}
	requests := append(held(pools, services(300, ipam.IPv4, ipam.IPv6)), services(310, ipam.IPv4, ipam.IPv6)[300:]...)
	asked = 0
	ipam.Assign(pools, requests, nil)
	if want := 300 + 10*len(pools); asked != want {
		t.Errorf("pools were asked %d times about 300 holders and 10 that wait in vain, instead of %d times", asked, want)
	}
}

func TestAChainOfYieldingIsCutShort(t *testing.T) {
	for _, n := range []int{3, 7, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			asked := 0
			w := &world{rng: rand.New(rand.NewSource(1)), pools: domino(n)}
			for _, r := range dominoes(n) {
				w.requests = append(w.requests, *r)
			}
			// One has an address that an older one wants, lacks nothing that it must have, and keeps it.
			w.pools = append(w.pools, pool("b", "192.0.2.1"))
			w.requests = append(w.requests, ipam.Request{
				Service: ipam.Key{Name: "prefers"}, Created: time.Unix(int64(n), 0), Has: parseAddrs("192.0.2.1"),
				Families: ipam.Families{Want: []ipam.Family{ipam.IPv4, ipam.IPv6}},
			}, ipam.Request{
				Service: ipam.Key{Name: "wants"}, Want: parseAddrs("192.0.2.1"), Families: ipam.Families{Want: []ipam.Family{ipam.IPv4}},
			})
			grants := w.assign()
			if err := agree(w, grants); err != nil {
				t.Error(err)
			}
			if err := lawful(w, grants); err != nil {
				t.Error(err)
			}
			w.pools[0].Allows = func(ipam.Key) bool { asked++; return true }
			w.assign()
			if asked > 60*n {
				t.Errorf("the pool was asked %d times about %d Services", asked, 2*n)
			}
			w.pools[0].Allows = nil
			w.settle(grants)
			if diff := diffOf(settled(grants), w.assign()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestsAndGrantsAreNotChanged(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		for i := range w.requests {
			r := &w.requests[i]
			r.Has = append(make([]netip.Addr, 0, len(r.Has)+2), r.Has...) // room behind it, which is not ours
		}
		before := w.copied()
		grants := w.assign()
		for _, g := range grants {
			_ = append(g.Addrs, netip.MustParseAddr("192.0.2.1"))
			_ = append(g.Pools, "x")
		}
		for i, r := range w.requests {
			if rest := r.Has[:cap(r.Has)]; slices.ContainsFunc(rest[len(r.Has):], netip.Addr.IsValid) {
				t.Errorf("%v: written behind what it has: %v", r.Service, rest)
			}
			if diff := cmp.Diff(before[i], r, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		}
		if diff := diffOf(grants, w.assign()); diff != "" {
			t.Errorf("who appends to one grant changes another: %s", diff)
		}
	})
}

func TestACrowdIsServedFromTheLowestAddressUpwards(t *testing.T) {
	const n = 1024
	pools := ipam.Pools{pool("a", "10.0.0.0-10.0.255.255,2001:db8::-2001:db8::ffff")}
	a4, a6 := pools[0].Ranges[0].First, pools[0].Ranges[1].First
	for i, r := range held(pools, services(n, ipam.IPv4, ipam.IPv6)) {
		if want := []netip.Addr{a4, a6}; !slices.Equal(want, r.Has) {
			t.Fatalf("%d: want %v, have %v", i, want, r.Has)
		}
		a4, a6 = a4.Next(), a6.Next()
	}
}
