package ipam

import (
	"net/netip"
	"slices"
)

// ground is the pools, ready for questions.
type ground struct {
	sources []*source // by preference
	spans   []span    // of all pools; sorted and disjoint
	lending []*source // those with disputed ranges
	pairs   map[[2]*source][]string
	absent  map[string]*source // pools that are gone, whose Services keep what they have
}

// source is a pool that addresses are taken from.
type source struct {
	*Pool
	names   []string   // its name, twice
	cursors [2]*cursor // by slot of the family
	asked   *Request   // the last it was asked about, and the answer
	answer  bool
}

// span is a range and its pool.
type span struct {
	Range
	pool *source
}

func newGround(pools Pools) ground {
	g := ground{pairs: map[[2]*source][]string{}, absent: map[string]*source{}}
	for i := range pools {
		s := &source{Pool: &pools[i], names: []string{pools[i].Name, pools[i].Name}}
		s.rewind()
		g.sources = append(g.sources, s)
		for _, r := range s.Ranges {
			g.spans = append(g.spans, span{r, s})
		}
	}
	slices.SortFunc(g.spans, func(x, y span) int { return x.First.Compare(y.First) })
	slices.SortFunc(g.sources, func(s, t *source) int { return preferred(s.Pool, t.Pool) })
	for _, s := range g.sources {
		if len(s.Disputed) > 0 {
			g.lending = append(g.lending, s)
		}
	}
	return g
}

// find returns the pool that holds a, or nil.
func (g *ground) find(a netip.Addr) *source {
	low, high := 0, len(g.spans) // the first span that ends at or after a
	for low < high {
		if mid := (low + high) / 2; g.spans[mid].Last.Less(a) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(g.spans) || !g.spans[low].Contains(a) || g.spans[low].pool.AvoidBuggy && buggy(a) {
		return nil
	}
	return g.spans[low].pool
}

// lends returns a pool which would hold a but for an overlap, and which r may
// therefore go on holding a of; nil: there is none.
func (g *ground) lends(r *Request, a netip.Addr) *source {
	for _, s := range g.lending {
		if s.Disputes(a) && s.suits(r) {
			return s
		}
	}
	return nil
}

// gone returns the pool that r has a of although it is not there any more; nil: there
// is none. It gives nobody anything.
func (g *ground) gone(r *Request, a netip.Addr) *source {
	name := r.Gone[a]
	if name == "" || r.Pool != "" && r.Pool != name {
		return nil
	}
	s, known := g.absent[name]
	if !known {
		if g.named(name) == nil {
			s = &source{Pool: &Pool{Name: name, Frozen: true}, names: []string{name, name}}
		}
		g.absent[name] = s
	}
	return s
}

// disputed returns a pool that lists a, and lost it to an overlap; nil: there is none.
func (g *ground) disputed(a netip.Addr) *source {
	for _, s := range g.lending {
		if s.Disputes(a) {
			return s
		}
	}
	return nil
}

// named returns the pool of that name, or nil.
func (g *ground) named(name string) *source {
	for _, s := range g.sources {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// serves reports whether s serves r at all. Selectors are slow, and a Service
// tends to ask again at once.
func (s *source) serves(r *Request) bool {
	if s.Allows == nil {
		return true
	}
	if s.asked != r {
		s.asked, s.answer = r, s.Serves(r.Service)
	}
	return s.answer
}

// suits reports whether r may have addresses of s.
func (s *source) suits(r *Request) bool {
	return (r.Pool == "" || r.Pool == s.Name) && s.serves(r)
}

// offers reports whether s gives addresses to r of its own accord, if it serves
// r at all: that is costly to find out, so others ask it last.
func (s *source) offers(r *Request) bool {
	return !s.Frozen && (r.Pool == s.Name || r.Pool == "" && s.AutoAssign)
}

// grant turns what is held into the answer, in the order of the families. It
// does not touch more memory than needs to be.
func (g *ground) grant(r *Request, h *holding, out *Grant) {
	if r.Invalid != "" {
		out.Message = "kept although a request can't be read: " + r.Invalid
	}
	if h.moved != "" {
		out.Moved = h.moved
	}
	var held [2]place
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
	pair := [2]*source{held[0].pool, held[1].pool}
	if g.pairs[pair] == nil {
		g.pairs[pair] = []string{pair[0].Name, pair[1].Name}
	}
	out.Pools = g.pairs[pair]
}

// cursor finds free addresses of one pool and family from the lowest upwards.
// It only moves forward: an address is never given back within a book.
type cursor struct {
	ranges []Range    // those not yet exhausted
	next   netip.Addr // the first of ranges[0] not yet known to be taken
}

// rewind sets the cursors to the start.
func (s *source) rewind() {
	s.cursors = [2]*cursor{{}, {}}
	for _, r := range s.Ranges {
		c := s.cursors[slot(FamilyOf(r.First))]
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
