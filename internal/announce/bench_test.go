package announce_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// large is a cluster of 10,000 Services with an address each.
func large() announce.Snapshot {
	s := announce.Snapshot{Self: "node1"}
	lan := netip.MustParsePrefix("10.99.0.0/16")
	for i := range 3 {
		s.Nodes = append(s.Nodes, announce.Node{
			Name: fmt.Sprintf("node%d", i), Live: true,
			Links: []announce.Link{{Name: "eth0", Up: true, MAC: [6]byte{2, byte(i)}, Prefixes: []netip.Prefix{lan}}},
		})
	}
	for i := range 10_000 {
		s.Services = append(s.Services, announce.Service{
			Key:   ipam.Key{Namespace: "default", Name: fmt.Sprintf("quiet-%05d", i)},
			Addrs: []announce.Address{{Addr: netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)}), Pool: "pool"}},
		})
	}
	return s
}

// BenchmarkDecide measures the cost of a change, after which everything is decided again.
func BenchmarkDecide(b *testing.B) {
	layer2 := large()
	layer2.L2 = []announce.L2Advertisement{{Name: "lan"}}
	routed := large()
	routed.BGP = []announce.BGPAdvertisement{{Name: "routed", Length4: 32, Length6: 128}}
	for i := range 4 {
		routed.Neighbors = append(routed.Neighbors, announce.Neighbor{Peer: announce.Peer{
			Name: fmt.Sprintf("router-%d", i), Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Port: 179,
		}})
	}
	for name, s := range map[string]announce.Snapshot{"layer2": layer2, "bgp": routed} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if plan := announce.Decide(s); len(plan.Claims) == 0 && len(plan.Peerings[0].Routes) == 0 {
					b.Fatal("nothing is announced")
				}
			}
		})
	}
}
