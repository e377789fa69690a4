package membership

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const (
	// successors is how many members that follow on the ring watch a member.
	successors = 3
	// mesh is the number of members up to which each watches all others.
	mesh = 2*successors + 1
)

// ring is the members in the order of a hash of their names, which every node
// knows without talking and which has nothing to do with racks or addresses.
type ring []string

func newRing(names []string) ring {
	place := func(name string) uint64 {
		sum := sha256.Sum256([]byte(name))
		return binary.BigEndian.Uint64(sum[:])
	}
	r := slices.Clone(names)
	slices.SortFunc(r, func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) })
	return slices.Compact(r)
}

// after returns the members that follow name, the nearest first; nil if name is
// no member.
func (r ring) after(name string) []string {
	i := slices.Index(r, name)
	if i < 0 {
		return nil
	}
	return slices.Concat(r[i+1:], r[:i])
}

// neighbors returns those with whom name has a session, the nearest successor
// first; none if name is no member. If a is a neighbor of b, b is one of a.
func (r ring) neighbors(name string) []string {
	others := r.after(name)
	if len(others) == 0 || len(r) <= mesh {
		return others
	}
	return slices.Concat(others[:successors], others[len(others)-successors:])
}
