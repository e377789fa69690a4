package ipam

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
)

// Occupied are addresses that something other than a Service has: nodes, routers, the
// cluster itself, foreign hosts. A pool may hold some, and never chooses them. The zero Occupied is none.
type Occupied struct {
	Addrs  map[netip.Addr]Occupant
	Ranges []OccupiedRange // in no order; no node's own address counts that is in one
	// Known are the nodes, each with whether all of its addresses are known.
	Known map[string]bool
}

// Equal reports whether o and p are the same, also in the order of their Ranges.
func (o *Occupied) Equal(p *Occupied) bool {
	if o == p || o == nil || p == nil {
		return o == p
	}
	return maps.Equal(o.Addrs, p.Addrs) && slices.Equal(o.Ranges, p.Ranges) && maps.Equal(o.Known, p.Known)
}

// NodeOf returns the node whose own address a is; "": none's. Before was the answer when a
// Service got the address: it stays while it can't be refuted.
func (o *Occupied) NodeOf(a netip.Addr, before string) string {
	if o == nil {
		return before
	}
	if known, there := o.Known[before]; there && !known {
		return before
	}
	if by := o.Addrs[a].Node; by == before {
		return before
	}
	return ""
}

// Occupant is what has an address.
type Occupant struct {
	Name string // as in "the gateway of node1"; "": nothing has it, and it is Reserved
	// Reserved is the AddressReservation that the address belongs to: only Services get it that
	// have it in Request.Reserved. "": none.
	Reserved string
	// ReservedIn are the namespaces of those Services: for their quotas the address counts.
	ReservedIn NamespaceSet
	// Node is the node whose own address it is. A Service that asks for the address gets it,
	// and that node alone announces it. "": no Service gets the address.
	Node string
	// Foreign: a host outside of the cluster has it, as a speaker found out. A Service that asks
	// for the address gets it: the host may leave.
	Foreign bool
	// External: a Service has it in spec.externalIPs, and nothing else does.
	External bool
	// Alone: no other node could announce the address, so that it may be chosen.
	Alone bool
}

// NamespaceSet is a set of namespaces that can be compared: their names by commas. The zero value is empty.
type NamespaceSet string

// Namespaces returns the set of those namespaces, which are sorted, and none is there twice.
func Namespaces(names []string) NamespaceSet { return NamespaceSet(strings.Join(names, ",")) }

// Has reports whether a namespace is in the set.
func (s NamespaceSet) Has(namespace string) bool {
	return namespace != "" && (string(s) == namespace || slices.Contains(strings.Split(string(s), ","), namespace)) // usually there is one
}

// OccupiedRange is a range that is occupied as a whole.
type OccupiedRange struct {
	Range
	By Occupant
}

// Of returns what has a, if something has.
func (o *Occupied) Of(a netip.Addr) (by Occupant, is bool) {
	if o == nil {
		return Occupant{}, false
	}
	if by, is = o.Addrs[a]; is && by.Node == "" {
		return by, true
	}
	for i := range o.Ranges {
		if o.Ranges[i].Contains(a) {
			return o.Ranges[i].By, true
		}
	}
	return by, is
}

// in returns what is occupied of ranges, which are sorted and disjoint.
func (o *Occupied) in(ranges []Range) []Range {
	if o == nil {
		return nil
	}
	var out []Range
	for a, by := range o.Addrs {
		if !by.Choosable() && !by.OnlyReserved() && within(ranges, a) {
			out = append(out, Range{a, a})
		}
	}
	for _, r := range o.Ranges {
		if _, meets := Overlap(ranges, []Range{r.Range}); meets {
			out = append(out, r.Range)
		}
	}
	return out
}

// reserved reports whether a reservation alone has a.
func (o *Occupied) reserved(a netip.Addr) bool { return o != nil && o.Addrs[a].OnlyReserved() }

// choosable are the ranges that p chooses from, but for what reservations alone have.
func (p *Pool) choosable() []Range {
	if taken := p.Occupied.in(p.Ranges); len(taken) > 0 {
		return Merge(p.Ranges, taken)
	}
	return p.Ranges
}

