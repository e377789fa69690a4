package ipam

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"
)

// Pool is a set of addresses and the rules for giving them out.
type Pool struct {
	Name           string
	Ranges         []Range        // sorted and disjoint; what is excluded is not in them
	Overlapping    []Range        // lost to pools that overlap; as Ranges. Holders keep what is in them, if this pool allows it
	Former         []Range        // of prefixes that it had before; as Ranges, and of no pool's. Holders keep what is in them, and no Service gets any
	AutoAssign     bool           // false: only on request
	AvoidBuggy     bool           // never an IPv4 address that ends in .0 or .255
	Closed         bool           // it is being replaced: new addresses of it are given only to Services that ask for them, or come back for them
	Order          int            // of a Service's addresses of one family those of pools of lower order come first
	Replaces       []string       // names of pools that it replaces: a Service that asks for one of them gets its addresses
	Frozen         bool           // what is held stays, nothing new is given: so for pools that are not accepted, unless they overlap and had addresses
	Selective      bool           // it selects Services; preferred to pools that take all
	Priority       int            // lower first; 0: last
	CrossNamespace bool           // Services of different namespaces may come to share its addresses
	Allows         func(Key) bool // which Services it serves; nil: all
	Only           string         // the same in words, for messages
	Occupied       *Occupied      // what others have of its addresses; nil: nothing
	IPAM           string         // where the IPAM is that chooses its addresses: a Service gets what its Offers have; "": Assign chooses
}

// Pools are all pools. No address may lie in two of them.
type Pools []Pool

// Serves reports whether p may serve the Service at all.
func (p *Pool) Serves(k Key) bool { return p.Allows == nil || p.Allows(k) }

// Holds reports whether a is an address that p gives out.
func (p *Pool) Holds(a netip.Addr) bool {
	return !(p.AvoidBuggy && buggy(a)) && within(p.Ranges, a)
}

// Overlaps reports whether a would be p's if no other pool overlapped.
func (p *Pool) Overlaps(a netip.Addr) bool {
	return !(p.AvoidBuggy && buggy(a)) && within(p.Overlapping, a)
}

// HeldBefore reports whether a is of a prefix that p had before.
func (p *Pool) HeldBefore(a netip.Addr) bool { return within(p.Former, a) }

// before returns the pool that has the Former ranges of p: as one that is being replaced by p.
func (p *Pool) before() *Pool {
	out := *p
	out.Ranges, out.Overlapping, out.Former, out.Closed, out.Order = p.Former, nil, nil, true, formerOrder
	return &out
}

// formerOrder is the Order of what a pool had before: it comes last.
const formerOrder = 2

// isAskedFor reports whether r, which may ask for a pool, asks for p or for one that it replaces.
func (p *Pool) isAskedFor(r *Request) bool {
	return r.Pool == p.Name || slices.Contains(p.Replaces, r.Pool)
}

// has reports whether p has addresses of family f, free or not.
func (p *Pool) has(f Family) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return FamilyOf(r.First) == f })
}

// preferred orders pools by how soon they are tried for one Service.
func preferred(p, q *Pool) int {
	return cmp.Or(p.tier().compare(q.tier()), cmp.Compare(p.Name, q.Name))
}

// tier is a pool's preference, ignoring its name.
type tier struct {
	open     bool
	last     bool
	priority int
}

func (p *Pool) tier() tier {
	return tier{open: !p.Selective, last: p.Priority == 0, priority: p.Priority}
}

func (t tier) compare(u tier) int {
	return cmp.Or(CompareBool(t.open, u.open), CompareBool(t.last, u.last), cmp.Compare(t.priority, u.priority))
}

// CompareBool orders false before true.
func CompareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// buggy reports whether some old equipment takes a for a network or broadcast
// address.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// Capacity returns how many addresses of family f the pool gives out.
func (p *Pool) Capacity(f Family) *big.Int {
	total := new(big.Int)
	for _, r := range p.Ranges {
		if FamilyOf(r.First) != f {
			continue
		}
		first, last := number(r.First), number(r.Last)
		size := new(big.Int).Sub(last, first)
		total.Add(total, size.Add(size, big.NewInt(1)))
		if p.AvoidBuggy && f == IPv4 {
			total.Sub(total, big.NewInt(buggyBetween(first.Int64(), last.Int64())))
		}
	}
	return total
}

// buggyBetween counts the numbers from first to last that end in .0 or .255.
func buggyBetween(first, last int64) int64 {
	upTo := func(n int64) int64 { return (n+256)/256 + (n+1)/256 } // those from 0 to n
	return upTo(last) - upTo(first-1)
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
