package ipam_test

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// chooses reports whether p may give a to a Service that does not ask for it.
func chooses(p ipam.Pool, a netip.Addr, r ipam.Request) bool {
	by, is := p.Occupied.Of(a)
	return !is || (by.Alone || by.Name == "") && admits(by, a, r)
}

// occupant is what has an address of p.
func occupant(p ipam.Pool, a netip.Addr) ipam.Occupant {
	by, _ := p.Occupied.Of(a)
	return by
}

// admits reports whether no reservation for others than r has a.
func admits(by ipam.Occupant, a netip.Addr, r ipam.Request) bool {
	return by.Reserved == "" || slices.Contains(r.Reserved, a)
}

// refuses reports whether r does not get a of p, even if it asks for it.
func refuses(p ipam.Pool, a netip.Addr, r ipam.Request) bool {
	by, is := p.Occupied.Of(a)
	return is && (by.Node == "" && !by.Foreign && by.Name != "" || !admits(by, a, r))
}

// reservedFor is the first address of family f that is reserved for r and that it can have.
func (w twin) reservedFor(f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	for _, a := range r.Reserved {
		if p := w.poolOf(a); ipam.FamilyOf(a) == f && !slices.Contains(have, a) && p != nil && !p.Frozen && allows(*p, r) && chooses(*p, a, r) && w.free(a, r) && w.handsOut(a, r) && w.affords(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}
