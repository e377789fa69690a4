package main

import (
	"math/big"
	"net/netip"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// usage is how much of one family a pool has given out.
type usage struct {
	family             ipam.Family
	capacity, assigned *big.Int
}

func (u usage) available() *big.Int { return new(big.Int).Sub(u.capacity, u.assigned) }

// status is the usage as it stands on the pool.
func (u usage) status() *v1beta1.PoolUsage {
	return &v1beta1.PoolUsage{Capacity: u.capacity.String(), Assigned: u.assigned.String(), Available: u.available().String()}
}

// number rounds to what a metric can hold.
func number(n *big.Int) float64 {
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}

// pending counts the Services without an address, by reason.
func (p plan) pending() map[ipam.Reason]int {
	out := map[ipam.Reason]int{}
	for i, g := range p.grants {
		switch svc := p.services[i].svc; {
		case p.attempts[svc.UID].refused && len(intent.Holds(svc)) == 0:
			out[v1beta1.ReasonStatusRefused]++
		case len(g.Addrs) == 0:
			out[g.Reason]++
		}
	}
	return out
}

// contested counts the Services whose status somebody else overwrites.
func (p plan) contested() int {
	n := 0
	for _, c := range p.contests {
		if c.told() {
			n++
		}
	}
	return n
}

// usage counts the addresses of each pool, of the families that it has.
func (p plan) usage() map[string][]usage {
	type place struct {
		pool   string
		family ipam.Family
	}
	taken := map[place]int64{}
	shared := map[netip.Addr]bool{}
	for i, g := range p.grants {
		for j, a := range g.Addrs {
			if p.services[i].request.Share.Key != "" { // it may be on several
				if shared[a] {
					continue
				}
				shared[a] = true
			}
			taken[place{g.Pools[j], ipam.FamilyOf(a)}]++
		}
	}
	out := make(map[string][]usage, len(p.pools))
	for i := range p.pools {
		pool := &p.pools[i]
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if capacity := pool.Capacity(f); capacity.Sign() > 0 {
				out[pool.Name] = append(out[pool.Name], usage{f, capacity, big.NewInt(taken[place{pool.Name, f}])})
			}
		}
	}
	return out
}