// Lowest returns the lowest addresses of family f that are free, at most n, of those that p chooses from, but for what
// reservations have.
func (p *Pool) Lowest(f Family, n int, free func(netip.Addr) bool) (out []netip.Addr) {
	for _, r := range p.choosable() {
		for a := r.First; FamilyOf(r.First) == f && len(out) < n && a.IsValid() && a.Compare(r.Last) <= 0; a = a.Next() {
			if p.Holds(a) && !p.Occupied.reserved(a) && free(a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// Unusable returns how many addresses of family f the pool holds and chooses for no Service.
func (p *Pool) Unusable(f Family) *big.Int {
	left := *p
	left.Ranges = p.choosable()
	return new(big.Int).Sub(p.Capacity(f), left.Capacity(f))
}

// Reserved returns how many addresses of family f the pool holds that reservations have, and
// nothing else.
func (p *Pool) Reserved(f Family) (n int64) {
	if p.Occupied == nil {
		return 0
	}
	for a, by := range p.Occupied.Addrs {
		if by.OnlyReserved() && FamilyOf(a) == f && p.Holds(a) {
			n++
		}
	}
	return n
}

// admits reports whether r may have a, which this occupant has, as far as reservations go.
func (by Occupant) admits(a netip.Addr, r *Request) bool {
	return by.Reserved == "" || slices.Contains(r.Reserved, a)
}

// chooses reports whether p gives a, which it holds, to r, which does not ask for it.
func (p *Pool) chooses(a netip.Addr, r *Request) bool {
	by, occupied := p.Occupied.Of(a)
	return !occupied || (by.Alone || by.Name == "") && by.admits(a, r)
}

// refuses reports whether p does not give a, which it holds, to r, even if it asks for it.
func (p *Pool) refuses(a netip.Addr, r *Request) bool {
	by, occupied := p.Occupied.Of(a)
	return occupied && (by.lost() || !by.admits(a, r))
}

// OnlyReserved reports whether nothing has the address, and a reservation does.
func (by Occupant) OnlyReserved() bool { return by.Name == "" && by.Reserved != "" }

// Choosable reports whether any Service may get the address without asking for it. The zero
// Occupant has none.
func (by Occupant) Choosable() bool { return by.Reserved == "" && (by.Name == "" || by.Alone) }

// lost reports whether no Service gets what this occupant has.
func (by Occupant) lost() bool { return by.Name != "" && by.Node == "" && !by.Foreign }

// OccupiedText tells how many addresses p never chooses, and what has the first; "": there are none.
func (p *Pool) OccupiedText() string {
	n := new(big.Int).Add(p.Unusable(IPv4), p.Unusable(IPv6))
	if n.Sign() == 0 {
		return ""
	}
	var parts []string
	taken := p.Occupied.in(p.Ranges)
	slices.SortFunc(taken, func(r, s Range) int { return cmp.Or(r.First.Compare(s.First), r.Last.Compare(s.Last)) })
	for _, r := range taken {
		inside, _ := Overlap(p.Ranges, []Range{r})
		a := inside.First
		if by, is := p.Occupied.Of(a); is && p.Holds(a) && len(parts) < messageLimit {
			parts = append(parts, fmt.Sprintf("%s is %s", a, by.Name))
		}
	}
	if n.Cmp(big.NewInt(int64(len(parts)))) > 0 {
		parts = append(parts, "and so on")
	}
	return fmt.Sprintf("%s of its addresses are never chosen: %s", n, strings.Join(parts, ", "))
}

// isReservedIn reports whether a is reserved for Services of that namespace.
func (o *Occupied) isReservedIn(a netip.Addr, namespace string) bool {
	if o == nil || len(o.Addrs) == 0 {
		return false
	}
	by, is := o.Addrs[a]
	return is && by.Reserved != "" && by.ReservedIn.Has(namespace)
}

// reservedFilter tells quickly of most addresses that none of an Occupied's reservations has them: it is asked
// about each address of a Service that has quotas.
type reservedFilter struct {
	of   *Occupied
	bits []uint64 // by the last bits of an address; nil: not known yet
}

// filterBits is how many of the last bits of an address tell apart.
const filterBits = 16

// mayHave reports whether a may be reserved.
func (x *reservedFilter) mayHave(a netip.Addr) bool {
	if x == nil {
		return false
	}
	if x.bits == nil {
		x.bits = make([]uint64, 1<<filterBits/64)
		for b, by := range x.of.Addrs {
			if by.Reserved != "" {
				i := lastBits(b)
				x.bits[i/64] |= 1 << (i % 64)
			}
		}
	}
	i := lastBits(a)
	return x.bits[i/64]&(1<<(i%64)) != 0
}

// lastBits are the last filterBits bits of an address.
func lastBits(a netip.Addr) uint16 {
	b := a.As16()
	return uint16(b[14])<<8 | uint16(b[15])
}
