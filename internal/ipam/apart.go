package ipam

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Where externalTrafficPolicy is Local, only nodes that serve every Service of an address take
// its traffic. Services of different Pods come to share one only while there are such nodes.
// Afterwards Pods come and go, and no Service loses an address by that.

// on returns the nodes that serve r at an address of family f, whose traffic is Local.
func (r *Request) on(f Family) []string {
	if f == IPv4 {
		return r.On4
	}
	return r.On6
}

// apart reports whether no node would serve all holders of a and r. Those that have a, and ask
// for what they were granted it for, keep it all the same; so does one that had it and has no
// endpoint at the moment, as when its Pods are replaced, beside others that can still be told so.
func (al *allocation) apart(a netip.Addr, r *Request) bool {
	first := al.firstHolder(a)
	if first == nil || !first.local && !r.Share.Local {
		return false
	}
	u := al.request(first.rank)
	switch on := r.on(FamilyOf(a)); {
	case u.Share.Pods == r.Share.Pods && !first.mixed:
		return false
	case r.has(a) && !r.Changed && !first.fresh && !first.changed:
		return false
	case r.Share.Local && len(on) == 0 && (r.has(a) || al.isKeptFor(a, r)):
		return al.heldByLockedChange(a)
	}
	return len(al.servingWith(a, r)) == 0
}

// heldByLockedChange reports whether a holder of a has changed, and its status is locked: it would have to give
// way to who comes to share a with it.
func (al *allocation) heldByLockedChange(a netip.Addr) bool {
	for x := al.firstHolder(a); x != nil; x = al.nextHolder(x) {
		if u := al.request(x.rank); u.StatusLocked && u.Changed {
			return true
		}
	}
	return false
}

// servingWith returns the nodes that serve r and all holders of a, of those whose traffic is Local.
func (al *allocation) servingWith(a netip.Addr, r *Request) []string {
	all, some := al.serving[a]
	on := r.on(FamilyOf(a))
	switch {
	case !r.Share.Local:
		return all
	case !some || slices.Equal(all, on):
		return on
	}
	return slices.DeleteFunc(slices.Clone(all), func(node string) bool {
		_, also := slices.BinarySearch(on, node)
		return !also
	})
}

// apartText says why no node would serve all holders of a and r.
func (al *allocation) apartText(a netip.Addr, r *Request) string {
	where := func(nodes []string) string {
		if len(nodes) == 0 {
			return "no node"
		}
		return printable.List(nodes)
	}
	_, some := al.serving[a]
	switch {
	case !r.Share.Local:
		return "externalTrafficPolicy of those that have it is Local, and no node has endpoints of all of them"
	case !some:
		return "externalTrafficPolicy of this Service is Local, and it has endpoints on no node"
	}
	return fmt.Sprintf("externalTrafficPolicy is Local, and no node has endpoints of both: what has the address is served on %s, this Service on %s",
		where(al.serving[a]), where(r.on(FamilyOf(a))))
}
