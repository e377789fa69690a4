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

// Share decides which Services may share an address with this one. The zero value: none.
type Share struct {
	Key   string // Services with the same key may share; empty: none may
	Local bool   // externalTrafficPolicy is Local
	Pods  string // names the set of Pods, of one namespace; Services with equal Pods have the same ones
}

// Request is what one Service holds and asks for. It is a view of the Service
// that is no wider than the decision needs.
type Request struct {
	Service      Key
	Created      time.Time
	Has          []netip.Addr // held now
	Want         []netip.Addr // asked for by address, none twice
	Pool         string       // asked for by pool; empty: any
	Families     Families
	Count        int // of each family it gets so many addresses if it can; 0 is 1. What it Wants counts, and may be more
	Ports        []Port
	Share        Share
	On4, On6     []string              // nodes with endpoints of each family that serve, sorted; used if Share.Local
	Invalid      string                // a request that can't be read, in words: nothing new is granted
	Contradicts  bool                  // Invalid, for two of its requests contradict each other
	Changed      bool                  // its Ports or Share differ from those it was granted what it Has for: it gives way to Services that have not changed
	GonePools    map[netip.Addr]string // of what it Has, addresses whose pool is gone, and its name: it keeps them
	Leaves       []netip.Addr          // of what it Has, addresses that a foreign host has (Occupied says so) and no node announced, or that its IPAM refuses: it gives them up for others, unless it Wants them
	Beside       []netip.Addr          // of what it Has, addresses of pools that are being replaced: it keeps them beside as many others as it asks for
	Successors   map[Family][]string   // of these families it gets addresses of the pools of these names alone, which replace those that it has some of
	Prefers      []netip.Addr          // of pools in Successors: it gets the first that it can have before any other, but those that are kept or reserved for it
	Reserved     []netip.Addr          // reserved for it: it gets the first that it can have before any other address
	Offers       []Offer               // what IPAMs have said for it
	Quotas       []*Quota              // that count its addresses: those of its namespace
	StatusLocked bool                  // its status can't be written now: it shows what it Has, whatever is decided
}

// Grant is the answer to a Request: addresses, or the reason why there are none.
// Grants share memory with one another and with requests: do not change it.
type Grant struct {
	Addrs   []netip.Addr // in the order of Request.Families.Want
	Pools   []string     // the pool of each address
	Reason  Reason       // empty if and only if Addrs is not, except for Services whose status is locked
	Message string       // what to look at, for people; with addresses: which request is not met, or empty
	Moved   string       // the reason for which a held address was taken away; empty: none was
	Asks    []Ask        // what it needs from IPAMs
}

// attempts bounds the work of a pass. In so many attempts a Service gives up its addresses
// only when it is refused. After them, any Service that lacks a required address gives up its
// own at once, so the loop ends soon. Only a chain of Services made on purpose takes more.
const attempts = 8

// Assign answers every request: grants[i] is for requests[i]. The order of requests does
// not matter (sorted by age it is the fastest). No key may come twice.
//
//  1. Services keep the addresses that they have as long as the pools and their own
//     requests allow it. Of two that have an address which they may not share, the one
//     whose request has not changed keeps it, then the older, then the smaller name. That no
//     node serves all that share an address any more takes it from none.
//  2. A deleted Service that was made again gets the address kept for it, unless another
//     Service has it that may not share it.
//  3. The others are served by age, then name. One that leaves an address is served as if it
//     did not have it. It keeps it if no other is left.
//
// A Service must have what it Wants, and one address of each family. Of further ones that its Count
// asks for it gets those that there are. Quotas limit what Services are given in 2 and 3, but not what
// they keep in 1.
//
// A Service whose status is locked is given nothing new and keeps what it shows. Exception:
// it loses an address that it may not share to a Service that keeps it and is not locked,
// or to an older locked one. Even then it goes on showing the address, so no further Service
// gets it that may not share it. The Grant of a locked Service has what it keeps, and no reason. The pool of an
// address that no pool has or had is "".
//
// Other Services get a kept address when the caller leaves it out of kept. They get one
// that is kept weakly when nothing else is left.
func Assign(pools Pools, requests []*Request, kept []Kept) []Grant {
	return new(Allocator).Assign(pools, requests, kept)
}

