package ipam_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/growth"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestSize(t *testing.T)      { growth.Test(t, sizes()) }
func BenchmarkSize(b *testing.B) { growth.Benchmark(b, sizes()) }

// sizes are requests that must cost as much for each Service as of a tenth of them.
// Half of each crowd holds addresses of one sharing key, and half waits in vain.
func sizes() []growth.Work {
	crowded := func(name, addresses string, edit func(i, n int, r *ipam.Request)) growth.Work {
		return growth.Work{Name: name, Items: 8000, Prepare: func(n int) func() {
			requests := services(n, ipam.IPv4)
			for i, r := range requests {
				r.Share = ipam.Share{Key: "k", Pods: "p"}
				edit(i%(n/2), n/2, r)
			}
			pools := ipam.Pools{pool("a", addresses)}
			for i, g := range ipam.Assign(pools, requests, nil) {
				if requests[i].Has = g.Addrs; (len(g.Addrs) > 0) != (i < n/2) {
					panic(fmt.Sprintf("%s: of %d, %d has %v", name, n, i, g))
				}
			}
			allocator := new(ipam.Allocator)
			return func() { allocator.Assign(pools, requests, nil) }
		}}
	}
	port := func(i int) ipam.Port { return ipam.Port{Protocol: "TCP", Number: uint16(i)} }
	return []growth.Work{
		crowded("one address, ports that are taken", "192.0.2.1", func(i, _ int, r *ipam.Request) {
			r.Ports = []ipam.Port{port(i)}
		}),
		crowded("one address that is asked for", "192.0.2.1", func(i, _ int, r *ipam.Request) {
			r.Ports, r.Want = []ipam.Port{port(i)}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		}),
		crowded("one address, many Pods", "192.0.2.1", func(i, _ int, r *ipam.Request) {
			r.Ports, r.Share.Pods, r.Want = []ipam.Port{port(i)}, fmt.Sprint(i), []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		}),
		// As many addresses as holders, for all listen on port 80.
		each80("an address each, one port that is taken"),
	}
}

// each80 is a crowd in a pool that has an address for half of it.
func each80(name string) growth.Work {
	return growth.Work{Name: name, Items: 8000, Prepare: func(n int) func() {
		requests := services(n, ipam.IPv4)
		for i, r := range requests {
			r.Share = ipam.Share{Key: "k", Pods: "p"}
			r.Ports = []ipam.Port{{Protocol: "TCP", Number: 80}, {Protocol: "TCP", Number: uint16(1000 + i)}}
		}
		last := netip.AddrFrom4([4]byte{10, 0, byte((n/2 - 1) >> 8), byte(n/2 - 1)})
		pools := ipam.Pools{pool("a", "10.0.0.0-"+last.String())}
		for i, g := range ipam.Assign(pools, requests, nil) {
			requests[i].Has = g.Addrs
		}
		allocator := new(ipam.Allocator)
		return func() { allocator.Assign(pools, requests, nil) }
	}}
}
