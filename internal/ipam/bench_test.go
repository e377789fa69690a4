package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// services is n Services of these families, each of its own port.
func services(n int, families ...ipam.Family) []*ipam.Request {
	out := make([]*ipam.Request, n)
	for i := range out {
		out[i] = &ipam.Request{
			Service:  ipam.Key{Namespace: "n", Name: fmt.Sprintf("s%06d", i)},
			Created:  time.Unix(int64(i/10), 0),
			Families: ipam.Families{Want: families, All: true},
			Ports:    []ipam.Port{{Protocol: "TCP", Number: uint16(i)}},
		}
	}
	return out
}

// held is what the requests are once the grants are written.
func held(pools ipam.Pools, requests []*ipam.Request) []*ipam.Request {
	out := make([]*ipam.Request, len(requests))
	for i, g := range ipam.Assign(pools, requests, nil) {
		r := *requests[i]
		r.Has = g.Addrs
		out[i] = &r
	}
	return out
}

// each changes every request.
func each(requests []*ipam.Request, change func(i int, r *ipam.Request)) []*ipam.Request {
	for i, r := range requests {
		change(i, r)
	}
	return requests
}

func pool(name, ranges string) ipam.Pool {
	return ipam.Pool{Name: name, AutoAssign: true, Ranges: parseRanges(ranges)}
}

// limitedBy200 gives requests quotas, one for each of 200 namespaces, and every fifth a reserved address.
func limitedBy200(pools ipam.Pools, requests []*ipam.Request) (ipam.Pools, []*ipam.Request) {
	quotas := make([]*ipam.Quota, 200)
	for i := range quotas {
		quotas[i] = &ipam.Quota{Index: i, Name: fmt.Sprint("q", i), Limit: len(requests)}
	}
	occupied := &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}}
	a := netip.MustParseAddr("10.8.0.0")
	each(requests, func(i int, r *ipam.Request) {
		r.Service.Namespace = fmt.Sprint("n", i%len(quotas))
		if r.Quotas = []*ipam.Quota{quotas[i%len(quotas)]}; i%5 == 0 {
			r.Reserved = []netip.Addr{a}
			r.Quotas[0].Reserved++
			occupied.Addrs[a] = ipam.Occupant{Reserved: fmt.Sprint("r", i), ReservedIn: ipam.NamespaceSet(r.Service.Namespace)}
			a = a.Next()
		}
	})
	pools = slices.Clone(pools)
	for i := range pools {
		pools[i].Occupied = occupied
	}
	return pools, requests
}

type race struct {
	name     string
	pools    ipam.Pools
	requests []*ipam.Request
}