// Allocator is the memory that Assign uses. What is left in it from the last call
// decides nothing: it saves garbage where thousands of requests are answered many times
// a second. The zero Allocator is ready for use.
type Allocator struct {
	pass    pass
	pending []Kept
	order   []int32
	holders holders
}

// Assign is like the function of that name, except that its grants are valid only until
// the next call.
func (a *Allocator) Assign(pools Pools, requests []*Request, kept []Kept) []Grant {
	p := a.decide(pools, requests, kept)
	a.pending = p.kept.pending(&p.poolIndex, kept)
	p.allocation = nil // it is the caller's memory that it looks into
	return p.grants
}

// Pending returns what the function of that name does of the last Assign.
func (a *Allocator) Pending() []Kept { return a.pending }

// decide decides all grants, and returns the allocation that they stand in.
func (a *Allocator) decide(pools Pools, requests []*Request, kept []Kept) *pass {
	a.order = zeroed(a.order, len(requests))
	sorted, most := true, 0 // most addresses that all can have
	for i, r := range requests {
		a.order[i] = int32(i)
		most += max(len(r.Has), r.Asks()+len(r.Beside))
		sorted = sorted && (i == 0 || CompareAge(requests[i-1], r) < 0)
	}
	if !sorted {
		slices.SortFunc(a.order, func(i, j int32) int { return CompareAge(requests[i], requests[j]) })
	}
	a.holders.reset(most)
	p := &a.pass
	*p = pass{
		allocation: newAllocation(newPoolIndex(pools), requests, a.order, &a.holders),
		grants:     zeroed(p.grants, len(requests)),
		givesUp:    zeroed(p.givesUp, len(requests)),
		waiting:    zeroed(p.waiting, 0),
		locked:     p.locked,
	}
	p.kept = newKeptSet(&p.poolIndex, requests, kept)
	for n := 1; !p.attempt(n > attempts); n++ {
		p.clear()
		clear(p.grants)
	}
	return p
}

// zeroed returns n zero values, in the memory of s if that is enough; what else
// exists becomes zero as well.
func zeroed[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)
	clear(s[:cap(s)])
	return s[:n]
}

// pass is the work of one Assign. Services go by their rank in age.
type pass struct {
	*allocation
	grants  []Grant // by rank in requests, not in age
	givesUp []bool
	waiting []waiter
	locked  []int32
}

// waiter is a Service that lacks something.
type waiter struct {
	rank     int32
	retained holding
	refused  bool
	part     bool         // it keeps what it has, and lacks what it must have
	lacks    bool         // it has what it must have, and fewer addresses than its Count
	leaves   []pooledAddr // what it gives up, and counts for its quotas until it is served
}

// attempt reports whether all is decided. If a Service can't be given all that it must
// have, the attempt counts for nothing: it is rerun with that Service giving up its
// addresses. Then older waiters come before it, and it keeps what they leave of its own.
// In an urgent attempt all Services that lack something they must have give up theirs.
func (p *pass) attempt(urgent bool) (done bool) {
	p.waiting, p.locked = p.waiting[:0], p.locked[:0]
	p.retainAll()
	p.reclaim()
	done = true
	for i := range p.waiting {
		w := &p.waiting[i]
		done = p.answer(w, urgent) && done
	}
	if done {
		p.explain()
		p.needs()
	}
	return done
}

// retainAll lets each Service keep what it may: first those who ask for what they
// were granted, by age; then what locked ones show is entered; then come those whose
// request has changed. So no Service loses an address by the edit of another.
func (p *pass) retainAll() {
	changed := false
	for i := range p.order {
		switch rank := int32(i); {
		case p.request(rank).StatusLocked:
			p.locked = append(p.locked, rank)
		case p.request(rank).Changed:
			changed = true
		default:
			p.retainOwn(rank)
		}
	}
	for _, rank := range p.locked {
		p.grants[p.order[rank]] = p.enterLocked(rank)
	}
	if !changed {
		return
	}
	for i := range p.order {
		if r := p.request(int32(i)); r.Changed && !r.StatusLocked {
			p.retainOwn(int32(i))
		}
	}
	slices.SortFunc(p.waiting, func(a, b waiter) int { return cmp.Compare(a.rank, b.rank) })
}

