package ipam_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// rest chooses the families that r lacks: for each the best rank of pools, and
// within these ranks one pool for all, if there is one.
func (w twin) rest(r ipam.Request, have []netip.Addr) []netip.Addr {
	asked, chosen := w.drawn(), []netip.Addr{}
	for _, f := range r.Families.Want {
		if hasFamily(have, f) {
			continue
		}
		if a, ok := w.best(f, r, have); ok {
			chosen = append(chosen, a)
			w.draw(a)
		}
	}
	w.undraw(asked)
	if len(chosen) == 1 && len(have) == 0 && r.Families.All && len(r.Families.Want) == 2 {
		chosen = w.pair(r)
	}
	for _, p := range w.pools {
		if one, ok := w.united(p, r, have, chosen); ok && w.firstToUnite(p, r, have, chosen) {
			return one
		}
	}
	return chosen
}

// pair returns addresses of both families that r can have together.
func (w twin) pair(r ipam.Request) []netip.Addr {
	start := w.drawn()
	defer w.undraw(start)
	for _, a := range w.options(r.Families.Want[0], r) {
		w.undraw(start)
		w.draw(a)
		if b, ok := w.best(r.Families.Want[1], r, nil); ok {
			return []netip.Addr{a, b}
		}
	}
	return nil
}

// options are all addresses of family f that r can have, the best first.
func (w twin) options(f ipam.Family, r ipam.Request) (out []netip.Addr) {
	for _, e := range w.kept {
		if a := e.Addr; e.For == r.Service && ipam.FamilyOf(a) == f {
			only := w
			only.kept = slices.DeleteFunc(slices.Clone(w.kept), func(o twinKept) bool { return o.For == r.Service && o.Addr != a })
			if _, ok := only.own(f, r, nil); ok {
				out = append(out, a)
			}
		}
	}
	for _, a := range r.Reserved {
		only := r
		only.Reserved = []netip.Addr{a}
		if _, ok := w.reservedFor(f, only, nil); ok {
			out = append(out, a)
		}
	}
	for _, a := range r.Prefers {
		only := r
		only.Prefers = []netip.Addr{a}
		if _, ok := w.preferred(f, only, nil); ok {
			out = append(out, a)
		}
	}
	for _, p := range w.byRank() {
		have := []netip.Addr{}
		for a, ok := w.lowest(p, f, r, have); ok; a, ok = w.lowest(p, f, r, have) {
			have, out = append(have, a), append(out, a)
		}
		if w.awaits(p, f, r) {
			break
		}
	}
	for _, a := range r.Has {
		if _, ok := w.stays(f, r, slices.DeleteFunc(slices.Clone(r.Has), func(b netip.Addr) bool { return a == b })...); ok {
			out = append(out, a)
		}
	}
	return out
}

// byRank are the pools, those first that are tried first.
func (w twin) byRank() []ipam.Pool {
	return slices.SortedFunc(slices.Values(w.pools), func(p, q ipam.Pool) int { return cmp.Or(rank(p)-rank(q), strings.Compare(p.Name, q.Name)) })
}

// firstToUnite reports whether no pool of a smaller name could also unite what is chosen.
func (w twin) firstToUnite(p ipam.Pool, r ipam.Request, have, chosen []netip.Addr) bool {
	return !slices.ContainsFunc(w.pools, func(q ipam.Pool) bool {
		_, ok := w.united(q, r, have, chosen)
		return q.Name < p.Name && ok
	})
}

// united returns what r gets of p alone in place of what is chosen for it.
func (w twin) united(p ipam.Pool, r ipam.Request, have, chosen []netip.Addr) (one []netip.Addr, ok bool) {
	firsts := firstOfEach(have)
	if len(firsts)+len(chosen) != 2 || slices.ContainsFunc(firsts, func(a netip.Addr) bool { return w.poolFor(a, r) != p.Name }) {
		return nil, false
	}
	for _, a := range chosen {
		from := *w.poolOf(a)
		if from.Name != p.Name {
			prefers, is := w.preferred(ipam.FamilyOf(a), r, have)
			if rank(from) != rank(p) || w.owns(a, r) || slices.Contains(r.Reserved, a) || is && a == prefers {
				return nil, false
			}
			if a, ok = w.next(p, ipam.FamilyOf(a), r, have); !ok {
				return nil, false
			}
		}
		one = append(one, a)
	}
	before := w.drawn()
	defer w.undraw(before)
	for _, a := range one {
		if !w.affords(r, a) {
			return nil, false
		}
		w.draw(a)
	}
	return one, true
}

// best is the address of family f that r gets beside what it has.
func (w twin) best(f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	if a, own := w.own(f, r, have); own {
		return a, true
	}
	if a, is := w.reservedFor(f, r, have); is {
		return a, true
	}
	if a, is := w.preferred(f, r, have); is {
		return a, true
	}
	for _, p := range w.byRank() {
		if a, ok := w.lowest(p, f, r, have); ok {
			return a, true
		}
		if w.awaits(p, f, r) {
			break
		}
	}
	return w.stays(f, r, have...)
}

// next is the address of family f that p alone gives r.
func (w twin) next(p ipam.Pool, f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	if a, own := w.own(f, r, have); own && w.poolOf(a).Name == p.Name {
		return a, true
	}
	if a, is := w.reservedFor(f, r, have); is && w.poolOf(a).Name == p.Name {
		return a, true
	}
	return w.lowest(p, f, r, have)
}
