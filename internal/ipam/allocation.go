package ipam

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// allocation is the state of one attempt: who has which address so far.
//
// Invariant: all holders of an address may share it pairwise, unless they conflict.
type allocation struct {
	poolIndex
	requests []*Request
	order    []int32 // requests by age; the index is the rank of a Service
	*holders
	kept    keptSet
	ports   map[endpoint]int32 // in use on addresses that are shared: the oldest who listens
	own     *holding           // what the Service that is being served gets, as far as that is not entered; nil: nothing
	groups  map[sharingKey]*sharingGroup
	groupOf map[netip.Addr]*sharingGroup // by the addresses in them
	sharers map[netip.Addr]*sharers      // of addresses with several holders
	serving map[netip.Addr][]string      // nodes that serve all holders whose traffic is Local; none of those: no entry
	ledger
}

func newAllocation(ix poolIndex, requests []*Request, order []int32, hs *holders) *allocation {
	return &allocation{
		poolIndex: ix, requests: requests, order: order,
		holders: hs, ports: map[endpoint]int32{}, groups: map[sharingKey]*sharingGroup{}, groupOf: map[netip.Addr]*sharingGroup{}, sharers: map[netip.Addr]*sharers{}, serving: map[netip.Addr][]string{},
		ledger: ledger{also: map[nameAt]bool{}, free: besideOf(requests)},
	}
}

// clear makes the allocation as if it were new.
func (al *allocation) clear() {
	al.holders.clear()
	clear(al.ports)
	clear(al.groups)
	clear(al.groupOf)
	clear(al.sharers)
	clear(al.serving)
	al.ledger.clear()
	al.kept.rewind()
	for _, s := range al.pools {
		s.rewind()
	}
}

func (al *allocation) request(rank int32) *Request { return al.requests[al.order[rank]] }

// retain returns what r holds and may go on holding.
func (al *allocation) retain(r *Request) holding {
	var h holding
	for _, a := range r.Has {
		if h.has(a) {
			continue
		}
		s, reason := al.mayRetain(r, a)
		if reason == "" && al.blocked(a, r) {
			other, _ := al.blocker(a, r)
			reason = fmt.Sprintf("%s belongs to %s", a, al.owner(other, r))
			if r.Changed && !other.Changed {
				reason += ", and this Service has changed its sharing key, ports, externalTrafficPolicy or selector since it got it"
			}
		}
		if reason == "" && al.leaves(r, a) {
			reason = al.leavesFor(s, a)
		}
		if reason == "" && !h.room(r, a) {
			reason = fmt.Sprintf("the Service asks for fewer %s addresses than it had: %d", FamilyOf(a), r.number(FamilyOf(a)))
		}
		if reason != "" {
			h.moved = reason
			continue
		}
		h.add(pooledAddr{a, s})
	}
	return h
}

// leaves reports whether r gives a, which it has, up if there is another one for it: only where
// it can have it back if there is none.
func (al *allocation) leaves(r *Request, a netip.Addr) bool {
	if r.Invalid != "" || !slices.Contains(r.Leaves, a) || slices.Contains(r.Want, a) { // usually
		return false
	}
	_, refusal := al.mayRetain(r, a)
	s := al.find(a)
	return refusal == "" && s != nil && s.suits(r)
}

// leavesFor says for what a Service leaves a, which s holds.
func (al *allocation) leavesFor(s *poolState, a netip.Addr) string {
	by, _ := s.Occupied.Of(a)
	switch {
	case s.refused(a):
		return fmt.Sprintf("the IPAM of IPAddressPool %q (%s) refuses %s to this Service", s.Name, s.IPAM, a)
	case by.Foreign || !s.Closed:
		return fmt.Sprintf("%s is %s", a, by.Name)
	case s.former:
		return fmt.Sprintf("%s is of a prefix that IPAddressPool %q had before", a, s.Name)
	}
	return fmt.Sprintf("IPAddressPool %q, which has %s, is replaced", s.Name, a)
}

// refused reports whether a, which a Service leaves, is left since the IPAM of s refuses it: no other
// reason is known, for it is not occupied and s is not being replaced.
func (s *poolState) refused(a netip.Addr) bool {
	by, _ := s.Occupied.Of(a)
	return s.IPAM != "" && !s.Closed && by.Name == ""
}

// stays returns the address of family f that r leaves, and that is left to it; none: there is none.
func (al *allocation) stays(r *Request, f Family) pooledAddr {
	for _, a := range r.Has {
		if x := (pooledAddr{a, al.find(a)}); al.mayStay(r, f, x) {
			return x
		}
	}
	return pooledAddr{}
}

// mayStay reports whether r, which leaves x, can have it all the same now for family f.
func (al *allocation) mayStay(r *Request, f Family, x pooledAddr) bool {
	return FamilyOf(x.addr) == f && !al.own.has(x.addr) && al.leaves(r, x.addr) && !al.blocked(x.addr, r) && al.exceeded(r, x) == nil
}

// owner names other as r sees it.
func (al *allocation) owner(other, r *Request) string {
	if CompareAge(other, r) < 0 {
		return "the older Service " + other.Service.String()
	}
	return "Service " + other.Service.String()
}

