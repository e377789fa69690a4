package ipam_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// crowd is n dual-stack Services and pools that suffice for them.
func crowd(n int) (ipam.Pools, []ipam.Request) {
	pools := ipam.Pools{
		{Name: "a", AutoAssign: true, AvoidBuggy: true, Ranges: parseRanges("10.0.0.0-10.15.255.255")},
		{Name: "b", AutoAssign: true, Ranges: parseRanges("2001:db8::-2001:db8::ffff:ffff:ffff:ffff")},
	}
	requests := make([]ipam.Request, n)
	for i := range requests {
		requests[i] = ipam.Request{
			Service:  ipam.Key{Namespace: "n", Name: fmt.Sprintf("s%06d", i)},
			Created:  time.Unix(int64(i/10), 0),
			Families: ipam.Families{Want: []ipam.Family{ipam.IPv4, ipam.IPv6}, All: true},
			Ports:    []ipam.Port{{Protocol: "TCP", Number: uint16(i)}},
		}
	}
	return pools, requests
}

func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		pools, waiting := crowd(n)
		held := holding(waiting, ipam.Assign(pools, waiting))
		short := pools[:1] // no IPv6: all are refused, and give back what they hold
		keyed := append([]ipam.Request(nil), waiting...)
		for i := range keyed {
			keyed[i].Share.Key = fmt.Sprint("k", i/100)
		}
		for _, c := range []struct {
			name     string
			pools    ipam.Pools
			requests []ipam.Request
		}{
			{"all wait", pools, waiting},
			{"all hold", pools, held},
			{"all but one hold", pools, append(held[:n-1:n-1], waiting[n-1])},
			{"all give back", short, held},
			{"each hundred shares", pools, keyed},
		} {
			b.Run(fmt.Sprintf("%d/%s", len(c.requests), c.name), func(b *testing.B) {
				for b.Loop() {
					ipam.Assign(c.pools, c.requests)
				}
			})
		}
	}
}
