package ipam

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// book is the state of one attempt: who has which address so far.
//
// Invariant: all users of an address may share it pairwise, unless it is odd.
type book struct {
	ground
	requests []*Request
	order    []int32 // requests by age; the index is the rank of a Service
	*uses
	reserve reserve
	ports   map[socket]int32 // in use on addresses that are shared: the oldest who listens
	shared  map[ring]*circle
	circles map[netip.Addr]*circle // by the addresses in them
	crowds  map[netip.Addr]*crowd  // of addresses with several users
}

func newBook(g ground, requests []*Request, order []int32, u *uses) *book {
	return &book{
		ground: g, requests: requests, order: order,
		uses: u, ports: map[socket]int32{}, shared: map[ring]*circle{}, circles: map[netip.Addr]*circle{}, crowds: map[netip.Addr]*crowd{},
	}
}

// clear makes b as if it were new.
func (b *book) clear() {
	b.uses.clear()
	clear(b.ports)
	clear(b.shared)
	clear(b.circles)
	clear(b.crowds)
	b.reserve.rewind()
	for _, s := range b.sources {
		s.rewind()
	}
}

func (b *book) request(rank int32) *Request { return b.requests[b.order[rank]] }

// keep returns what r holds and may go on holding.
func (b *book) keep(r *Request) holding {
	var h holding
	for _, a := range r.Has {
		x := &h.at[slot(FamilyOf(a))]
		if x.pool != nil {
			continue
		}
		s, why := b.stays(r, a)
		if why == "" && b.blocked(a, r) {
			other, _ := b.blocker(a, r)
			why = fmt.Sprintf("%s belongs to %s", a, b.owner(other, r))
			if r.Changed && !other.Changed {
				why += ", and this Service has changed its sharing key, ports, externalTrafficPolicy or selector since it got it"
			}
		}
		if why != "" {
			h.moved = why
			continue
		}
		*x = place{a, s}
	}
	return h
}

// owner names other as r sees it.
func (b *book) owner(other, r *Request) string {
	if Older(other, r) < 0 {
		return "the older Service " + other.Service.String()
	}
	return "Service " + other.Service.String()
}

// stays returns the pool that r may keep a in, or says why there is none. If the
// pool that holds a does not allow it, one that holds it but for an overlap may.
func (b *book) stays(r *Request, a netip.Addr) (s *source, why string) {
	f := FamilyOf(a)
	if !slices.Contains(r.Families.Want, f) {
		return nil, fmt.Sprintf("the Service does not want %s any more", f)
	}
	if !slices.Contains(r.Want, a) && slices.ContainsFunc(r.Want, func(w netip.Addr) bool { return FamilyOf(w) == f }) {
		return nil, fmt.Sprintf("the Service asks for another address than %s", a)
	}
	s = b.find(a)
	switch {
	case s != nil && s.suits(r):
		return s, ""
	case b.lends(r, a) != nil:
		if s == nil {
			s = b.lends(r, a)
		}
		return s, ""
	case s == nil && b.gone(r, a) != nil:
		return b.gone(r, a), ""
	case s == nil:
		return nil, fmt.Sprintf("no IPAddressPool holds %s any more", a)
	case r.Pool != "" && r.Pool != s.Name:
		return nil, fmt.Sprintf("the Service asks for IPAddressPool %s, and %s is of %q", printable.Quote(r.Pool), a, s.Name)
	}
	return nil, fmt.Sprintf("IPAddressPool %q does not serve this Service any more", s.Name)
}

// show enters what a stuck Service has, and tells what of it it keeps.
func (b *book) show(rank int32) Grant {
	r := b.request(rank)
	var g Grant
	for i, a := range r.Has {
		if slices.Contains(r.Has[:i], a) {
			continue
		}
		s, name, odd := b.find(a), "", b.blocked(a, r)
		if s == nil {
			s = b.gone(r, a)
		}
		if s != nil {
			name = s.Name
		}
		b.enter(rank, place{a, s})
		if odd {
			b.first(a).odd = true
			continue
		}
		g.Addrs, g.Pools = append(g.Addrs, a), append(g.Pools, name)
	}
	return g
}

// take enters a Service as a user of what is in h and not in taken.
func (b *book) take(rank int32, h, taken holding) {
	for i := range h.at {
		if h.at[i].pool != nil && taken.at[i].pool == nil {
			b.enter(rank, h.at[i])
		}
	}
}

// enter makes a Service a user of x.
func (b *book) enter(rank int32, x place) {
	r := b.request(rank)
	first := b.add(use{addr: x.addr, rank: rank, local: r.Share.Local, fresh: !r.has(x.addr)})
	if first.rank != rank {
		u := b.request(first.rank)
		first.local = first.local || r.Share.Local
		first.mixed = first.mixed || r.Share.Pods != u.Share.Pods
		first.across = first.across || r.Service.Namespace != u.Service.Namespace
		first.fresh = first.fresh || !r.has(x.addr)
		b.join(first.rank, rank, x.addr)
	}
	if r.Share.Key == "" {
		return
	}
	if first.rank == rank && x.pool != nil {
		k := ringOf(r, x.pool, FamilyOf(x.addr))
		if b.shared[k] == nil {
			b.shared[k] = &circle{open: map[string]*opening{}, listeners: map[Port]int{}}
		}
		b.shared[k].addrs = append(b.shared[k].addrs, x.addr)
		b.circles[x.addr] = b.shared[k]
	}
	b.listen(rank, x.addr)
}

// peek returns the address of family f that s would give r, without taking it: the
// one that is kept for r, else the lowest that r can share, else the lowest that
// nobody uses and that is kept for nobody, else the lowest that is kept weakly.
func (b *book) peek(s *source, f Family, r *Request) (netip.Addr, bool) {
	if x := b.own(r, f); x.pool == s {
		return x.addr, true
	}
	if r.Share.Key != "" {
		if a, ok := b.lowest(b.shared[ringOf(r, s, f)], r); ok {
			return a, true
		}
	}
	a, ok := s.cursors[slot(f)].free(func(a netip.Addr) bool {
		return b.first(a) == nil && !(s.AvoidBuggy && buggy(a)) && !b.reserve.holds(a)
	})
	if !ok && len(b.reserve.spare) > 0 {
		return b.leftover(s, f, r)
	}
	return a, ok
}
