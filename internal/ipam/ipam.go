// Package ipam decides which addresses each Service gets.
//
// Assign is a pure function of the pools and of what every Service holds and
// asks for. It neither reads a clock nor remembers anything between calls: the
// addresses that Services hold are its memory. It does not decide who
// announces an address (package announce does).
package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Key names a Service. The zero Key names none.
type Key struct{ Namespace, Name string }

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then name.
func (k Key) Compare(l Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, l.Namespace), cmp.Compare(k.Name, l.Name))
}

// Family is an address family; the zero Family is none.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a valid address. IPv4-mapped IPv6 addresses
// count as IPv6; package intent lets none in.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Families says which families a Service wants, in the order of its addresses.
type Families struct {
	Want []Family // one or two, no family twice
	All  bool     // all of them or nothing; otherwise any one suffices
}

// Port is a port that a Service listens on.
type Port struct {
	Protocol string // "TCP", "UDP", "SCTP"
	Number   uint16
}

// Share says with whom a Service may share an address. The zero Share: nobody.
type Share struct {
	Key   string // Services with the same key may share; empty: none may
	Local bool   // externalTrafficPolicy is Local
	Pods  string // names the set of Pods; Services with equal Pods have the same ones
}

// Request is what one Service holds and asks for. It is a view of the Service
// that is no wider than the decision needs.
type Request struct {
	Service  Key
	Created  time.Time
	Has      []netip.Addr // held now
	Want     []netip.Addr // asked for by address, at most one of each family
	Pool     string       // asked for by pool; empty: any
	Families Families
	Ports    []Port
	Share    Share
	Invalid  string // a request that can't be read, in words: nothing is granted
}

// Reason says why nothing is granted. Its text is part of the API.
type Reason string

// The reasons. Every Grant without addresses has one of them.
const (
	NoPool              Reason = "NoPool"
	PoolNotFound        Reason = "PoolNotFound"
	PoolNotAllowed      Reason = "PoolNotAllowed"
	PoolExhausted       Reason = "PoolExhausted"
	AddressOutsidePools Reason = "AddressOutsidePools"
	AddressInUse        Reason = "AddressInUse"
	SharingRefused      Reason = "SharingRefused"
	FamilyUnavailable   Reason = "FamilyUnavailable"
	RequestConflict     Reason = "RequestConflict"
	InvalidRequest      Reason = "InvalidRequest"
)

// Grant is the answer to a Request: addresses, or the reason why there are none.
type Grant struct {
	Addrs   []netip.Addr // in the order of Request.Families.Want
	Pools   []string     // the pool of each address
	Reason  Reason       // empty if and only if Addrs is not
	Message string       // what to look at, for people; empty with addresses, unless Moved
	Moved   string       // why a held address was taken away; empty: none was
}

// Assign answers every request. Services keep what they hold as long as the
// pools and their own requests allow it; of two that hold what they may not
// share, the older keeps it (then the smaller name). The rest is served by age,
// then name. The order of requests does not matter, and no key may come twice.
func Assign(pools Pools, requests []Request) map[Key]Grant {
	byAge := make([]*Request, len(requests))
	for i := range requests {
		byAge[i] = &requests[i]
	}
	slices.SortFunc(byAge, older)
	yields := make(map[Key]bool)
	for {
		grants, again := assign(newBook(pools, len(requests)), byAge, yields)
		if !again {
			return grants
		}
	}
}

// assign makes one attempt. A Service that can't be given all that it must have
// enters yields, and the attempt counts for nothing: next time older waiters
// come before it, and it keeps what is left of its own when its turn comes.
func assign(b *book, byAge []*Request, yields map[Key]bool) (grants map[Key]Grant, again bool) {
	grants = make(map[Key]Grant, len(byAge))
	kept := make([]holding, len(byAge))
	for i, r := range byAge {
		if !yields[r.Service] {
			kept[i] = b.keep(r)
			b.take(r, kept[i])
		}
	}
	var refused []*Request
	for i, r := range byAge {
		h := kept[i]
		if yields[r.Service] {
			h = b.keep(r)
		}
		if h.complete(r) {
			grants[r.Service] = h.grant(r)
			continue
		}
		held := len(h.addrs)
		g := b.serve(r, h)
		if g.Reason != "" {
			refused = append(refused, r)
			if held > 0 && !yields[r.Service] {
				yields[r.Service], again = true, true
			} else if held > 0 {
				g.Moved = g.Message
			}
		}
		grants[r.Service] = g
	}
	if !again {
		b.explain(refused, grants)
	}
	return grants, again
}

// explain tells the refused what stands in their way now that all are served,
// so that the next Assign says the same.
func (b *book) explain(refused []*Request, grants map[Key]Grant) {
	for _, r := range refused {
		g := b.serve(r, holding{addrs: make(map[Family]place, 2)})
		g.Moved = grants[r.Service].Moved
		grants[r.Service] = g
	}
}

// older orders requests by the age of their Services, then by name.
func older(r, s *Request) int {
	return cmp.Or(r.Created.Compare(s.Created), r.Service.Compare(s.Service))
}

// holding is what a Service has so far, by family.
type holding struct {
	addrs map[Family]place
	moved string // why something it held was not kept
}

// place is an address and the pool that it is in.
type place struct {
	addr netip.Addr
	pool *Pool
}

// complete reports whether r needs nothing more.
func (h holding) complete(r *Request) bool {
	for _, a := range r.Want {
		if h.addrs[FamilyOf(a)].addr != a {
			return false
		}
	}
	return r.Invalid == "" && len(h.addrs) == len(r.Families.Want)
}

// grant turns what is held into the answer, in the order of the families.
func (h holding) grant(r *Request) Grant {
	g := Grant{Moved: h.moved}
	for _, f := range r.Families.Want {
		if p, ok := h.addrs[f]; ok {
			g.Addrs = append(g.Addrs, p.addr)
			g.Pools = append(g.Pools, p.pool.Name)
		}
	}
	return g
}
