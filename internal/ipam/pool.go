package ipam

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"
)

// Range is a run of addresses of one family, both ends included.
type Range struct{ First, Last netip.Addr }

// Contains reports whether a lies in r. Addresses of another family never do.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Pool is a set of addresses and the rules for giving them out.
type Pool struct {
	Name       string
	Ranges     []Range        // sorted and disjoint; what is excluded is not in them
	Disputed   []Range        // lost to pools that overlap; as Ranges. Holders keep what is in them, if this pool allows it
	AutoAssign bool           // false: only on request
	AvoidBuggy bool           // never an IPv4 address that ends in .0 or .255
	Frozen     bool           // at fault: what is held stays, nothing new is given
	Pinned     bool           // it selects Services; preferred to pools that take all
	Priority   int            // lower first; 0: last
	Across     bool           // Services of different namespaces may come to share its addresses
	Allows     func(Key) bool // which Services it serves; nil: all
}

// Pools are all pools. No address may lie in two of them.
type Pools []Pool

// Serves reports whether p may serve the Service at all.
func (p *Pool) Serves(k Key) bool { return p.Allows == nil || p.Allows(k) }

// Holds reports whether a is an address that p gives out.
func (p *Pool) Holds(a netip.Addr) bool {
	return !(p.AvoidBuggy && buggy(a)) && within(p.Ranges, a)
}

// Disputes reports whether a would be p's but for a pool that overlaps.
func (p *Pool) Disputes(a netip.Addr) bool {
	return !(p.AvoidBuggy && buggy(a)) && within(p.Disputed, a)
}

// within reports whether a lies in one of ranges, which are sorted and disjoint.
func within(ranges []Range, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(ranges, a, func(r Range, a netip.Addr) int { return r.Last.Compare(a) })
	return found || i < len(ranges) && ranges[i].Contains(a)
}

// has reports whether p has addresses of family f, free or not.
func (p *Pool) has(f Family) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return FamilyOf(r.First) == f })
}

// preferred orders pools by how soon they are tried for one Service.
func preferred(p, q *Pool) int {
	return cmp.Or(p.tier().compare(q.tier()), cmp.Compare(p.Name, q.Name))
}

// tier is what makes pools equal but for their names.
type tier struct {
	open     bool
	last     bool
	priority int
}

func (p *Pool) tier() tier { return tier{open: !p.Pinned, last: p.Priority == 0, priority: p.Priority} }

func (t tier) compare(u tier) int {
	return cmp.Or(compareBool(t.open, u.open), compareBool(t.last, u.last), cmp.Compare(t.priority, u.priority))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// buggy reports whether some old equipment takes a for a network or broadcast
// address.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// Capacity returns how many addresses of family f the pool gives out.
func (p *Pool) Capacity(f Family) *big.Int {
	total := new(big.Int)
	for _, r := range p.Ranges {
		if FamilyOf(r.First) != f {
			continue
		}
		first, last := number(r.First), number(r.Last)
		size := new(big.Int).Sub(last, first)
		total.Add(total, size.Add(size, big.NewInt(1)))
		if p.AvoidBuggy && f == IPv4 {
			total.Sub(total, big.NewInt(buggyBetween(first.Int64(), last.Int64())))
		}
	}
	return total
}

// buggyBetween counts the numbers from first to last that end in .0 or .255.
func buggyBetween(first, last int64) int64 {
	upTo := func(n int64) int64 { return (n+256)/256 + (n+1)/256 } // those from 0 to n
	return upTo(last) - upTo(first-1)
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

// Merge returns the union of ranges less what is in except, as few ranges as
// possible, sorted and disjoint. Ranges whose ends are in the wrong order count as empty.
func Merge(ranges, except []Range) []Range {
	out := union(ranges)
	if len(except) > 0 {
		out = subtract(out, union(except))
	}
	return out
}

// union returns the union of ranges, as few as possible, sorted and disjoint.
func union(ranges []Range) []Range {
	var out []Range
	for _, r := range ordered(ranges) {
		if n := len(out); n > 0 && sameFamily(out[n-1], r) && (r.First.Compare(out[n-1].Last) <= 0 || r.First == out[n-1].Last.Next()) {
			if out[n-1].Last.Less(r.Last) {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// Overlap returns the lowest range that both sets hold, and whether there is one.
// Each set must be sorted and disjoint.
func Overlap(a, b []Range) (Range, bool) {
	for len(a) > 0 && len(b) > 0 {
		r, s := a[0], b[0]
		switch { // addresses of IPv4 come before those of IPv6
		case r.Last.Less(s.First):
			a = a[1:]
		case s.Last.Less(r.First):
			b = b[1:]
		default:
			firsts, lasts := []netip.Addr{r.First, s.First}, []netip.Addr{r.Last, s.Last}
			return Range{slices.MaxFunc(firsts, netip.Addr.Compare), slices.MinFunc(lasts, netip.Addr.Compare)}, true
		}
	}
	return Range{}, false
}

func ordered(ranges []Range) []Range {
	out := slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool {
		return !sameFamily(r, r) || r.Last.Less(r.First)
	})
	slices.SortFunc(out, func(a, b Range) int {
		return cmp.Or(a.First.Compare(b.First), a.Last.Compare(b.Last))
	})
	return out
}

// subtract returns what is in ranges and not in except. Both are sorted and disjoint.
func subtract(ranges, except []Range) []Range {
	var out []Range
	for _, r := range ranges {
		for len(except) > 0 && except[0].Last.Less(r.First) {
			except = except[1:]
		}
		rest := true
		for _, x := range except {
			if r.Last.Less(x.First) {
				break
			}
			if r.First.Less(x.First) {
				out = append(out, Range{r.First, x.First.Prev()})
			}
			if rest = x.Last.Less(r.Last); !rest {
				break
			}
			r.First = x.Last.Next()
		}
		if rest {
			out = append(out, r)
		}
	}
	return out
}

func sameFamily(r, s Range) bool {
	return r.First.BitLen() == s.First.BitLen() && r.Last.BitLen() == s.Last.BitLen() && r.First.BitLen() == r.Last.BitLen()
}
