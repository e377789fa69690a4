package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// book is the state of one Assign: who has which address so far.
//
// Invariant: all users of an address may share it pairwise.
type book struct {
	pools   Pools
	sorted  []*Pool // by preference
	users   map[netip.Addr][]*Request
	shared  map[string][]netip.Addr // addresses in use, by sharing key; sorted, none twice
	cursors map[cursorKey]*cursor
}

type cursorKey struct {
	pool   *Pool
	family Family
}

// cursor finds free addresses of one pool and family from the lowest upwards.
// It only moves forward: an address is never given back within a book.
type cursor struct {
	ranges []Range    // those not yet exhausted
	next   netip.Addr // the first of ranges[0] not yet known to be taken
}

func newBook(pools Pools, n int) *book {
	b := &book{
		pools:   pools,
		users:   make(map[netip.Addr][]*Request, n),
		shared:  make(map[string][]netip.Addr),
		cursors: make(map[cursorKey]*cursor),
	}
	for i := range pools {
		b.sorted = append(b.sorted, &pools[i])
	}
	slices.SortFunc(b.sorted, preferred)
	return b
}

// keep returns what r holds and may go on holding.
func (b *book) keep(r *Request) holding {
	h := holding{addrs: make(map[Family]place, 2)}
	for _, a := range r.Has {
		f := FamilyOf(a)
		if _, twice := h.addrs[f]; twice {
			continue
		}
		p := b.pools.Find(a)
		if why := b.lost(r, a, p); why != "" {
			h.moved = why
			continue
		}
		h.addrs[f] = place{a, p}
	}
	return h
}

// lost says why r can't keep a of pool p, or "".
func (b *book) lost(r *Request, a netip.Addr, p *Pool) string {
	f := FamilyOf(a)
	asked := slices.ContainsFunc(r.Want, func(w netip.Addr) bool { return FamilyOf(w) == f })
	switch {
	case !slices.Contains(r.Families.Want, f):
		return fmt.Sprintf("the Service does not want %s any more", f)
	case asked && !slices.Contains(r.Want, a):
		return fmt.Sprintf("the Service asks for another address than %s", a)
	case p == nil:
		return fmt.Sprintf("no IPAddressPool holds %s any more", a)
	case r.Pool != "" && r.Pool != p.Name:
		return fmt.Sprintf("the Service asks for IPAddressPool %q, and %s is of %q", r.Pool, a, p.Name)
	case !p.Serves(r.Service):
		return fmt.Sprintf("IPAddressPool %q does not serve this Service any more", p.Name)
	}
	if other, _ := b.conflict(a, r); other != nil {
		return fmt.Sprintf("%s belongs to the older Service %s", a, other.Service)
	}
	return ""
}

// take enters r as a user of all that is in h.
func (b *book) take(r *Request, h holding) {
	for _, p := range h.addrs {
		users := b.users[p.addr]
		if slices.Contains(users, r) {
			continue
		}
		if len(users) == 0 && r.Share.Key != "" {
			in := b.shared[r.Share.Key]
			i, _ := slices.BinarySearchFunc(in, p.addr, netip.Addr.Compare)
			b.shared[r.Share.Key] = slices.Insert(in, i, p.addr)
		}
		b.users[p.addr] = append(users, r)
	}
}

// conflict returns the oldest user of a that r may not share it with, and why.
func (b *book) conflict(a netip.Addr, r *Request) (other *Request, why string) {
	for _, u := range b.users[a] {
		if no := refuses(u, r); no != "" && u != r && (other == nil || older(u, other) < 0) {
			other, why = u, no
		}
	}
	return other, why
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

// peek returns the address of family f that p would give r, without taking it:
// the lowest that r can share, else the lowest that nobody uses.
func (b *book) peek(p *Pool, f Family, r *Request) (netip.Addr, bool) {
	if r.Share.Key != "" {
		for _, a := range b.shared[r.Share.Key] {
			if other, _ := b.conflict(a, r); other == nil && FamilyOf(a) == f && p.Holds(a) {
				return a, true
			}
		}
	}
	k := cursorKey{p, f}
	c := b.cursors[k]
	if c == nil {
		c = &cursor{}
		for _, x := range p.Ranges {
			if FamilyOf(x.First) == f {
				c.ranges = append(c.ranges, x)
			}
		}
		if len(c.ranges) > 0 {
			c.next = c.ranges[0].First
		}
		b.cursors[k] = c
	}
	return c.free(func(a netip.Addr) bool { return len(b.users[a]) == 0 && !(p.AvoidBuggy && buggy(a)) })
}

// free moves c to the first address that is ok.
func (c *cursor) free(ok func(netip.Addr) bool) (netip.Addr, bool) {
	for len(c.ranges) > 0 {
		for ; c.next.IsValid() && c.next.Compare(c.ranges[0].Last) <= 0; c.next = c.next.Next() {
			if ok(c.next) {
				return c.next, true
			}
		}
		if c.ranges = c.ranges[1:]; len(c.ranges) > 0 {
			c.next = c.ranges[0].First
		}
	}
	return netip.Addr{}, false
}
