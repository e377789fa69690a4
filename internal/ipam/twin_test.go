package ipam_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// twin is Assign by the same rules, slow and plain: it looks at every address
// of every pool, and it tells addresses only.
type twin struct {
	pools ipam.Pools
	users map[netip.Addr][]ipam.Request
	kept  []twinKept
	quota *twinQuota // nil: none counts
}

func twinAssign(pools ipam.Pools, requests []ipam.Request, waiting []ipam.Kept) map[ipam.Key][]netip.Addr {
	sorted := slices.Clone(requests)
	slices.SortFunc(sorted, func(a, b ipam.Request) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Service.Compare(b.Service))
	})
	pools = unfolded(pools)
	yields, abandoned := map[ipam.Key]bool{}, map[ipam.Kept]bool{}
	for attempt := 1; ; attempt++ {
		again := false
		w := twin{pools, map[netip.Addr][]ipam.Request{}, keptOf(pools, sorted, waiting), newTwinQuota()}
		for i := range w.kept {
			w.kept[i].void = w.kept[i].void || abandoned[w.kept[i].Kept]
		}
		kept, got := map[ipam.Key][]netip.Addr{}, map[ipam.Key][]netip.Addr{}
		keep := func(changed bool) {
			for _, r := range sorted {
				if r.Changed == changed && !yields[r.Service] && !r.StatusLocked {
					kept[r.Service] = w.keeps(r)
					w.enter(r, kept[r.Service])
					w.quota.leaves[r.Service] = w.leaving(r, kept[r.Service])
				}
			}
		}
		keep(false) // who asks for what it was granted comes first
		for _, r := range sorted {
			if r.StatusLocked {
				got[r.Service] = slices.DeleteFunc(slices.Clone(r.Has), func(a netip.Addr) bool { return !w.free(a, r) })
				w.enter(r, r.Has)
			}
		}
		keep(true)
		w.reclaim(sorted, kept, yields)
		before := len(yields)
		for _, r := range sorted {
			if r.StatusLocked {
				continue
			}
			spent := w.spent(r)
			leaves := w.quota.leaves[r.Service]
			delete(w.quota.leaves, r.Service)
			w.quota.drawn = nil
			if yields[r.Service] {
				kept[r.Service] = w.affordable(r, w.keeps(r))
			}
			addrs, ok := w.completes(r, kept[r.Service])
			if !ok && yields[r.Service] && len(r.Quotas) > 0 && len(kept[r.Service]) > 0 {
				kept[r.Service], w.quota.drawn = nil, nil
				addrs, ok = w.completes(r, nil)
			}
			late := attempt > 8 && r.Invalid == "" && mustHave(addrs, r) > mustHave(kept[r.Service], r) && (r.Families.All || len(r.Want) > 0)
			if (!ok || late) && len(kept[r.Service]) > 0 {
				yields[r.Service] = true
			}
			w.quota.drawn = nil
			if ok {
				w.enter(r, addrs)
				got[r.Service] = w.ordered(addrs, r)
			}
			if len(leaves) > 0 && w.spent(r) < spent {
				yields[r.Service] = true
				continue
			}
			for _, e := range w.kept {
				if ok && len(r.Quotas) > 0 && e.For == r.Service && !e.void && numberOf(without(addrs, r), ipam.FamilyOf(e.Addr)) >= countOf(r, ipam.FamilyOf(e.Addr)) && !slices.Contains(addrs, e.Addr) && !w.poolOf(e.Addr).Frozen {
					abandoned[e.Kept], again = true, true
				}
			}
		}
		if len(yields) == before && !again {
			return got
		}
	}
}

func (w twin) enter(r ipam.Request, addrs []netip.Addr) {
	for _, a := range addrs {
		w.charge(a, r)
		if !slices.ContainsFunc(w.users[a], func(u ipam.Request) bool { return u.Service == r.Service }) {
			w.users[a] = append(w.users[a], r)
		}
	}
}

// free reports whether r may use a along with those who do.
func (w twin) free(a netip.Addr, r ipam.Request) bool {
	for _, u := range w.users[a] {
		if u.Service != r.Service && !w.mayShare(a, u, r) {
			return false
		}
	}
	return !w.withheld(a, r) && !w.apart(a, r)
}

// apart reports whether no node would serve r and all who use a, though that matters.
func (w twin) apart(a netip.Addr, r ipam.Request) bool {
	all := slices.DeleteFunc(slices.Clone(w.users[a]), func(u ipam.Request) bool { return u.Service == r.Service })
	if len(all) == 0 {
		return false
	}
	all = append(all, r)
	nodes, local, samePods, asGranted := []string{"1", "2", "3"}, false, true, true
	for _, u := range all {
		on := u.On4
		if a.Is6() {
			on = u.On6
		}
		samePods = samePods && u.Share.Pods == r.Share.Pods
		asGranted = asGranted && slices.Contains(u.Has, a) && !u.Changed
		if u.Share.Local {
			local = true
			nodes = slices.DeleteFunc(nodes, func(n string) bool { return !slices.Contains(on, n) })
		}
		if u.Service == r.Service && r.Share.Local && len(on) == 0 && (slices.Contains(r.Has, a) || w.owns(a, r)) {
			return slices.ContainsFunc(w.users[a], func(u ipam.Request) bool { return u.Service != r.Service && u.StatusLocked && u.Changed })
		}
	}
	return local && !samePods && !asGranted && len(nodes) == 0
}

