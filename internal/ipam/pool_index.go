package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// poolIndex is the pools, ready for questions.
type poolIndex struct {
	pools       []*poolState // by preference
	spans       []poolRange  // of all pools; sorted and disjoint
	overlapping []*poolState // those that lost ranges to an overlap
	pairs       map[[2]*poolState][]string
	gonePools   map[string]*poolState // pools that are gone, whose Services keep what they have
}

// poolState is a pool that addresses are taken from.
type poolState struct {
	*Pool
	former  bool       // it has what the pool of its name held before
	names   []string   // its name, twice
	cursors [2]*cursor // by familyIndex
	free    []Range    // those of its ranges that are not occupied
	asked   *Request   // the last it was asked about, and the answer
	answer  bool

	reserved *reservedFilter // nil: nothing is
	counting []answer        // whether its addresses count for quotas, by Quota.Index
}

// poolRange is a range and its pool.
type poolRange struct {
	Range
	pool *poolState
}

func newPoolIndex(pools Pools) poolIndex {
	g := poolIndex{pairs: map[[2]*poolState][]string{}, gonePools: map[string]*poolState{}}
	filters := map[*Occupied]*reservedFilter{} // one, usually
	for i := range pools {
		g.add(&poolState{Pool: &pools[i]}, filters)
		if len(pools[i].Former) > 0 {
			g.add(&poolState{Pool: pools[i].before(), former: true}, filters)
		}
	}
	slices.SortFunc(g.spans, func(x, y poolRange) int { return x.First.Compare(y.First) })
	slices.SortFunc(g.pools, func(s, t *poolState) int {
		return cmp.Or(preferred(s.Pool, t.Pool), CompareBool(s.former, t.former))
	})
	for _, s := range g.pools {
		if len(s.Overlapping) > 0 {
			g.overlapping = append(g.overlapping, s)
		}
	}
	return g
}

// add enters a pool of which nothing is known yet.
func (ix *poolIndex) add(s *poolState, filters map[*Occupied]*reservedFilter) {
	s.names, s.free = []string{s.Name, s.Name}, s.choosable()
	if o := s.Occupied; o != nil && filters[o] == nil {
		filters[o] = &reservedFilter{of: o}
	}
	s.reserved = filters[s.Occupied]
	s.rewind()
	ix.pools = append(ix.pools, s)
	for _, r := range s.Ranges {
		ix.spans = append(ix.spans, poolRange{r, s})
	}
}

