package ipam

import (
	"net/netip"
	"slices"
)

// Choice is the result of one pool for one Service and one family of addresses.
type Choice struct {
	Pool   string
	Family Family
	Reason ChoiceReason
	Addrs  []netip.Addr // what the Service has of the pool; of Chosen only
}

// ChoiceReason is the reason for which a Service has an address of a pool, or none.
type ChoiceReason string

// The reasons, in the order of the checks: the first that applies is returned.
const (
	Chosen        ChoiceReason = "Chosen"
	NotAccepted   ChoiceReason = "NotAccepted"   // the pool is not accepted: it assigns no new address
	BeingReplaced ChoiceReason = "BeingReplaced" // another pool replaces it: it assigns no new address
	SelectsOthers ChoiceReason = "SelectsOthers" // its selectors do not let it serve the Service
	NotAskedFor   ChoiceReason = "NotAskedFor"   // the Service asks for another pool, or for an address of another
	OnRequestOnly ChoiceReason = "OnRequestOnly" // autoAssign is false, and the Service does not ask for it
	NoFamily      ChoiceReason = "NoFamily"      // it holds no address of the family
	AwaitsIPAM    ChoiceReason = "AwaitsIPAM"    // its IPAM has not handed out an address for the Service
	Exhausted     ChoiceReason = "Exhausted"     // all that the Service could have is taken
	OverQuota     ChoiceReason = "OverQuota"     // it could serve, and an AddressQuota does not let the Service have more of it
	NotNeeded     ChoiceReason = "NotNeeded"     // it could serve, and the Service has an address of another
	Withheld      ChoiceReason = "Withheld"      // it could serve, and the Service is refused as a whole
)

// Choices says how each pool stands with the Service k once all requests are
// answered, in the order in which pools are tried, for each family that the
// Service wants. Assign answers as it does; this is for people who ask for the reason.
// A Service that has no request has no choices.
func Choices(pools Pools, requests []*Request, kept []Kept, k Key) []Choice {
	i := slices.IndexFunc(requests, func(r *Request) bool { return r.Service == k })
	if i < 0 {
		return nil
	}
	r := requests[i]
	p := new(Allocator).decide(pools, requests, kept)
	var out []Choice
	for _, s := range p.pools {
		if s.former { // what the Service has of it counts for the pool
			continue
		}
		for _, f := range r.Families.Want {
			c := Choice{Pool: s.Name, Family: f}
			c.Reason, c.Addrs = p.choice(s, f, r, p.grants[i])
			out = append(out, c)
		}
	}
	return out
}

// choice says how s stands with r, which was granted g.
func (al *allocation) choice(s *poolState, f Family, r *Request, g Grant) (reason ChoiceReason, of []netip.Addr) {
	for i, a := range g.Addrs {
		if FamilyOf(a) == f && g.Pools[i] == s.Name {
			of = append(of, a)
		}
	}
	if len(of) > 0 {
		return Chosen, of
	}
	if reason := al.notAsked(s, f, r); reason != "" {
		return reason, nil
	}
	return al.undecided(s, f, r, numberOf(slices.DeleteFunc(slices.Clone(g.Addrs), r.beside), f)), nil
}

// undecided says why r, which has so many addresses of family f, has none of s, which serves it.
func (al *allocation) undecided(s *poolState, f Family, r *Request, has int) ChoiceReason {
	inIt := s.isAsked(f, r)
	asks := func(refused func(netip.Addr) bool) bool {
		return slices.ContainsFunc(r.Want, func(a netip.Addr) bool { return FamilyOf(a) == f && s.Holds(a) && refused(a) })
	}
	taken := asks(func(a netip.Addr) bool { return al.blocked(a, r) })
	al.drawn = nil
	switch _, free := al.nextFree(s, f, r); {
	case has >= r.number(f), has > 0 && free:
		return NotNeeded
	case has == 0 && !free && s.awaits(f, r) && al.room(s, f, r):
		return AwaitsIPAM
	case taken, !inIt && !free && !al.freeButFor(s, f, r) && !s.awaits(f, r):
		return Exhausted
	case asks(func(a netip.Addr) bool { return al.exceeded(r, pooledAddr{a, s}) != nil }), !inIt && !free:
		return OverQuota
	}
	return Withheld
}

// isAsked reports whether r asks for an address of family f that s holds.
func (s *poolState) isAsked(f Family, r *Request) bool {
	return slices.ContainsFunc(r.Want, func(a netip.Addr) bool { return FamilyOf(a) == f && s.Holds(a) })
}

// notAsked returns the reason for which s is not asked for an address of family f for r;
// "": it is.
func (al *allocation) notAsked(s *poolState, f Family, r *Request) ChoiceReason {
	inIt := s.isAsked(f, r)
	switch {
	case s.Frozen:
		return NotAccepted
	case s.Closed && !inIt && !s.offersFamily(r, f):
		return BeingReplaced
	case !s.serves(r):
		return SelectsOthers
	case len(r.Successors[f]) > 0 && !s.offersFamily(r, f) && !inIt, r.Pool != "" && !s.isAskedFor(r), r.choosesNone(f) && !inIt:
		return NotAskedFor
	case !s.offersFamily(r, f) && !inIt:
		return OnRequestOnly
	case !s.has(f):
		return NoFamily
	}
	return ""
}
