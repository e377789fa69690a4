// Package ledger is an IPAM without its wire: who has which address, by the rules of
// steelyard.ipam.v1. It is pure: it does no I/O and reads no clock. cmd/ipam-file serves one, and tests ask one.
package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Holder is a Service.
type Holder struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Allocation is an address that a Service has.
type Allocation struct {
	Cluster string `json:"cluster"`
	Pool    string `json:"pool"`
	Holder
	Addr netip.Addr `json:"address"`
}

// Request asks for an address.
type Request struct {
	Cluster, Pool string
	Holder
	Family   ipam.Family
	Addr     netip.Addr // it must be this one; zero: any
	Replaces string     // the UID that gives it to Holder, if it has it
}

// What Allocate refuses.
var (
	ErrUnknownPool = errors.New("there is no such pool")
	ErrTaken       = errors.New("the address is another's")
	ErrOutside     = errors.New("the pool does not have the address")
	ErrExhausted   = errors.New("no address is free")
	ErrInvalid     = errors.New("the request can't be read")
)

// Ledger is who has which address. Clusters share the addresses of a pool.
type Ledger struct {
	ranges map[string][]ipam.Range // by pool
	taken  map[netip.Addr]Allocation
	has    map[holding]netip.Addr
}

// holding is what a Service has at most one address for.
type holding struct {
	cluster, uid string
	family       ipam.Family
}

func (a Allocation) holding() holding { return holding{a.Cluster, a.UID, ipam.FamilyOf(a.Addr)} }

// New returns a ledger of pools, each with its ranges, in which all of held are entered.
func New(ranges map[string][]ipam.Range, held []Allocation) *Ledger {
	l := &Ledger{ranges, make(map[netip.Addr]Allocation, len(held)), make(map[holding]netip.Addr, len(held))}
	for _, a := range held {
		l.enter(a)
	}
	return l
}

func (l *Ledger) enter(a Allocation) { l.taken[a.Addr], l.has[a.holding()] = a, a.Addr }

func (l *Ledger) remove(a Allocation) {
	delete(l.taken, a.Addr)
	delete(l.has, a.holding())
}

// Allocate hands out an address. A Service that has one of the family gets that one again. It
// reports whether anything has changed.
func (l *Ledger) Allocate(r Request) (a Allocation, changed bool, err error) {
	ranges, known := l.ranges[r.Pool]
	switch {
	case r.UID == "" || r.Cluster == "" || r.Addr.IsValid() && ipam.FamilyOf(r.Addr) != r.Family:
		return a, false, ErrInvalid
	case !known:
		return a, false, fmt.Errorf("%w: %q", ErrUnknownPool, r.Pool)
	}
	if has, is := l.has[holding{r.Cluster, r.UID, r.Family}]; is {
		return l.taken[has], false, nil
	}
	a = Allocation{r.Cluster, r.Pool, r.Holder, r.Addr}
	if !r.Addr.IsValid() {
		if a.Addr = l.free(ranges, r.Family); !a.Addr.IsValid() {
			return a, false, fmt.Errorf("%w in %q", ErrExhausted, r.Pool)
		}
	}
	within := slices.ContainsFunc(ranges, func(x ipam.Range) bool { return x.Contains(a.Addr) })
	switch has, taken := l.taken[a.Addr]; {
	case !within:
		return a, false, fmt.Errorf("%w: %s", ErrOutside, a.Addr)
	case taken && (r.Replaces == "" || has.Cluster != r.Cluster || has.UID != r.Replaces):
		return a, false, fmt.Errorf("%w: %s/%s has %s", ErrTaken, has.Namespace, has.Name, a.Addr)
	case taken:
		l.remove(has)
	}
	l.enter(a)
	return a, true, nil
}

// free returns the lowest free address of a family; the zero Addr: there is none.
func (l *Ledger) free(ranges []ipam.Range, f ipam.Family) netip.Addr {
	for _, x := range ranges {
		for a := x.First; ipam.FamilyOf(x.First) == f && a.IsValid() && a.Compare(x.Last) <= 0; a = a.Next() {
			if _, taken := l.taken[a]; !taken {
				return a
			}
		}
	}
	return netip.Addr{}
}

// Release ends an allocation, and reports whether there was one.
func (l *Ledger) Release(cluster, uid string, a netip.Addr) (changed bool) {
	if has := l.taken[a]; has.Cluster == cluster && has.UID == uid && uid != "" {
		l.remove(has)
		return true
	}
	return false
}

// List returns the allocations of a cluster, by address.
func (l *Ledger) List(cluster string) []Allocation {
	return slices.DeleteFunc(l.All(), func(a Allocation) bool { return a.Cluster != cluster })
}

// All returns all allocations, by address.
func (l *Ledger) All() []Allocation {
	out := make([]Allocation, 0, len(l.taken))
	for _, a := range l.taken {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Allocation) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.UID, b.UID))
	})
	return out
}
