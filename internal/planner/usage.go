package planner

import (
	"math/big"
	"net/netip"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Usage is how much of one family a pool has given out.
type Usage struct {
	Family             ipam.Family
	capacity, Assigned *big.Int
	Kept               *big.Int // waits for Services that were deleted, and no Service has it
}

func (u Usage) Available() *big.Int {
	taken := new(big.Int).Add(u.Assigned, u.Kept)
	return taken.Sub(u.capacity, taken)
}

// Status is the usage as it stands on the pool.
func (u Usage) Status() *v1beta1.PoolUsage {
	out := &v1beta1.PoolUsage{Capacity: u.capacity.String(), Assigned: u.Assigned.String(), Available: u.Available().String()}
	if u.Kept.Sign() > 0 {
		out.Kept = u.Kept.String()
	}
	return out
}

// waiting counts the Services without an address, by reason.
func (p Plan) waiting() map[ipam.Reason]int {
	out := map[ipam.Reason]int{}
	for i, g := range p.Grants {
		switch svc := p.Services[i].Object; {
		case p.attempts[svc.UID].refused && len(intent.Holds(svc)) == 0:
			out[v1beta1.ReasonStatusRefused]++
		case len(g.Addrs) == 0:
			out[g.Reason]++
		}
	}
	return out
}

// contested counts the Services whose status another client overwrites.
func (p Plan) contested() int {
	n := 0
	for _, c := range p.Contests {
		if c.reported() {
			n++
		}
	}
	return n
}

// usage counts the addresses of each pool, of the families that it has.
func (p Plan) usage() map[string][]Usage {
	type place struct {
		pool   string
		family ipam.Family
	}
	taken, kept := map[place]int64{}, map[place]int64{}
	shared := map[netip.Addr]bool{}
	for i, g := range p.Grants {
		for j, a := range g.Addrs {
			if p.Services[i].request.Share.Key != "" { // it may be on several
				if shared[a] {
					continue
				}
				shared[a] = true
			}
			taken[place{g.Pools[j], ipam.FamilyOf(a)}]++
		}
	}
	if len(p.pending) > 0 {
		counted := p.holders()
		for _, k := range p.pending {
			if !counted[k.Addr] {
				counted[k.Addr] = true
				kept[place{p.config.PoolOf(k.Addr), ipam.FamilyOf(k.Addr)}]++
			}
		}
	}
	out := make(map[string][]Usage, len(p.pools))
	for i := range p.pools {
		pool := &p.pools[i]
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if capacity := pool.Capacity(f); capacity.Sign() > 0 {
				out[pool.Name] = append(out[pool.Name], Usage{f, capacity, big.NewInt(taken[place{pool.Name, f}]), big.NewInt(kept[place{pool.Name, f}])})
			}
		}
	}
	return out
}