// owns reports whether a is kept for r, which may have it.
func (w twin) owns(a netip.Addr, r ipam.Request) bool {
	return slices.ContainsFunc(w.kept, func(e twinKept) bool { return e.owner != nil && e.For == r.Service && e.Addr == a && !e.void })
}

// mayShare reports whether two may share a. Those of different namespaces that
// have it go on sharing it; others come to share it only where its pool says so.
func (w twin) mayShare(a netip.Addr, u, r ipam.Request) bool {
	across := slices.Contains(u.Has, a) && slices.Contains(r.Has, a)
	if p := w.poolOf(a); p != nil && p.CrossNamespace {
		across = true
	}
	if u.Service.Namespace != r.Service.Namespace && !across {
		return false
	}
	local := u.Share.Local || r.Share.Local
	return u.Share.Key != "" && u.Share.Key == r.Share.Key && (!local || u.Service.Namespace == r.Service.Namespace) &&
		!slices.ContainsFunc(u.Ports, func(p ipam.Port) bool { return slices.Contains(r.Ports, p) })
}

// of returns the addresses that p gives out, from the lowest upwards.
func of(p ipam.Pool) []netip.Addr {
	var out []netip.Addr
	for _, r := range p.Ranges {
		for a := r.First; a.IsValid() && !r.Last.Less(a); a = a.Next() {
			if last := a.AsSlice()[len(a.AsSlice())-1]; !p.AvoidBuggy || !a.Is4() || last != 0 && last != 255 {
				out = append(out, a)
			}
		}
	}
	return out
}

// leaves reports whether r gives a up for another address.
func (w twin) leaves(a netip.Addr, r ipam.Request) bool {
	return r.Invalid == "" && slices.Contains(r.Leaves, a) && !slices.Contains(r.Want, a) && w.suits(a, r)
}

// stays is the address of family f that r leaves and that is left to it.
func (w twin) stays(f ipam.Family, r ipam.Request, have ...netip.Addr) (netip.Addr, bool) {
	for _, a := range r.Has {
		if ipam.FamilyOf(a) == f && !slices.Contains(have, a) && w.leaves(a, r) && w.free(a, r) && w.affords(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (w twin) poolOf(a netip.Addr) *ipam.Pool {
	for i, p := range w.pools {
		if slices.Contains(of(p), a) {
			return &w.pools[i]
		}
	}
	return nil
}

// suits reports whether r may get a as far as r itself and the pools go.
func (w twin) suits(a netip.Addr, r ipam.Request) bool {
	p := w.poolOf(a)
	return p != nil && allows(*p, r) && asksFor(a, r)
}

// suited reports whether r may keep a as far as r itself and the pools go.
func (w twin) suited(a netip.Addr, r ipam.Request) bool {
	lent := slices.ContainsFunc(w.pools, func(p ipam.Pool) bool { return slices.Contains(overlappingOf(p), a) && allows(p, r) })
	gone := w.poolOf(a) == nil && r.GonePools[a] != "" && w.absent(r.GonePools[a]) && (r.Pool == "" || r.Pool == r.GonePools[a])
	return w.suits(a, r) || (lent || gone) && asksFor(a, r)
}

func allows(p ipam.Pool, r ipam.Request) bool {
	return (p.Allows == nil || p.Allows(r.Service)) && (r.Pool == "" || asksForPool(p, r))
}

func asksFor(a netip.Addr, r ipam.Request) bool {
	named := len(like(r.Want, a))
	return slices.Contains(r.Families.Want, ipam.FamilyOf(a)) && (named == 0 || named < countOf(r, ipam.FamilyOf(a)) || slices.Contains(r.Want, a))
}

// overlappingOf returns the addresses that p would give out but for an overlap.
func overlappingOf(p ipam.Pool) []netip.Addr {
	p.Ranges = p.Overlapping
	return of(p)
}

// poolFor is the name of the pool that a is reported to be from.
func (w twin) poolFor(a netip.Addr, r ipam.Request) string {
	if p := w.poolOf(a); p != nil {
		return p.Name
	}
	lenders := slices.DeleteFunc(slices.Clone(w.pools), func(p ipam.Pool) bool { return !slices.Contains(overlappingOf(p), a) || !allows(p, r) })
	if len(lenders) == 0 {
		return r.GonePools[a] // "" usually
	}
	return slices.MinFunc(lenders, func(p, q ipam.Pool) int { return cmp.Or(rank(p)-rank(q), strings.Compare(p.Name, q.Name)) }).Name
}

func (w twin) keeps(r ipam.Request) []netip.Addr {
	var out []netip.Addr
	for _, a := range r.Has {
		if w.suited(a, r) && !w.leaves(a, r) && w.free(a, r) && !slices.Contains(out, a) && hasRoom(out, a, r) {
			out = append(out, a)
		}
	}
	return inOrder(out, r)
}

func hasFamily(addrs []netip.Addr, f ipam.Family) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f })
}

