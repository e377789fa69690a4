package ipam

import "slices"

// serve returns what r has when it is given what it lacks beyond what it retained;
// it takes nothing yet. If r can't have what it must have, ok is false.
func (al *allocation) serve(r *Request, retained holding) (h holding, ok bool) {
	if r.Invalid != "" {
		return retained, retained.count() > 0 // nothing that is held is lost to a typo
	}
	start := al.drawn
	if no := al.check(r, retained); no.reason != "" {
		al.drawn = start
		return al.part(r, retained)
	}
	h = retained
	for _, a := range r.Want {
		if !h.has(a) {
			h.add(pooledAddr{a, al.find(a)})
		}
	}
	more := al.firsts(r, h)
	n := h.count() + more.count()
	if n == 0 || r.Families.All && n < len(r.Families.Want) {
		al.drawn = start
		return al.part(r, retained)
	}
	if n == 2 {
		more = al.unite(r, h, more)
	}
	for i, x := range more.at {
		if x.pool != nil {
			h.at[i] = x
			al.draw(x)
		}
	}
	return al.further(r, h), true
}

// firsts returns an address of each family of which r has none in h, as far as there are some.
func (al *allocation) firsts(r *Request, h holding) (more holding) {
	asked := al.drawn
	for _, f := range r.Families.Want {
		if _, held := h.of(f); !held {
			x := al.best(r, f)
			more.at[familyIndex(f)] = x
			al.draw(x)
		}
	}
	if al.drawn = asked; h.empty() && more.count() == 1 && r.Families.All && len(r.Families.Want) == 2 && len(r.Quotas) > 0 {
		more = al.pair(r)
	}
	return more
}

// further adds to h, in which r has what it must have, what its Count asks for, as far as there is some.
func (al *allocation) further(r *Request, h holding) holding {
	if h.lacking(r) == 0 { // usually
		return h
	}
	return al.addFurther(r, h)
}

func (al *allocation) addFurther(r *Request, h holding) holding {
	al.own = &h
	for _, f := range r.Families.Want {
		for _, some := h.of(f); some && h.number(r, f) < r.number(f); {
			x := al.best(r, f)
			if x.pool == nil {
				break
			}
			h.add(x)
			al.draw(x)
		}
	}
	al.own = nil
	return h
}

// part returns what r, which can't have all that it must have, keeps: also what it leaves.
func (al *allocation) part(r *Request, retained holding) (h holding, ok bool) {
	h = retained
	for _, f := range r.Families.Want {
		if _, held := h.of(f); !held {
			h.at[familyIndex(f)] = al.stays(r, f)
			al.draw(h.at[familyIndex(f)])
		}
	}
	return h, retainsPart(r, h)
}

// retainsPart reports whether r, which must have addresses of two families and can't
// have both, keeps the one that it has: a working address is not taken away
// because the other one is missing. A Service with none gets none.
func retainsPart(r *Request, retained holding) bool {
	return r.Families.All && len(r.Families.Want) == 2 &&
		slices.ContainsFunc(retained.at[:], func(x pooledAddr) bool { return x.pool != nil && r.has(x.addr) })
}

// best returns the address of family f that r gets if that is all it lacks.
func (al *allocation) best(r *Request, f Family) pooledAddr {
	if x := al.another(r, f); x.pool != nil {
		return x
	}
	return al.stays(r, f)
}

// another is best, but for what r leaves.
func (al *allocation) another(r *Request, f Family) pooledAddr {
	if x := al.keptFor(r, f); x.pool != nil {
		return x
	}
	if x := al.reservedFor(r, f); x.pool != nil {
		return x
	}
	if x := al.preferredFor(r, f); x.pool != nil {
		return x
	}
	for _, s := range al.pools {
		if !s.offersFamily(r, f) {
			continue
		}
		if a, ok := al.nextFree(s, f, r); ok && s.serves(r) {
			return pooledAddr{a, s}
		}
		if s.awaits(f, r) {
			break
		}
	}
	return pooledAddr{}
}

// reservedFor returns the first address of family f that is reserved for r and that it can have now.
func (al *allocation) reservedFor(r *Request, f Family) pooledAddr {
	for _, a := range r.Reserved {
		if x := (pooledAddr{a, al.find(a)}); al.mayTakeReserved(r, f, x) {
			return x
		}
	}
	return pooledAddr{}
}

// mayTakeReserved reports whether r can have x, which is reserved for it, now for family f.
func (al *allocation) mayTakeReserved(r *Request, f Family, x pooledAddr) bool {
	a, s := x.addr, x.pool
	if FamilyOf(a) != f || s == nil || s.Frozen || !s.suits(r) || !s.chooses(a, r) || al.own.has(a) || al.blocked(a, r) || al.exceeded(r, x) != nil {
		return false
	}
	if s.IPAM == "" {
		return true
	}
	given, fits := al.offered(s, f, r)
	return fits && given == a
}

// preferredFor returns the first address of family f that r, which moves to another pool, prefers and that it can
// have now: none that is kept for others, even weakly.
func (al *allocation) preferredFor(r *Request, f Family) pooledAddr {
	for _, a := range r.Prefers {
		if x := (pooledAddr{a, al.find(a)}); al.mayPrefer(r, f, x) {
			return x
		}
	}
	return pooledAddr{}
}

// mayPrefer reports whether r can have x, which it prefers, now for family f.
func (al *allocation) mayPrefer(r *Request, f Family, x pooledAddr) bool {
	return len(r.Successors[f]) > 0 && x.pool != nil && x.pool.IPAM == "" && x.pool.offersFamily(r, f) && !al.kept.has(x.addr) && al.mayTakeReserved(r, f, x)
}

// unite tries to take all of more from one pool that is as preferred as the pools in it,
// and that what r holds already comes from. Without such a pool it returns more.
func (al *allocation) unite(r *Request, h, more holding) holding {
	for _, s := range al.pools {
		one, fits := more, true
		for i := range one.at {
			if held := h.at[i].pool; held != nil && held != s {
				fits = false
			}
			if x := &one.at[i]; fits && x.pool != nil {
				if fits = al.mayUnite(s, r, *x); fits && x.pool != s {
					x.pool = s
					x.addr, fits = al.nextFree(s, FamilyOf(x.addr), r)
				}
			}
		}
		if fits && s.serves(r) && al.affords(r, one) {
			return one
		}
	}
	return more
}

// mayUnite reports whether s may give r an address in the place of x, or has x: what is kept or reserved for r, or
// what it prefers, stays.
func (al *allocation) mayUnite(s *poolState, r *Request, x pooledAddr) bool {
	f := FamilyOf(x.addr)
	if !s.offersFamily(r, f) || s.tier() != x.pool.tier() {
		return false
	}
	return x.pool == s || !al.isKeptFor(x.addr, r) && !slices.Contains(r.Reserved, x.addr) && al.preferredFor(r, f) != x
}