// retainOwn lets a Service that is not locked keep what it may, unless it gives up.
func (p *pass) retainOwn(rank int32) {
	r := p.request(rank)
	if p.givesUp[rank] {
		p.waiting = append(p.waiting, waiter{rank: rank})
		return
	}
	h := p.retain(r)
	p.enterAll(rank, h, holding{})
	if h.complete(r) {
		p.grant(r, &h, &p.grants[p.order[rank]])
	} else {
		p.waiting = append(p.waiting, waiter{rank: rank, retained: h, leaves: p.leaving(r, h)})
	}
}

// answer serves a waiter, and reports whether that is final.
func (p *pass) answer(w *waiter, urgent bool) bool {
	r := p.request(w.rank)
	spent := p.spent(r)
	h, taken, ok := p.serveWaiter(r, w)
	w.refused = !ok
	if ok {
		p.enterAll(w.rank, h, taken)
		p.grant(r, &h, &p.grants[p.order[w.rank]])
	}
	gains := h.count() > w.retained.count() || w.retained.lacks(r.Want)
	if ok && r.Invalid == "" {
		w.lack(r, h)
	}
	must := r.Invalid == "" && (r.Families.All || len(r.Want) > 0)
	frees := len(w.leaves) > 0 && p.spent(r) < spent // others could not have the room
	if !taken.empty() && (!ok || urgent && must && gains) || frees {
		p.givesUp[w.rank] = true
		return false
	}
	return !ok || !p.abandon(r, h)
}

// serveWaiter returns what r has when it is served, and what of that it has already.
func (p *pass) serveWaiter(r *Request, w *waiter) (h, taken holding, ok bool) {
	for _, x := range w.leaves {
		p.giveBack(r, x)
	}
	p.drawn = nil
	if !p.givesUp[w.rank] {
		h, ok = p.serve(r, w.retained)
		return h, w.retained, ok
	}
	w.retained = p.affordable(r, p.retain(r))
	h, ok = p.serve(r, w.retained)
	if !ok && len(r.Quotas) > 0 && !w.retained.empty() { // what it asks for comes before what it has
		w.retained, p.drawn = holding{moved: "the Service asks for others, and an AddressQuota has no room for both"}, nil
		h, ok = p.serve(r, w.retained)
	}
	return h, holding{}, ok
}

// lack notes what r lacks still, which has h.
func (w *waiter) lack(r *Request, h holding) {
	w.part = r.Families.All && h.count() < len(r.Families.Want)
	if w.lacks = !w.part && h.lacking(r) != 0; w.part || w.lacks {
		w.retained = h
	}
}

// explain tells those who lack something what stands in their way now that all are served,
// so that the next Assign says the same.
func (p *pass) explain() {
	for i := range p.waiting {
		w := &p.waiting[i]
		r := p.request(w.rank)
		if w.lacks {
			p.grants[p.order[w.rank]].Message = p.lackText(r, w.retained)
		}
		if !w.refused && !w.part {
			continue
		}
		no := p.reasonFor(r, w.retained)
		if w.part {
			p.grants[p.order[w.rank]].Message = "ipFamilyPolicy RequireDualStack is not met: " + no.message
			continue
		}
		g := Grant{Reason: no.reason, Message: no.message, Moved: w.retained.moved}
		if !w.retained.empty() {
			g.Moved = g.Message
		}
		p.grants[p.order[w.rank]] = g
	}
}

// CompareAge orders requests by the age of their Services, then by name.
func CompareAge(r, s *Request) int {
	if c := r.Created.Compare(s.Created); c != 0 {
		return c
	}
	return r.Service.Compare(s.Service)
}
