package announce_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/growth"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestSize(t *testing.T)      { growth.Test(t, sizes()) }
func BenchmarkSize(b *testing.B) { growth.Benchmark(b, sizes()) }

// sizes are snapshots whose decision must cost as much per Service as one of a tenth the size.
func sizes() []growth.Work {
	return []growth.Work{
		{Name: "10,000 Services of 10,000 pools, each advertised by itself", Items: 10000, Prepare: func(n int) func() {
			return decided(n, func(pool string) map[string]bool { return map[string]bool{pool: true} })
		}},
		{Name: "10,000 Services of 10,000 pools, all advertised together", Items: 10000, Prepare: func(n int) func() {
			all := map[string]bool{}
			return decided(n, func(pool string) map[string]bool {
				if all[pool] = true; len(all) > 1 {
					return map[string]bool{"none": true}
				}
				return all
			})
		}},
		{Name: "1,000 nodes, 20 in each subnet, and as many addresses that have no owner yet", Items: 1000, Prepare: started},
	}
}

// started returns the decision in a cluster of n nodes in many subnets that has just started.
func started(n int) func() {
	s := announce.Snapshot{Self: "n0", L2: []announce.L2Advertisement{{Name: "lan"}}}
	for i := range n {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 20), 0}), 24)
		s.Nodes = append(s.Nodes, announce.Node{Name: fmt.Sprint("n", i), Live: true, Links: []announce.Link{{Name: "eth0", Up: true, Prefixes: []netip.Prefix{subnet}}}})
		s.Services = append(s.Services, announce.Service{
			Key:   ipam.Key{Namespace: "n", Name: fmt.Sprint("s", i)},
			Addrs: []announce.Address{{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 20), byte(100 + i%20)}), Pool: "p"}},
		})
	}
	return func() {
		if plan := announce.Decide(s); plan.Of(s.Services[n-1].Key).Layer2[0].Owner == "" {
			panic("an address has no owner")
		}
	}
}

// decided returns the decision about n Services of as many pools.
func decided(n int, pools func(pool string) map[string]bool) func() {
	s := announce.Snapshot{Self: "a", Neighbors: []announce.Neighbor{{Peer: announce.Peer{Name: "p", Addr: netip.MustParseAddr("192.0.2.1")}}}}
	for _, name := range []string{"a", "b", "c"} {
		s.Nodes = append(s.Nodes, announce.Node{Name: name, Live: true, Links: []announce.Link{{Name: "eth0", Up: true}}})
	}
	for i := range n {
		pool := fmt.Sprint("p", i)
		s.Services = append(s.Services, announce.Service{
			Key:   ipam.Key{Namespace: "n", Name: fmt.Sprint("s", i)},
			Addrs: []announce.Address{{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Pool: pool}},
		})
		selection := announce.Selection{Pools: pools(pool)}
		s.L2 = append(s.L2, announce.L2Advertisement{Name: pool, Selection: selection})
		s.BGP = append(s.BGP, announce.BGPAdvertisement{Name: pool, Selection: selection, Length4: 32, Length6: 128})
	}
	return func() {
		if plan := announce.Decide(s); len(plan.Peerings[0].Routes) != n {
			panic(fmt.Sprintf("%d routes", len(plan.Peerings[0].Routes)))
		}
	}
}