func inOrder(addrs []netip.Addr, r ipam.Request) []netip.Addr {
	var out []netip.Addr
	for _, f := range r.Families.Want {
		for _, a := range addrs {
			if ipam.FamilyOf(a) == f {
				out = append(out, a)
			}
		}
	}
	return out
}

// completes returns all addresses of r, and whether r may have any at all.
func (w twin) completes(r ipam.Request, kept []netip.Addr) ([]netip.Addr, bool) {
	if r.Invalid != "" {
		return kept, true
	}
	for _, f := range r.Families.Want {
		if a, own := w.stays(f, r); own && r.Families.All && len(r.Families.Want) == 2 && !hasFamily(kept, f) {
			return w.completesAll(r, kept, inOrder(append(slices.Clone(kept), a), r))
		}
	}
	return w.completesAll(r, kept, kept)
}

// completesAll is completes for a Service that keeps part if it can't have all.
func (w twin) completesAll(r ipam.Request, kept, part []netip.Addr) ([]netip.Addr, bool) {
	part = slices.Clone(part)
	had := slices.ContainsFunc(part, func(a netip.Addr) bool { return slices.Contains(r.Has, a) })
	keeps := r.Families.All && len(r.Families.Want) == 2 && had // what it has
	gone := slices.ContainsFunc(kept, func(a netip.Addr) bool { return w.poolFor(a, r) == r.Pool })
	served := slices.ContainsFunc(w.pools, func(p ipam.Pool) bool { return asksForPool(p, r) && allows(p, r) })
	if r.Pool != "" && !served && !(w.named(r.Pool) == nil && gone) {
		return part, keeps
	}
	have := slices.Clone(kept)
	for _, a := range r.Want {
		switch {
		case slices.Contains(have, a):
		case !w.suits(a, r) || w.poolOf(a).Frozen || refuses(*w.poolOf(a), a, r) || !w.free(a, r) || !w.affords(r, a):
			return part, keeps
		case !w.handsOut(a, r):
			return part, keeps
		default:
			have = append(have, a)
			w.draw(a)
		}
	}
	rest := w.rest(r, have)
	w.draw(rest...)
	have = append(have, rest...)
	if len(have) == 0 || r.Families.All && len(firstOfEach(have)) < len(r.Families.Want) {
		return part, keeps
	}
	return w.further(r, inOrder(have, r)), true
}

func (w twin) named(name string) *ipam.Pool {
	for i, p := range w.pools {
		if p.Name == name {
			return &w.pools[i]
		}
	}
	return nil
}

// absent reports whether no pool of that name has any addresses.
func (w twin) absent(name string) bool {
	return !slices.ContainsFunc(w.pools, func(p ipam.Pool) bool { return p.Name == name && len(p.Ranges)+len(p.Overlapping) > 0 })
}

// rank is lower for pools that are tried sooner, and never 0.
func rank(p ipam.Pool) int {
	n := p.Priority
	if n == 0 {
		n = 1000
	}
	if !p.Selective {
		n += 10000
	}
	return n
}

// lowest is the address of family f that p gives r without being asked: one that
// r can share, else the lowest that no Service uses and that is not kept, else one that is.
func (w twin) lowest(p ipam.Pool, f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	if !serves(p, f, r) {
		return netip.Addr{}, false
	}
	if p.IPAM != "" {
		a, ok := w.offered(p, f, r)
		return a, ok && !slices.Contains(have, a) && w.affords(r, a)
	}
	for _, pick := range []func(netip.Addr) bool{
		func(a netip.Addr) bool { return len(w.users[a]) > 0 && chooses(p, a, r) },
		func(a netip.Addr) bool {
			return len(w.users[a]) == 0 && !w.isKept(a) && chooses(p, a, r) && w.hasRoom(p, f, r)
		},
		func(a netip.Addr) bool {
			return len(w.users[a]) == 0 && w.isKept(a) && chooses(p, a, r) && w.hasRoom(p, f, r)
		},
	} {
		for _, a := range of(p) {
			if ipam.FamilyOf(a) == f && !slices.Contains(have, a) && (r.Share.Key != "" || len(w.users[a]) == 0) && pick(a) && w.free(a, r) && w.affords(r, a) {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}
