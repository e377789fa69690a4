package membership

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	// successors is how many members that follow on the ring watch a member.
	successors = 3
	// near is how many of them are in its subnet, if there are as many: only those
	// can ask its node for a sign of life by ARP or NDP.
	near = 2
	// mesh is the number of members up to which each watches all others.
	mesh = 2*successors + 1
)

// ring is the members in the order of a hash of their names, which every node
// knows without talking and which has nothing to do with racks or addresses.
type ring struct {
	order
	subnets map[string]netip.Prefix // of the members, where that is known
	in      map[netip.Prefix]order  // those of each subnet
}

func newRing(names []string, subnets map[string]netip.Prefix) ring {
	place := make(map[string]uint64, len(names))
	for _, name := range names {
		sum := sha256.Sum256([]byte(name))
		place[name] = binary.BigEndian.Uint64(sum[:])
	}
	r := ring{order: slices.Clone(names), subnets: subnets, in: map[netip.Prefix]order{}}
	slices.SortFunc(r.order, func(a, b string) int { return cmp.Or(cmp.Compare(place[a], place[b]), cmp.Compare(a, b)) })
	r.order = slices.Compact(r.order)
	for _, name := range r.order {
		r.in[subnets[name]] = append(r.in[subnets[name]], name)
	}
	return r
}

// order is members in a circle.
type order []string

// after returns the members that follow name, the nearest first; nil if name is
// no member.
func (r order) after(name string) []string {
	i := slices.Index(r, name)
	if i < 0 {
		return nil
	}
	return slices.Concat(r[i+1:], r[:i])
}

// before returns up to n that come before name, the nearest last.
func (r order) before(name string, n int) []string {
	all := r.after(name)
	return all[max(0, len(all)-n):]
}

// following returns those that follow name and watch it: first of its subnet, then
// of any.
func (r ring) following(name string) []string {
	own := r.in[r.subnets[name]].after(name)
	out := own[:min(near, len(own)):min(near, len(own))]
	for _, other := range r.after(name) {
		if len(out) == successors {
			break
		}
		if !slices.Contains(out, other) {
			out = append(out, other)
		}
	}
	return out
}

// neighbors returns those with whom name has a session, those that follow it first;
// none if name is no member. If a is a neighbor of b, b is one of a.
func (r ring) neighbors(name string) []string {
	others := r.after(name)
	if len(others) == 0 || len(r.order) <= mesh {
		return others
	}
	out := r.following(name)
	// Whom name follows is near: it passes over as many as it has of its own subnet.
	for _, other := range slices.Concat(r.before(name, successors), r.in[r.subnets[name]].before(name, near)) {
		if !slices.Contains(out, other) && slices.Contains(r.following(other), name) {
			out = append(out, other)
		}
	}
	return out
}