// mayRetain returns the pool that r may keep a in, or the reason for none. If the
// pool that holds a does not allow it, one that lost a to an overlap may.
func (ix *poolIndex) mayRetain(r *Request, a netip.Addr) (s *poolState, reason string) {
	f := FamilyOf(a)
	if !slices.Contains(r.Families.Want, f) {
		return nil, fmt.Sprintf("the Service does not want %s any more", f)
	}
	if r.asksForOthers(a) {
		return nil, fmt.Sprintf("the Service asks for another address than %s", a)
	}
	s = ix.find(a)
	switch {
	case s != nil && s.suits(r):
		return s, ""
	case ix.overlappingPool(r, a) != nil:
		if s == nil {
			s = ix.overlappingPool(r, a)
		}
		return s, ""
	case s == nil && ix.deletedPool(r, a) != nil:
		return ix.deletedPool(r, a), ""
	case s == nil:
		return nil, fmt.Sprintf("no IPAddressPool holds %s any more", a)
	case r.Pool != "" && !s.isAskedFor(r):
		return nil, fmt.Sprintf("the Service asks for IPAddressPool %s, and %s is of %q", printable.Quote(r.Pool), a, s.Name)
	}
	return nil, fmt.Sprintf("IPAddressPool %q does not serve this Service any more", s.Name)
}

// enterLocked enters what a Service has whose status is locked, and tells what of it it keeps.
func (al *allocation) enterLocked(rank int32) Grant {
	r := al.request(rank)
	var g Grant
	for i, a := range r.Has {
		if slices.Contains(r.Has[:i], a) {
			continue
		}
		s, name, taken := al.find(a), "", al.blocked(a, r)
		if s == nil {
			s = al.deletedPool(r, a)
		}
		if s != nil {
			name = s.Name
		}
		al.enter(rank, pooledAddr{a, s})
		if taken {
			al.firstHolder(a).conflicting = true
			continue
		}
		g.Addrs, g.Pools = append(g.Addrs, a), append(g.Pools, name)
	}
	return g
}

// enterAll enters a Service as a holder of what is in h and not in taken.
func (al *allocation) enterAll(rank int32, h, taken holding) {
	for i := range h.at {
		if h.at[i].pool != nil && taken.at[i].pool == nil {
			al.enter(rank, h.at[i])
		}
	}
	for _, x := range h.more {
		if !taken.has(x.addr) {
			al.enter(rank, x)
		}
	}
}

// enter makes a Service a holder of x.
func (al *allocation) enter(rank int32, x pooledAddr) {
	r := al.request(rank)
	first := al.addHolder(holder{addr: x.addr, rank: rank, local: r.Share.Local, fresh: !r.has(x.addr), changed: r.Changed})
	al.chargeHolder(rank, x, first)
	if first.rank != rank {
		u := al.request(first.rank)
		first.local = first.local || r.Share.Local
		first.mixed = first.mixed || r.Share.Pods != u.Share.Pods
		if r.Service.Namespace != u.Service.Namespace {
			first.crossNamespace, al.also[nameAt{r.Service.Namespace, x.addr}] = true, true
		}
		first.fresh = first.fresh || !r.has(x.addr)
		first.changed = first.changed || r.Changed
		al.addSharer(first.rank, rank, x.addr)
	}
	if r.Share.Key == "" {
		return
	}
	if r.Share.Local {
		al.serving[x.addr] = al.servingWith(x.addr, r)
	}
	if first.rank == rank && x.pool != nil {
		k := sharingKeyOf(r, x.pool, FamilyOf(x.addr))
		if al.groups[k] == nil {
			al.groups[k] = &sharingGroup{candidates: map[string]*candidates{}, listeners: map[Port]int{}}
		}
		al.groups[k].addrs = append(al.groups[k].addrs, x.addr)
		al.groupOf[x.addr] = al.groups[k]
	}
	al.addPorts(rank, x.addr)
}

// nextFree returns the address of family f that s would give r, without taking it: the
// one that is kept or reserved for r, else what its IPAM hands out; without an IPAM the lowest that r can share, else the lowest that
// no Service has and that is kept for none, else the lowest that is kept weakly.
func (al *allocation) nextFree(s *poolState, f Family, r *Request) (netip.Addr, bool) {
	if x := al.keptFor(r, f); x.pool == s {
		return x.addr, true
	}
	if x := al.reservedFor(r, f); x.pool == s {
		return x.addr, true
	}
	if s.IPAM != "" {
		a, ok := al.offered(s, f, r)
		return a, ok && al.exceeded(r, pooledAddr{a, s}) == nil
	}
	if r.Share.Key != "" {
		if a, ok := al.lowestShared(al.groups[sharingKeyOf(r, s, f)], r); ok {
			return a, true
		}
	}
	if !al.room(s, f, r) {
		return netip.Addr{}, false
	}
	a, ok := s.cursors[familyIndex(f)].free(func(a netip.Addr) bool {
		return al.firstHolder(a) == nil && !al.own.has(a) && !(s.AvoidBuggy && buggy(a)) && !al.kept.has(a) && !s.Occupied.reserved(a)
	})
	if !ok && len(al.kept.unused) > 0 {
		return al.weaklyKept(s, f, r)
	}
	return a, ok
}
