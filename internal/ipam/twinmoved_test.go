package ipam_test

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// unfolded returns pools without what they had before, and that in further pools of their names, which give nothing.
func unfolded(pools ipam.Pools) ipam.Pools {
	var out, before ipam.Pools
	for _, p := range pools {
		q := p
		if p.Former = nil; len(q.Former) > 0 && !isFormer(q) {
			q.Ranges, q.Overlapping, q.Closed = q.Former, nil, true
			before = append(before, q)
		} else if isFormer(q) {
			p = q
		}
		out = append(out, p)
	}
	return append(out, before...)
}

// isFormer reports whether p, which unfolded has returned, is what a pool had before.
func isFormer(p ipam.Pool) bool { return len(p.Former) > 0 && slices.Equal(p.Ranges, p.Former) }

// asksForPool reports whether r asks for p, or for a pool that p replaces.
func asksForPool(p ipam.Pool, r ipam.Request) bool {
	return r.Pool == p.Name || slices.Contains(p.Replaces, r.Pool)
}

// serves reports whether p gives r addresses of family f that r does not ask for.
func serves(p ipam.Pool, f ipam.Family, r ipam.Request) bool {
	if p.Frozen || !allows(p, r) {
		return false
	}
	if successors := r.Successors[f]; len(successors) > 0 {
		return slices.Contains(successors, p.Name) && !isFormer(p)
	}
	return !p.Closed && (r.Pool != "" || p.AutoAssign)
}

// preferred is the first address of family f that r, which moves, prefers and can have: it is kept for no other Service.
func (w twin) preferred(f ipam.Family, r ipam.Request, have []netip.Addr) (netip.Addr, bool) {
	for _, a := range r.Prefers {
		p := w.poolOf(a)
		if p == nil || len(r.Successors[f]) == 0 || ipam.FamilyOf(a) != f || slices.Contains(have, a) || p.IPAM != "" {
			continue
		}
		if serves(*p, f, r) && chooses(*p, a, r) && !w.isKept(a) && w.free(a, r) && w.affords(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// isBeside reports whether r keeps a beside what it asks for.
func isBeside(a netip.Addr, r ipam.Request) bool {
	return slices.Contains(r.Beside, a) && !slices.Contains(r.Want, a)
}

// without are those of addrs that r does not keep beside what it asks for.
func without(addrs []netip.Addr, r ipam.Request) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return isBeside(a, r) })
}

// ordered are the addresses of r as they are granted: those of each family by the order of their pools.
func (w twin) ordered(addrs []netip.Addr, r ipam.Request) []netip.Addr {
	out := slices.Clone(addrs)
	order := func(a netip.Addr) int {
		if p := w.poolOf(a); p != nil && isFormer(*p) {
			return 2 // last
		}
		if p := w.named(w.poolFor(a, r)); p != nil {
			return p.Order
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return cmp.Compare(order(a), order(b)) })
	return inOrder(out, r)
}
