package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Range is a run of addresses of one family, both ends included.
type Range struct{ First, Last netip.Addr }

// Contains reports whether a lies in r. Addresses of another family never do.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// RangeOf returns all addresses of a prefix.
func RangeOf(p netip.Prefix) Range {
	last := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return Range{p.Masked().Addr(), a}
}

// within reports whether a lies in one of ranges, which are sorted and disjoint.
func within(ranges []Range, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(ranges, a, func(r Range, a netip.Addr) int { return r.Last.Compare(a) })
	return found || i < len(ranges) && ranges[i].Contains(a)
}

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
