package ipam_test

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// twinKept is what is kept, as the twin sees it.
type twinKept struct {
	ipam.Kept
	owner      *ipam.Request // nil: it is not there, or can't be given anything
	weak, void bool
}

// keptOf reads what is kept: by its end, the latest first, then by address.
func keptOf(pools ipam.Pools, requests []ipam.Request, kept []ipam.Kept) []twinKept {
	w := twin{pools: unfolded(pools)}
	sorted := slices.Clone(kept)
	slices.SortFunc(sorted, ipam.Kept.Compare)
	var out []twinKept
	for _, k := range sorted {
		again := slices.ContainsFunc(out, func(o twinKept) bool { return o.Addr == k.Addr && o.For == k.For })
		if w.poolOf(k.Addr) == nil || again {
			continue
		}
		e := twinKept{Kept: k}
		for i, r := range requests {
			if r.Service == k.For && !r.StatusLocked && r.Invalid == "" {
				e.owner = &requests[i]
			}
		}
		out = append(out, e)
	}
	for i := range out {
		e := &out[i]
		if e.owner != nil {
			asks := slices.Contains(e.owner.Want, e.Addr) || e.owner.Pool != "" || w.poolOf(e.Addr).AutoAssign
			p := w.poolOf(e.Addr)
			e.void = !w.suits(e.Addr, *e.owner) || !asks ||
				refuses(*p, e.Addr, *e.owner) || !slices.Contains(e.owner.Want, e.Addr) && !chooses(*p, e.Addr, *e.owner)
			continue
		}
		peak, locked, counted := 0, 0, []netip.Addr{}
		for _, o := range out {
			if o.For.Namespace == e.For.Namespace {
				peak = max(peak, o.Peak)
			}
		}
		for _, r := range requests {
			lost := func(a netip.Addr) bool { return !r.StatusLocked && !w.suited(a, r) }
			if r.Service.Namespace == e.For.Namespace && !((r.StatusLocked || r.Invalid != "") && len(inOrder(slices.DeleteFunc(slices.Clone(r.Has), lost), r)) == 0) {
				locked += r.Asks()
			}
		}
		for _, o := range out[:i] {
			if o.For.Namespace == e.For.Namespace && o.owner == nil && !o.weak && !slices.Contains(counted, o.Addr) {
				locked++
				counted = append(counted, o.Addr)
			}
		}
		e.weak = locked >= 2*peak && !slices.Contains(counted, e.Addr)
	}
	return out
}

// isKept reports whether a is kept for any Service.
func (w twin) isKept(a netip.Addr) bool {
	return slices.ContainsFunc(w.kept, func(e twinKept) bool { return e.Addr == a && !e.void })
}

// withheld reports whether a is kept firmly for others than r, which does not have it.
func (w twin) withheld(a netip.Addr, r ipam.Request) bool {
	others := false
	for _, e := range w.kept {
		switch {
		case e.Addr != a || e.void:
		case e.For == r.Service:
			return false
		default:
			others = others || !e.weak
		}
	}
	return others && !slices.Contains(r.Has, a) && !slices.Contains(r.Reserved, a)
}

// own is the address of family f that is kept for r and that it can have.
func (w twin) own(f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	for _, e := range w.kept {
		if slices.Contains(have, e.Addr) || !hasRoom(have, e.Addr, r) {
			continue
		}
		if e.owner != nil && e.For == r.Service && !e.void && ipam.FamilyOf(e.Addr) == f && !w.poolOf(e.Addr).Frozen && w.free(e.Addr, r) && w.affords(r, e.Addr) {
			return e.Addr, true
		}
	}
	return netip.Addr{}, false
}

// reclaim gives those who were made again what is kept for them.
func (w twin) reclaim(sorted []ipam.Request, kept map[ipam.Key][]netip.Addr, yields map[ipam.Key]bool) {
	for _, r := range sorted {
		if r.StatusLocked || r.Invalid != "" {
			continue
		}
		w.quota.drawn = nil
		for _, f := range r.Families.Want {
			have := kept[r.Service]
			var back []netip.Addr
			of := func(a netip.Addr) bool { return ipam.FamilyOf(a) == f }
			left := slices.DeleteFunc(slices.Clone(w.quota.leaves[r.Service]), func(a netip.Addr) bool { return !of(a) })
			w.quota.leaves[r.Service] = slices.DeleteFunc(slices.Clone(w.quota.leaves[r.Service]), of)
			for a, own := w.own(f, r, have); own; a, own = w.own(f, r, have) {
				have, back, left = append(slices.Clone(have), a), append(back, a), left[min(1, len(left)):]
				w.draw(a)
			}
			w.quota.leaves[r.Service] = append(w.quota.leaves[r.Service], left...)
			for i := range w.kept {
				e := &w.kept[i]
				waits := yields[r.Service] && slices.Contains(back, e.Addr) || numberOf(without(have, r), f) < countOf(r, f) && !slices.Contains(have, e.Addr) && (w.poolOf(e.Addr).Frozen || !w.affords(r, e.Addr))
				if e.For == r.Service && ipam.FamilyOf(e.Addr) == f && !waits {
					e.void = true
				}
			}
			if len(back) > 0 && !yields[r.Service] {
				kept[r.Service] = have
				w.enter(r, back)
			}
		}
	}
	w.quota.drawn = nil
}

// settle has w see what is kept once everything is granted: it binds others as long
// as its owner is not there, or has no address of that family.
func (w *twin) settle(all *world, grants map[ipam.Key]ipam.Grant) {
	w.kept = keptOf(all.pools, all.requests, all.kept)
	for i := range w.kept {
		e := &w.kept[i]
		e.weak = false
		if e.owner != nil && (numberOf(without(grants[e.For].Addrs, *e.owner), ipam.FamilyOf(e.Addr)) >= countOf(*e.owner, ipam.FamilyOf(e.Addr)) || !w.free(e.Addr, *e.owner)) {
			e.void = true
		}
	}
}
