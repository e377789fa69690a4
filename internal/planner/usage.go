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
	unusable           *big.Int // what others have of it, and no Service: it is never chosen
	reserved           *big.Int // what AddressReservations have of it, and no Service
	Kept               *big.Int // waits for Services that were deleted, and no Service has it
}

func (u Usage) Available() *big.Int {
	taken := new(big.Int).Add(u.Assigned, u.Kept)
	taken.Add(taken.Add(taken, u.unusable), u.reserved)
	return taken.Sub(u.capacity, taken)
}

// Status is the usage as it stands on the pool.
func (u Usage) Status() *v1beta1.PoolUsage {
	out := &v1beta1.PoolUsage{Capacity: u.capacity.String(), Assigned: u.Assigned.String(), Available: u.Available().String()}
	if u.Kept.Sign() > 0 {
		out.Kept = u.Kept.String()
	}
	if u.unusable.Sign() > 0 {
		out.Unusable = u.unusable.String()
	}
	if u.reserved.Sign() > 0 {
		out.Reserved = u.reserved.String()
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

// unusable tells, for each pool, which of its addresses it never chooses.
func (p Plan) unusable() map[string]string {
	out := map[string]string{}
	for i := range p.pools {
		if text := p.pools[i].OccupiedText(); text != "" {
			out[p.pools[i].Name] = text
		}
	}
	return out
}

// usage counts the addresses of each pool, of the families that it has.
func (p Plan) usage() map[string][]Usage {
	type place struct {
		pool   string
		family ipam.Family
	}
	taken, kept, occupied, reserved := map[place]int64{}, map[place]int64{}, map[place]int64{}, map[place]int64{}
	count := func(of map[place]int64, pool string, a netip.Addr) {
		if p.config.OfFormerPrefix(a) {
			return // its capacity does not count it
		}
		at := place{pool, ipam.FamilyOf(a)}
		of[at]++
		switch by, _ := p.occupied.Of(a); {
		case by.OnlyReserved():
			reserved[at]++
		case !by.Choosable():
			occupied[at]++
		}
	}
	shared := map[netip.Addr]bool{}
	for i, g := range p.Grants {
		for j, a := range g.Addrs {
			if p.Services[i].request.Share.Key != "" { // it may be on several
				if shared[a] {
					continue
				}
				shared[a] = true
			}
			count(taken, g.Pools[j], a)
		}
	}
	if len(p.pending) > 0 {
		counted := p.holders()
		for _, k := range p.pending {
			if !counted[k.Addr] {
				counted[k.Addr] = true
				count(kept, p.config.PoolOf(k.Addr), k.Addr)
			}
		}
	}
	out := make(map[string][]Usage, len(p.pools))
	for i := range p.pools {
		pool := &p.pools[i]
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if capacity := pool.Capacity(f); capacity.Sign() > 0 {
				at := place{pool.Name, f}
				unusable := pool.Unusable(f)
				out[pool.Name] = append(out[pool.Name], Usage{
					Family: f, capacity: capacity, Assigned: big.NewInt(taken[at]), Kept: big.NewInt(kept[at]),
					unusable: unusable.Sub(unusable, big.NewInt(occupied[at])), reserved: big.NewInt(pool.Reserved(f) - reserved[at]),
				})
			}
		}
	}
	return out
}

// holders returns the addresses that Services have by the plan.
func (p Plan) holders() map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(p.Services))
	for _, g := range p.Grants {
		for _, a := range g.Addrs {
			out[a] = true
		}
	}
	return out
}
