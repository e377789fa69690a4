package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// Offer is what the IPAM of a pool has said for a Service and a family.
type Offer struct {
	Pool      string
	Family    Family
	Addr      netip.Addr // that it hands out; zero: none
	Exhausted bool       // it has no address: another pool may serve
	Unfit     bool       // Message tells what it handed out, and the Service can't have
	Message   string     // what it said, as a clause such as "says: no"; "": it has not answered
}

// Ask is an address that a Service needs from the IPAM of a pool.
type Ask struct {
	Pool    string
	Family  Family
	Addr    netip.Addr // it must be this one; zero: any
	Refused netip.Addr // what the IPAM handed out, and the Service can't have; zero: nothing
	Cause   string     // that it can't, as a clause
}

// offer returns what the IPAM of s has said for r and family f; the zero Offer: nothing.
func (s *poolState) offer(f Family, r *Request) Offer {
	for _, o := range r.Offers {
		if o.Pool == s.Name && o.Family == f {
			return o
		}
	}
	return Offer{Pool: s.Name, Family: f}
}

// offered returns the address of family f that the IPAM of s hands out for r and that r can have.
func (al *allocation) offered(s *poolState, f Family, r *Request) (netip.Addr, bool) {
	o := s.offer(f, r)
	return o.Addr, o.Addr.IsValid() && !al.own.has(o.Addr) && al.unfit(s, o, r) == ""
}

// unfit tells why r can't have what the IPAM of s hands out for it, as a clause; "": it can.
func (al *allocation) unfit(s *poolState, o Offer, r *Request) string {
	a := o.Addr
	because := func(format string, args ...any) string {
		return fmt.Sprintf("hands out %s for it: ", a) + fmt.Sprintf(format, args...)
	}
	switch by, _ := s.Occupied.Of(a); {
	case FamilyOf(a) != o.Family:
		return because("that is no %s address", o.Family)
	case al.find(a) != s:
		return because("spec.addresses of the pool does not have it")
	case slices.Contains(r.Want, a) && s.refuses(a, r), !slices.Contains(r.Want, a) && !s.chooses(a, r):
		if by.Name == "" {
			return because("AddressReservation %q has it for other Services", by.Reserved)
		}
		return because("it is %s", by.Name)
	}
	if other := al.oldestOther(a, r); other != nil {
		return because("Service %s has it", other.Service)
	}
	if k := al.kept.blocking(a, r); k != nil {
		return because("%s", k.Kept)
	}
	return ""
}

// oldestOther returns the oldest of the Services beside r that have a; nil: none has.
func (al *allocation) oldestOther(a netip.Addr, r *Request) *Request {
	var oldest *Request
	for x := al.firstHolder(a); x != nil; x = al.nextHolder(x) {
		if u := al.request(x.rank); u != r && (oldest == nil || CompareAge(u, oldest) < 0) {
			oldest = u
		}
	}
	return oldest
}

// awaits reports whether r gets an address of family f from s, which it serves, or from none: its IPAM
// has not said yet that it has none.
func (s *poolState) awaits(f Family, r *Request) bool {
	return s.IPAM != "" && s.has(f) && s.serves(r) && !s.offer(f, r).Exhausted
}

// waitsFor says that r waits for the IPAM of s.
func (al *allocation) waitsFor(s *poolState, f Family, r *Request) refusal {
	o := s.offer(f, r)
	reason, said := WaitingForIPAM, o.Message
	switch {
	case o.Addr.IsValid():
		reason, said = IPAMAddressRefused, al.unfit(s, o, r)
	case o.Unfit:
		reason = IPAMAddressRefused
	case said == "":
		said = "has not answered yet"
	}
	return refuse(reason, "the IPAM of IPAddressPool %q (%s) %s", s.Name, s.IPAM, said)
}

// needs says, now that all is decided, what Services that lack an address need from IPAMs: not those that
// could do nothing with it.
func (p *pass) needs() {
	if !slices.ContainsFunc(p.pools, func(s *poolState) bool { return s.IPAM != "" }) { // usually
		return
	}
	p.drawn = nil
	for _, w := range p.waiting {
		r, g := p.request(w.rank), &p.grants[p.order[w.rank]]
		if !slices.Contains([]Reason{"", WaitingForIPAM, IPAMAddressRefused, PoolExhausted}, g.Reason) {
			continue
		}
		for _, f := range r.Families.Want {
			if !slices.ContainsFunc(g.Addrs, func(a netip.Addr) bool { return FamilyOf(a) == f && !r.beside(a) && !p.refusedTo(r, a) }) {
				g.Asks = append(g.Asks, p.asks(r, f)...)
			}
		}
	}
}

// refusedTo reports whether r leaves a since its IPAM refuses it.
func (al *allocation) refusedTo(r *Request, a netip.Addr) bool {
	return al.leaves(r, a) && al.find(a).refused(a)
}

// asks returns what r needs of family f: the address that it asks for, or one of the pools that
// it is served from first.
func (al *allocation) asks(r *Request, f Family) (out []Ask) {
	if i := slices.IndexFunc(r.Want, func(a netip.Addr) bool { return FamilyOf(a) == f }); i >= 0 {
		a := r.Want[i]
		if s := al.find(a); s != nil && s.IPAM != "" && al.mayAsk(s, r, a) {
			out = append(out, al.ask(s, f, r, a))
		}
		return out
	}
	for _, s := range al.servingPools(r, f) {
		if s.IPAM == "" || !s.has(f) {
			if _, ok := al.nextFree(s, f, r); ok {
				break
			}
			continue
		}
		if !al.room(s, f, r) {
			if s.awaits(f, r) {
				break
			}
			continue
		}
		out = append(out, al.ask(s, f, r, netip.Addr{}))
		if !s.offer(f, r).Exhausted {
			break
		}
	}
	return out
}

// mayAsk reports whether r could have a, which s holds.
func (al *allocation) mayAsk(s *poolState, r *Request, a netip.Addr) bool {
	return !s.Frozen && s.suits(r) && !s.refuses(a, r) && !al.blocked(a, r) && al.exceeded(r, pooledAddr{a, s}) == nil
}

// ask returns what r needs from s: a, or, if a is zero, any address, but first what is reserved for it.
func (al *allocation) ask(s *poolState, f Family, r *Request, a netip.Addr) Ask {
	out := Ask{Pool: s.Name, Family: f, Addr: a}
	if i := slices.IndexFunc(r.Reserved, func(x netip.Addr) bool { return FamilyOf(x) == f && al.find(x) == s && !al.blocked(x, r) }); i >= 0 && !a.IsValid() {
		out.Addr = r.Reserved[i]
	}
	if o := s.offer(f, r); o.Addr.IsValid() {
		if out.Cause = al.unfit(s, o, r); out.Cause != "" {
			out.Refused = o.Addr
		}
	}
	return out
}
