package ipam

import "net/netip"

// pair returns addresses of both families of r, which has none, that its quotas let it have together: the best
// of each they do not. Nothing: there are none.
func (al *allocation) pair(r *Request) (both holding) {
	start := al.drawn
	for _, x := range al.options(r, r.Families.Want[0]) {
		al.draw(x)
		y := al.best(r, r.Families.Want[1])
		if al.drawn = start; y.pool != nil {
			both.add(x)
			both.add(y)
			break
		}
	}
	return both
}

// options returns addresses of family f that r can have, the best first: of those that count for the same only
// the first need be there.
func (al *allocation) options(r *Request, f Family) (out []pooledAddr) {
	for _, e := range al.kept.owners[r.Service] {
		if al.mayRetake(r, f, e) {
			out = append(out, pooledAddr{e.Addr, e.pool})
		}
	}
	for _, a := range r.Reserved {
		if x := (pooledAddr{a, al.find(a)}); al.mayTakeReserved(r, f, x) {
			out = append(out, x)
		}
	}
	for _, a := range r.Prefers {
		if x := (pooledAddr{a, al.find(a)}); al.mayPrefer(r, f, x) {
			out = append(out, x)
		}
	}
	for _, s := range al.pools {
		if !s.offersFamily(r, f) || !s.serves(r) {
			continue
		}
		if a, ok := al.nextFree(s, f, r); ok {
			out = append(out, pooledAddr{a, s})
		}
		if a, ok := al.lowestCounted(s, f, r); ok {
			out = append(out, pooledAddr{a, s})
		}
		if s.awaits(f, r) {
			break
		}
	}
	for _, a := range r.Has {
		if x := (pooledAddr{a, al.find(a)}); al.mayStay(r, f, x) {
			out = append(out, x)
		}
	}
	return out
}

// lowestCounted returns the lowest address of family f of s that r can share and that counts for its namespace.
func (al *allocation) lowestCounted(s *poolState, f Family, r *Request) (lowest netip.Addr, ok bool) {
	g := al.groups[sharingKeyOf(r, s, f)]
	if r.Share.Key == "" || s.IPAM != "" || g == nil {
		return netip.Addr{}, false
	}
	for _, a := range g.addrs {
		if (!ok || a.Less(lowest)) && al.counted(r, pooledAddr{a, s}) && !al.blocked(a, r) && !al.unjoinable(a, r) {
			lowest, ok = a, true
		}
	}
	return lowest, ok
}
