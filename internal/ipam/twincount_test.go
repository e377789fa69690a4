package ipam_test

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// like are those of addrs that are of the family of a.
func like(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(b netip.Addr) bool { return b.Is4() != a.Is4() })
}

// countOf is how many addresses of family f r asks for.
func countOf(r ipam.Request, f ipam.Family) int {
	named := slices.DeleteFunc(slices.Clone(r.Want), func(a netip.Addr) bool { return ipam.FamilyOf(a) != f })
	return max(len(named), r.Count, 1)
}

// hasRoom reports whether r, which has some addresses, may have a as well.
func hasRoom(have []netip.Addr, a netip.Addr, r ipam.Request) bool {
	missing := slices.DeleteFunc(like(r.Want, a), func(b netip.Addr) bool { return slices.Contains(have, b) })
	return r.Invalid != "" || slices.Contains(r.Want, a) || isBeside(a, r) || numberOf(without(have, r), ipam.FamilyOf(a))+len(missing) < countOf(r, ipam.FamilyOf(a))
}

// firstOfEach are the first address of each family.
func firstOfEach(addrs []netip.Addr) (out []netip.Addr) {
	for _, a := range addrs {
		if !hasFamily(out, ipam.FamilyOf(a)) {
			out = append(out, a)
		}
	}
	return out
}

// mustHave is how much of what r must have is in addrs.
func mustHave(addrs []netip.Addr, r ipam.Request) int {
	n := len(firstOfEach(addrs))
	for _, a := range r.Want {
		if slices.Contains(addrs, a) {
			n++
		}
	}
	return n
}

// further adds what r asks for beside what it must have, as far as there is some.
func (w twin) further(r ipam.Request, have []netip.Addr) []netip.Addr {
	for _, f := range r.Families.Want {
		for hasFamily(have, f) && numberOf(without(have, r), f) < countOf(r, f) {
			a, ok := w.best(f, r, have)
			if !ok {
				break
			}
			have = append(have, a)
			w.draw(a)
		}
	}
	return inOrder(have, r)
}

func numberOf(addrs []netip.Addr, f ipam.Family) (n int) {
	for _, a := range addrs {
		if ipam.FamilyOf(a) == f {
			n++
		}
	}
	return n
}