// find returns the pool that holds a, or held it before, or nil.
func (ix *poolIndex) find(a netip.Addr) *poolState {
	low, high := 0, len(ix.spans) // the first span that ends at or after a
	for low < high {
		if mid := (low + high) / 2; ix.spans[mid].Last.Less(a) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(ix.spans) || !ix.spans[low].Contains(a) || ix.spans[low].pool.AvoidBuggy && buggy(a) {
		return nil
	}
	return ix.spans[low].pool
}

// overlappingPool returns a pool that would hold a if no other pool overlapped, so that r
// may go on holding a from it, or nil.
func (ix *poolIndex) overlappingPool(r *Request, a netip.Addr) *poolState {
	for _, s := range ix.overlapping {
		if s.Overlaps(a) && s.suits(r) {
			return s
		}
	}
	return nil
}

// deletedPool returns the pool that r got a from and that is deleted, or holds nothing yet, or nil. That pool
// assigns nothing.
func (ix *poolIndex) deletedPool(r *Request, a netip.Addr) *poolState {
	name := r.GonePools[a]
	if name == "" || r.Pool != "" && r.Pool != name {
		return nil
	}
	s, known := ix.gonePools[name]
	if !known {
		if p := ix.named(name); p == nil || p.holdsNothing() {
			s = &poolState{Pool: &Pool{Name: name, Frozen: true}, names: []string{name, name}}
		}
		ix.gonePools[name] = s
	}
	return s
}

// overlappedBy returns a pool that lists a and lost it to an overlap, or nil.
func (ix *poolIndex) overlappedBy(a netip.Addr) *poolState {
	for _, s := range ix.overlapping {
		if s.Overlaps(a) {
			return s
		}
	}
	return nil
}

// holdsNothing reports whether s has no addresses at all, as before its prefix is known.
func (s *poolState) holdsNothing() bool {
	return len(s.Ranges)+len(s.Overlapping)+len(s.Former) == 0
}

// named returns the pool of that name, or nil.
func (ix *poolIndex) named(name string) *poolState {
	for _, s := range ix.pools {
		if s.Name == name && !s.former {
			return s
		}
	}
	return nil
}

// serves reports whether s serves r at all. Selectors are slow, and a Service
// tends to ask again at once.
func (s *poolState) serves(r *Request) bool {
	if s.Allows == nil {
		return true
	}
	if s.asked != r {
		s.asked, s.answer = r, s.Serves(r.Service)
	}
	return s.answer
}

// suits reports whether r may have addresses of s.
func (s *poolState) suits(r *Request) bool {
	return (r.Pool == "" || s.isAskedFor(r)) && s.serves(r)
}

// offers reports whether s gives addresses to r without being asked for one of them, if it
// serves r at all: that is costly to find out, so callers check it last.
func (s *poolState) offers(r *Request) bool {
	return !s.Frozen && !s.Closed && (s.isAskedFor(r) || r.Pool == "" && s.AutoAssign)
}

// offersFamily reports whether s gives addresses of family f to r without being asked for one of them, if it serves r
// at all. Where r moves from one pool to another, only pools do that replace those that it has addresses of.
func (s *poolState) offersFamily(r *Request, f Family) bool {
	if successors := r.Successors[f]; len(successors) > 0 {
		return slices.Contains(successors, s.Name) && !s.Frozen && !s.former && (r.Pool == "" || s.isAskedFor(r))
	}
	return s.offers(r)
}

// grant turns what is held into the answer, in the order of the families. It
// does not touch more memory than needs to be.
func (ix *poolIndex) grant(r *Request, h *holding, out *Grant) {
	if r.Invalid != "" {
		out.Message = "kept although a request can't be read: " + r.Invalid
	}
	if h.moved != "" && h.lacks(r.Has) {
		out.Moved = h.moved
	}
	if len(h.more) > 0 {
		grantSeveral(r, h, out)
		return
	}
	var held [2]pooledAddr
	n := 0
	for _, f := range r.Families.Want {
		if x, ok := h.of(f); ok {
			held[n] = x
			n++
		}
	}
	if len(r.Has) == n && r.Has[0] == held[0].addr && (n == 1 || r.Has[1] == held[1].addr) {
		out.Addrs = r.Has[:n:n]
	} else {
		for _, x := range held[:n] {
			out.Addrs = append(out.Addrs, x.addr)
		}
	}
	if n == 1 || held[0].pool == held[1].pool {
		out.Pools = held[0].pool.names[:n:n]
		return
	}
	pair := [2]*poolState{held[0].pool, held[1].pool}
	if ix.pairs[pair] == nil {
		ix.pairs[pair] = []string{pair[0].Name, pair[1].Name}
	}
	out.Pools = ix.pairs[pair]
}

// grantSeveral is grant for a Service that has several addresses of a family.
func grantSeveral(r *Request, h *holding, out *Grant) {
	for _, f := range r.Families.Want {
		all := slices.SortedStableFunc(h.all(f), func(x, y pooledAddr) int { return cmp.Compare(x.pool.Order, y.pool.Order) })
		for _, x := range all {
			out.Addrs, out.Pools = append(out.Addrs, x.addr), append(out.Pools, x.pool.Name)
		}
	}
}

// cursor finds free addresses of one pool and family from the lowest upwards.
// It only moves forward: an address is never given back within an attempt.
type cursor struct {
	ranges []Range    // those not yet exhausted
	next   netip.Addr // the first of ranges[0] not yet known to be taken
}

// rewind sets the cursors to the start.
func (s *poolState) rewind() {
	s.cursors = [2]*cursor{{}, {}}
	for _, r := range s.free {
		c := s.cursors[familyIndex(FamilyOf(r.First))]
		if c.ranges = append(c.ranges, r); len(c.ranges) == 1 {
			c.next = r.First
		}
	}
}

// free moves c to the first address that is ok.
func (c *cursor) free(ok func(netip.Addr) bool) (netip.Addr, bool) {
	for len(c.ranges) > 0 {
		for ; c.next.IsValid() && c.next.Compare(c.ranges[0].Last) <= 0; c.next = c.next.Next() {
			if ok(c.next) {
				return c.next, true
			}
		}
		if c.ranges = c.ranges[1:]; len(c.ranges) > 0 {
			c.next = c.ranges[0].First
		}
	}
	return netip.Addr{}, false
}
