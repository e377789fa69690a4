package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// book is the state of one attempt: who has which address so far.
//
// Invariant: all users of an address may share it pairwise, unless it is odd.
type book struct {
	ground
	requests []*Request
	order    []int32              // requests by age; the index is the rank of a Service
	first    map[netip.Addr]int32 // the first use of an address
	uses     []use
	ports    map[socket]struct{}   // in use on addresses that are shared
	shared   map[ring][]netip.Addr // addresses in use; none twice
}

// use is that a Service has an address. Local, mixed and odd are set in the first
// use of an address and tell of all: that somebody's traffic is Local, that not
// all have the same Pods, that a stuck Service is among them which may not be.
type use struct {
	rank              int32
	next              int32 // another use of the same address; 0: none
	local, mixed, odd bool
}

type socket struct {
	addr netip.Addr
	port Port
}

// ring is those who may share what is in a pool.
type ring struct {
	key    string
	pool   *source
	family Family
}

func newBook(pools Pools, order []int32, requests []*Request) *book {
	return &book{
		ground:   newGround(pools),
		requests: requests,
		order:    order,
		first:    make(map[netip.Addr]int32, len(requests)),
		uses:     make([]use, 1, len(requests)+1), // none has index 0
		ports:    map[socket]struct{}{},
		shared:   map[ring][]netip.Addr{},
	}
}

// clear makes b as if it were new.
func (b *book) clear() {
	clear(b.first)
	clear(b.ports)
	clear(b.shared)
	b.uses = b.uses[:1]
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
	if older(other, r) < 0 {
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
	case s == nil:
		return nil, fmt.Sprintf("no IPAddressPool holds %s any more", a)
	case r.Pool != "" && r.Pool != s.Name:
		return nil, fmt.Sprintf("the Service asks for IPAddressPool %q, and %s is of %q", r.Pool, a, s.Name)
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
		if s != nil {
			name = s.Name
		}
		b.enter(rank, place{a, s})
		if odd {
			b.uses[b.first[a]].odd = true
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
	r, n := b.request(rank), int32(len(b.uses))
	b.uses = append(b.uses, use{rank: rank, local: r.Share.Local})
	if i := b.first[x.addr]; i == 0 {
		b.first[x.addr] = n
		if r.Share.Key != "" && x.pool != nil {
			k := ring{r.Share.Key, x.pool, FamilyOf(x.addr)}
			b.shared[k] = append(b.shared[k], x.addr)
		}
	} else {
		head := &b.uses[i]
		b.uses[n].next, head.next = head.next, n
		head.local = head.local || r.Share.Local
		head.mixed = head.mixed || r.Share.Pods != b.request(head.rank).Share.Pods
	}
	if r.Share.Key != "" {
		for _, p := range r.Ports {
			b.ports[socket{x.addr, p}] = struct{}{}
		}
	}
}

// blocked reports whether somebody uses a with whom r may not share it. It does
// not look at every user, for these can be many.
func (b *book) blocked(a netip.Addr, r *Request) bool {
	i := b.first[a]
	if i == 0 {
		return false
	}
	head := b.uses[i]
	u := b.request(head.rank)
	switch {
	case r.Share.Key == "" || r.Share.Key != u.Share.Key:
		return true
	case head.odd:
		other, _ := b.blocker(a, r)
		return other != nil
	case (r.Share.Local || head.local) && u.Share.Pods != r.Share.Pods, r.Share.Local && head.mixed:
		return true
	}
	for _, p := range r.Ports {
		if _, taken := b.ports[socket{a, p}]; taken {
			return true
		}
	}
	return false
}

// blocker returns the oldest user of a with whom r may not share it, and why.
func (b *book) blocker(a netip.Addr, r *Request) (other *Request, why string) {
	oldest := int32(len(b.order))
	for i := b.first[a]; i != 0; i = b.uses[i].next {
		if u := b.uses[i].rank; u < oldest {
			if no := refuses(b.request(u), r); no != "" {
				oldest, why = u, no
			}
		}
	}
	if why == "" {
		return nil, ""
	}
	return b.request(oldest), why
}

// refuses says why two Services may not share an address, or "".
func refuses(u, r *Request) string {
	switch {
	case u.Share.Key == "" && r.Share.Key == "":
		return "neither of them asks to share it"
	case u.Share.Key == "" || r.Share.Key == "":
		return "only one of them asks to share it"
	case u.Share.Key != r.Share.Key:
		return "their sharing keys differ"
	case (u.Share.Local || r.Share.Local) && u.Share.Pods != r.Share.Pods:
		return "externalTrafficPolicy is Local and they select different Pods"
	}
	for _, p := range u.Ports {
		if slices.Contains(r.Ports, p) {
			return fmt.Sprintf("both listen on port %d/%s", p.Number, p.Protocol)
		}
	}
	return ""
}

// peek returns the address of family f that s would give r, without taking it:
// the lowest that r can share, else the lowest that nobody uses.
func (b *book) peek(s *source, f Family, r *Request) (netip.Addr, bool) {
	if r.Share.Key != "" {
		var lowest netip.Addr
		for _, a := range b.shared[ring{r.Share.Key, s, f}] {
			if (!lowest.IsValid() || a.Less(lowest)) && !b.blocked(a, r) {
				lowest = a
			}
		}
		if lowest.IsValid() {
			return lowest, true
		}
	}
	return s.cursors[slot(f)].free(func(a netip.Addr) bool { return b.first[a] == 0 && !(s.AvoidBuggy && buggy(a)) })
}
