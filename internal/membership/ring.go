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
	asked   map[string][]string     // what neighbors has returned: the same members are asked for again and again
}

func newRing(names []string, subnets map[string]netip.Prefix) ring {
	type place struct {
		hash uint64
		name string
	}
	places := make([]place, len(names))
	for i, name := range names {
		sum := sha256.Sum256([]byte(name))
		places[i] = place{binary.BigEndian.Uint64(sum[:]), name}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name)) })
	r := ring{subnets: subnets, in: map[netip.Prefix]order{}, asked: map[string][]string{}}
	for _, p := range slices.Compact(places) {
		r.order = append(r.order, p.name)
		r.in[subnets[p.name]] = append(r.in[subnets[p.name]], p.name)
	}
	return r
}

// order is members in a circle.
type order []string

// after returns up to n members that follow name, the nearest first; nil if name is
// no member.
func (r order) after(name string, n int) []string { return r.from(name, 1, n) }

// before returns up to n that come before name, the nearest last.
func (r order) before(name string, n int) []string { return r.from(name, -min(n, len(r)-1), n) }

// from returns up to n members, without name, the first so many places after it.
func (r order) from(name string, first, n int) []string {
	at := slices.Index(r, name)
	if at < 0 {
		return nil
	}
	out := make([]string, min(n, len(r)-1))
	for i := range out {
		out[i] = r[(at+first+i+len(r))%len(r)]
	}
	return out
}

// following returns those that follow name and watch it: first of its subnet, then
// of any.
func (r ring) following(name string) []string {
	out := r.in[r.subnets[name]].after(name, near)
	for _, other := range r.after(name, successors+near) {
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
// none if name is no member. If a is a neighbor of b, b is one of a. Callers must not change what
// it returns.
func (r ring) neighbors(name string) []string {
	out, known := r.asked[name]
	if !known && slices.Contains(r.order, name) {
		out = r.findNeighbors(name)
		r.asked[name] = out
	}
	return out
}

func (r ring) findNeighbors(name string) []string {
	if len(r.order) <= mesh {
		return r.after(name, len(r.order))
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
