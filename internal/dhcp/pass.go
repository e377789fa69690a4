package dhcp

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Pass returns the messages to send now, and when to look again if nothing happens before; 0: never.
func (s *State) Pass(now time.Time) (out []Message, again time.Duration) {
	out, s.out = s.out, nil
	for _, l := range s.sorted() {
		if len(out) >= mostSent {
			return out, sendRest
		}
		if s.step(l, now) {
			out = append(out, s.send(l, now))
		}
	}
	for _, l := range s.leases {
		for _, at := range s.due(l) {
			if !at.IsZero() {
				again = wait.Soonest(again, max(at.Sub(now), time.Millisecond))
			}
		}
	}
	return out, again
}

// due returns the times when something is to be done for a lease; a zero time is none.
func (s *State) due(l *lease) []time.Time {
	switch {
	case l.phase == failed:
		return []time.Time{l.asked.Add(unasked)}
	case l.phase == releasing:
		return []time.Time{l.next}
	case !l.has():
		return []time.Time{l.next, l.asked.Add(unasked)}
	case s.watched[l.key.cluster] == 0:
		return []time.Time{l.expires}
	case l.phase == renewing:
		return []time.Time{l.next, l.t2, l.expires}
	}
	return []time.Time{l.next, l.expires}
}

// past reports whether a time has come; a zero time never does.
func past(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// step does what is due for a lease, and reports whether a message is.
func (s *State) step(l *lease, now time.Time) (sends bool) {
	switch {
	case l.has():
		if !s.keep(l, now) {
			return false
		}
	case l.phase != releasing && past(l.asked.Add(unasked), now):
		s.drop(l)
		return false
	}
	return l.phase != failed && l.phase != bound && past(l.next, now) && s.proceed(l, now)
}

// keep begins a renewal when that is due, and reports whether a lease goes on, and may be renewed.
func (s *State) keep(l *lease, now time.Time) bool {
	switch {
	case past(l.expires, now):
		s.lose(l, "no server has renewed it in time")
		return false
	case s.watched[l.key.cluster] == 0:
		return false
	case l.phase != rebinding && past(l.t2, now):
		s.enter(l, rebinding, now)
	case l.phase == bound && past(l.t1, now):
		s.enter(l, renewing, now)
	}
	return true
}

// proceed begins the next phase of an exchange where that is due, and reports whether a message is.
func (s *State) proceed(l *lease, now time.Time) (sends bool) {
	switch {
	case l.phase == discovering && l.offered.IsValid():
		s.enter(l, requesting, now)
	case l.phase == discovering && l.refused != nil:
		s.fail(l)
		return false
	case l.phase == requesting && l.tries >= mostRequests:
		s.enter(l, discovering, now)
	case l.phase == releasing && l.tries >= mostReleases:
		s.drop(l)
		return false
	}
	return true
}

// send returns the message that is due for a lease, and notes when the next one is.
func (s *State) send(l *lease, now time.Time) Message {
	if l.phase != requesting { // RFC 2131 section 4.4.1: it repeats what the offer was for
		l.secs = uint16(min(now.Sub(l.begun)/time.Second, 1<<16-1))
	}
	m := Message{Link: l.link, Family: l.key.family}
	if l.key.family == ipam.IPv6 {
		m.Payload = l.message6(now)
	} else {
		m.Payload = l.message4()
	}
	l.sent = now
	l.tries++
	pause := l.pause(now)
	about := pause / 10
	if l.key.family == ipam.IPv4 && !l.has() {
		about = time.Second // RFC 2131 section 4.1
	}
	l.next = now.Add(pause + s.within(about))
	return m
}

// within returns a random time between -d and d.
func (s *State) within(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (float64(s.Random())/(1<<31) - 1))
}

// enter begins a phase, with an exchange of its own. In DHCPv4 a request belongs to the exchange of
// the offer (RFC 2131 section 4.4.1).
func (s *State) enter(l *lease, p phase, now time.Time) {
	if p != requesting || l.key.family == ipam.IPv6 {
		s.close(l)
		for l.xid == 0 || s.exchanges[l.exchange()] != nil {
			l.xid = s.Random()
			if l.key.family == ipam.IPv6 {
				l.xid &= 1<<24 - 1
			}
		}
		s.exchanges[l.exchange()] = l
	}
	l.phase, l.tries, l.next = p, 0, now
	if p != requesting {
		l.begun = now
	}
	if p == discovering {
		l.refused, l.offered = nil, netip.Addr{}
	}
}

// close ends the exchange of a lease: answers to it count for nothing any more.
func (s *State) close(l *lease) {
	if s.exchanges[l.exchange()] == l {
		delete(s.exchanges, l.exchange())
	}
	l.xid = 0
}

// drop forgets a lease.
func (s *State) drop(l *lease) {
	s.close(l)
	if s.leases[l.key] == l {
		delete(s.leases, l.key)
	}
	if s.holders[l.Addr] == l {
		delete(s.holders, l.Addr)
	}
}

// lose ends a lease that the server has ended.
func (s *State) lose(l *lease, text string) {
	s.event(Lost, l, text)
	s.drop(l)
}

// fail ends an exchange without an address. Why is kept for the call that asks next.
func (s *State) fail(l *lease) {
	s.close(l)
	l.phase = failed
}