// usual are the common cases at n requests.
func usual(n int) []race {
	v4 := ipam.Pools{pool("a", "10.0.0.0-10.15.255.255")}
	both := append(ipam.Pools{pool("b", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff")}, v4...)
	v6 := both[:1]
	single, dual := services(n, ipam.IPv4), services(n, ipam.IPv4, ipam.IPv6)
	keyed := each(services(n, ipam.IPv4), func(i int, r *ipam.Request) { r.Share.Key = fmt.Sprint("k", i/100) })
	scattered := func(f ipam.Family, pools ipam.Pools) []*ipam.Request {
		a := pools[0].Ranges[0].First
		return append(each(services(n-1, f), func(_ int, r *ipam.Request) {
			r.Has = []netip.Addr{a}
			a = a.Next().Next()
		}), services(n, f)[n-1])
	}
	quotaPools, limited := limitedBy200(v4, services(n, ipam.IPv4))
	mixed := held(v4, single)
	for i, j := range []int{n / 3, n / 2, n - 1} {
		mixed[i], mixed[j] = mixed[j], mixed[i]
	}
	return []race{
		{"all hold but one", v4, append(held(v4, single)[:n-1:n-1], single[n-1])},
		{"all hold but one, out of order", v4, mixed},
		{"all hold two but one", both, append(held(both, dual)[:n-1:n-1], dual[n-1])},
		{"all hold but one, 200 quotas and every fifth reserved", quotaPools, append(held(quotaPools, limited)[:n-1:n-1], limited[n-1])},
		{"all wait", v4, single},
		{"all wait, 200 quotas and every fifth reserved", quotaPools, limited},
		{"all wait for two", both, dual},
		{"each hundred shares", v4, keyed},
		{"each hundred shares and holds", v4, held(v4, keyed)},
		{"every second address of IPv4 is held", v4, scattered(ipam.IPv4, v4)},
		{"every second address of IPv6 is held", v6, scattered(ipam.IPv6, v6)},
	}
}

// worst are cases that tempt to look at everything again and again.
func worst() []race {
	full := ipam.Pools{pool("a", "10.0.0.0-10.0.255.255")}
	prefer := each(held(full, services(2000, ipam.IPv4)), func(_ int, r *ipam.Request) {
		r.Families = ipam.Families{Want: []ipam.Family{ipam.IPv4, ipam.IPv6}}
	})
	both := ipam.Pools{pool("a", "10.0.0.0-10.0.255.255"), pool("b", "2001:db8::1")}
	one := each(services(10_000, ipam.IPv4), func(_ int, r *ipam.Request) { r.Share.Key = "k" })
	same := each(services(10_000, ipam.IPv4), func(_ int, r *ipam.Request) {
		r.Share.Key, r.Ports = "k", []ipam.Port{{Protocol: "TCP", Number: 80}}
	})
	var large ipam.Pools
	for i := range 256 {
		p := pool(fmt.Sprintf("p%03d", i), fmt.Sprintf("10.0.%d.0-10.0.%d.255", i, i))
		p.Allows = func(k ipam.Key) bool { return len(k.Name) > 3 }
		large = append(large, p)
	}
	return []race{
		{"a full 16 and 200 wait", full, append(held(full, services(65_536, ipam.IPv4)), services(65_736, ipam.IPv4)[65_536:]...)},
		{"256 full pools and 200 wait", large, append(held(full, services(65_536, ipam.IPv4)), services(65_736, ipam.IPv4)[65_536:]...)},
		{"2000 lack the family that is full", both, prefer},
		{"2000 come to require what is full", both, each(held(full, services(2000, ipam.IPv4)), func(_ int, r *ipam.Request) {
			r.Families.Want = []ipam.Family{ipam.IPv4, ipam.IPv6}
		})},
		{"10000 share one address", full, held(full, one)},
		{"10000 of one key and port, 200 wait", full, append(held(full, same[:9800]), same[9800:]...)},
		{"1000 yield one after another", domino(1000), dominoes(1000)},
	}
}

// domino has n addresses of IPv4, and one less of IPv6.
func domino(n int) ipam.Pools {
	a4, a6 := netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("2001:db8::")
	return ipam.Pools{{Name: "a", AutoAssign: true, Ranges: []ipam.Range{{First: a4, Last: later(a4, n-1)}, {First: a6, Last: later(a6, n-2)}}}}
}

func later(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// dominoes are n that hold an IPv4 address and come to require IPv6 too, and n
// older ones that each want the address of one of them. The youngest that holds
// one can't be served, and gives its address to one that takes away the IPv6
// address that the next youngest needs, and so on.
func dominoes(n int) []*ipam.Request {
	a := netip.MustParseAddr("10.0.0.0")
	return each(services(2*n, ipam.IPv4, ipam.IPv6), func(i int, r *ipam.Request) {
		addr := []netip.Addr{later(a, i%n)}
		if i < n {
			r.Want = addr
		} else {
			r.Has = addr
		}
	})
}

func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 20_000, 100_000} {
		for _, c := range usual(n) {
			run(b, fmt.Sprintf("%d/%s", n, c.name), c)
		}
	}
	for _, c := range worst() {
		run(b, "worst/"+c.name, c)
	}
}

func run(b *testing.B, name string, c race) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		var allocator ipam.Allocator
		for b.Loop() {
			allocator.Assign(c.pools, c.requests, nil)
		}
	})
}
