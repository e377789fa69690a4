package dhcp

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// answer is what a server says.
type answer uint8

// The answers. The zero answer is none of use.
const (
	offers answer = iota + 1
	grants
	refuses // what was asked for
	lacks   // it has no address
)

// forever is the time of a lease that does not end.
const forever = time.Duration(math.MaxInt64)

// reply is a message of a server.
type reply struct {
	answer
	xid    uint32
	client []byte // whom it is for: client identifier or DUID; nil: it says nothing of that
	mac    []byte // of whom it is for; DHCPv6: nil
	server []byte // its identifier
	from   string // the server, to be shown
	best   bool   // it wants to be chosen before all others
	text   string // what it says, safe to show
	grant
	more  []grant      // further ones
	ended []netip.Addr // what it takes away
}

// grant is an address, and for how long.
type grant struct {
	addr   netip.Addr
	lease  time.Duration
	t1, t2 time.Duration // 0: the client decides
}

// pick has an address be the first of those that a reply has, if it is among them.
func (r *reply) pick(a netip.Addr) {
	if i := slices.IndexFunc(r.more, func(g grant) bool { return g.addr == a }); i >= 0 && r.addr != a {
		r.grant = r.more[i]
	}
}

// Receive takes in a message. One that answers nothing of ours counts for nothing.
func (s *State) Receive(m Message, now time.Time) {
	read := read4
	if m.Family == ipam.IPv6 {
		read = read6
	}
	r, ok := read(m)
	if !ok {
		return
	}
	l := s.exchanges[exchange{m.Family, r.xid}]
	if l == nil || l.link != m.Link || !l.addressed(r) {
		return
	}
	switch l.phase {
	case discovering:
		s.offer(l, r, now)
	case requesting:
		s.confirm(l, r, now)
	case renewing, rebinding:
		s.renew(l, r)
	case releasing:
		s.drop(l)
	}
}

// addressed reports whether a reply is for a lease. A server of DHCPv4 may leave out whom it is for
// (RFC 6842 tells that it must not).
func (l *lease) addressed(r reply) bool {
	if l.key.family == ipam.IPv6 {
		return bytes.Equal(r.client, l.id.duid())
	}
	return bytes.Equal(r.mac, l.id.mac[:]) && (r.client == nil || bytes.Equal(r.client, l.id.clientID()))
}

// offer takes in an offer. The first one that does is taken; in DHCPv6 others may come for a second
// before that (RFC 8415 section 18.2.1).
func (s *State) offer(l *lease, r reply, now time.Time) {
	r.pick(l.want)
	switch {
	case r.answer == lacks:
		s.refuse(l, refusal(ledger.ErrExhausted, "the %s server %s says: %s", name(l.key.family), r.from, r.text), now)
		return
	case r.answer != offers || l.offered.IsValid() && !r.best:
		return
	}
	if err := s.fits(l, r); err != nil {
		s.refuse(l, err, now)
		return
	}
	l.offered, l.server, l.from = r.addr, r.server, r.from
	if l.key.family == ipam.IPv4 || r.best || l.tries > 1 {
		s.enter(l, requesting, now)
	}
}

// refuse notes why an address can't be had. Other servers have a second more to answer.
func (s *State) refuse(l *lease, reason error, now time.Time) {
	if soon := now.Add(settleTime); !l.offered.IsValid() {
		l.refused = reason
		if soon.Before(l.next) {
			l.next = soon
		}
	}
}

// confirm takes in the answer to a request.
func (s *State) confirm(l *lease, r reply, now time.Time) {
	r.pick(l.offered)
	switch {
	case !bytes.Equal(r.server, l.server):
	case r.answer != grants && !l.want.IsValid() && l.again < mostRequests: // another client was faster
		l.again++
		s.enter(l, discovering, now)
		l.next = now.Add(settleTime/2 + s.within(settleTime/2))
	case r.answer == refuses || r.answer == lacks:
		l.refused = refusal(ledger.ErrTaken, "the %s server %s refuses %s: %s", name(l.key.family), r.from, l.offered, r.text)
		s.fail(l)
	case r.answer == grants && r.addr == l.offered:
		if l.refused = s.fits(l, r); l.refused != nil {
			s.fail(l)
			return
		}
		s.bind(l, r)
		s.event(Leased, l, "")
	}
}

// renew takes in the answer to a renewal. While one server is asked no other one can end the lease:
// all servers on the link hear the request.
func (s *State) renew(l *lease, r reply) {
	r.pick(l.Addr)
	same := bytes.Equal(r.server, l.server)
	switch {
	case !same && l.phase == renewing:
	case r.answer == grants && r.addr == l.Addr && r.lease >= shortest:
		s.bind(l, r)
	case r.answer == refuses || slices.Contains(r.ended, l.Addr):
		s.lose(l, fmt.Sprintf("the %s server %s says: %s", name(l.key.family), r.from, r.text))
	}
}

// bind takes in that an address is leased. Its time counts from the request (RFC 2131 section 4.4.1).
func (s *State) bind(l *lease, r reply) {
	s.close(l)
	l.Addr, l.server, l.from, l.phase, l.offered = r.addr, r.server, r.from, bound, netip.Addr{}
	s.holders[l.Addr] = l
	l.t1, l.t2, l.expires, l.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if r.lease == forever {
		return
	}
	if r.t1 <= 0 || r.t2 <= r.t1 || r.lease <= r.t2 {
		r.t1, r.t2 = r.lease/2, r.lease*7/8 // RFC 2131 section 4.4.5
	}
	r.t1 -= r.t1/20 + s.within(r.t1/20) // leases that began together are not renewed together
	l.t1, l.t2, l.expires = l.sent.Add(max(r.t1, shortest/2)), l.sent.Add(r.t2), l.sent.Add(r.lease)
	l.next = l.t1
}

// fits returns why an address that was offered does not do; nil: it does.
func (s *State) fits(l *lease, r reply) error {
	offers := func(format string, args ...any) error {
		return refusal(ledger.ErrTaken, "the %s server %s offers %s, "+format, append([]any{name(l.key.family), r.from, r.addr}, args...)...)
	}
	switch other := s.holders[r.addr]; {
	case !r.addr.IsGlobalUnicast() || r.addr.Is4In6() || ipam.FamilyOf(r.addr) != l.key.family:
		return offers("which no host can have")
	case l.want.IsValid() && r.addr != l.want:
		return offers("and not %s", l.want)
	case s.Own(r.addr):
		return offers("which this machine itself has")
	case other != nil && other != l:
		return offers("which Service %s has: it does not tell clients apart", printable.Word(other.Namespace+"/"+other.Name))
	case r.lease < shortest:
		return offers("for %s only; at least %s is needed", r.lease, shortest)
	}
	return nil
}
