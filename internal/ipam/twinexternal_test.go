package ipam_test

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// offered is the address of family f that the IPAM of p hands out for r, if r can have it.
func (w twin) offered(p ipam.Pool, f ipam.Family, r ipam.Request) (netip.Addr, bool) {
	for _, o := range r.Offers {
		if a := o.Addr; o.Pool == p.Name && o.Family == f && a.IsValid() && ipam.FamilyOf(a) == f && slices.Contains(of(p), a) {
			others := slices.ContainsFunc(w.users[a], func(u ipam.Request) bool { return u.Service != r.Service })
			good := chooses(p, a, r) || slices.Contains(r.Want, a) && !refuses(p, a, r)
			return a, good && !others && !w.withheld(a, r)
		}
	}
	return netip.Addr{}, false
}

// handsOut reports whether the IPAM of the pool of a hands it out for r, if the pool has one.
func (w twin) handsOut(a netip.Addr, r ipam.Request) bool {
	p := w.poolOf(a)
	given, ok := w.offered(*p, ipam.FamilyOf(a), r)
	return p.IPAM == "" || ok && given == a
}

// awaits reports whether the IPAM of p has not said that it has no address of family f for r, which p
// serves unasked.
func (w twin) awaits(p ipam.Pool, f ipam.Family, r ipam.Request) bool {
	has := slices.ContainsFunc(p.Ranges, func(x ipam.Range) bool { return ipam.FamilyOf(x.First) == f })
	said := slices.ContainsFunc(r.Offers, func(o ipam.Offer) bool { return o.Pool == p.Name && o.Family == f && o.Exhausted })
	return p.IPAM != "" && serves(p, f, r) && has && !said
}

// given reports whether r may newly have a of a pool without asking or, if the pool has an IPAM, whether that
// hands a out for r.
func given(p ipam.Pool, a netip.Addr, r ipam.Request) bool {
	return p.IPAM == "" || slices.ContainsFunc(r.Offers, func(o ipam.Offer) bool { return o.Pool == p.Name && o.Addr == a })
}
