package bfd

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// session is a machine, its port, and its place in the queue. The engine's lock
// guards it.
type session struct {
	*machine
	wanted Session   // as it was set
	port   Port      // nil: not open yet
	openAt time.Time // when to open or replace the port; zero: the port works
	tried  time.Time // the last attempt to open one

	problem                      string
	nSent, nReceived, nDiscarded uint64
	lastDiscard                  error
	refused                      bool  // no packet was accepted since the last discard
	ttl                          uint8 // of the last packet if it was too low; 0: it was not

	reported summary
	at       time.Time // its time in the queue
	index    int       // its place in the queue; -1: none
}

func newSession(now time.Time, want Session, discr uint32) *session {
	s := &session{machine: newMachine(now, want, discr, rand.Uint32()), wanted: want, openAt: now, index: -1}
	s.reported = s.summary()
	return s
}

// summary holds the fields of State whose change is reported.
type summary struct {
	status, remote      Status
	ups                 uint64
	outage              Outage
	transmit, detection time.Duration
	problem             string
	neverReceived       bool
	refused             error // why the last packet was refused; nil while Up, when a refusal does no harm
	ttl                 uint8
}

func (s *session) summary() summary {
	out := summary{
		status: s.status, remote: s.remote.status, ups: s.ups, outage: s.lastOutage,
		transmit: s.interval(), detection: s.detection(), problem: s.problem,
		neverReceived: s.nReceived+s.nDiscarded == 0,
	}
	if s.refused && s.status != Up {
		out.refused, out.ttl = s.lastDiscard, s.ttl
	}
	return out
}

func (s *session) state() State {
	st := State{
		Session: s.wanted, Status: s.status, Diagnostic: s.diagnostic, Since: s.since, Discriminator: s.discr,
		RemoteStatus: s.remote.status, RemoteDiagnostic: s.remote.diagnostic, RemoteDiscr: s.remote.discr, RemoteTimers: s.remote.timers,
		Transmit: s.interval(), Detection: s.detection(), Ups: s.ups, LastOutage: s.lastOutage,
		Sent: s.nSent, Received: s.nReceived, Discarded: s.nDiscarded, Problem: s.problem,
		Refused: s.refused, TTL: s.ttl,
	}
	if s.lastDiscard != nil {
		st.LastDiscard = s.lastDiscard.Error()
	}
	return st
}

func (s *session) source() source {
	return source{peer: s.port.Peer(), local: s.want.Local.WithZone(""), device: s.want.Device, port: s.want.ListenPort()}
}

// next is when the session has work; ok is false if it never has.
func (s *session) next() (at time.Time, ok bool) {
	if s.port != nil {
		at, ok = s.machine.next()
	} else if at, ok = s.deadline(); !s.forgetAt.IsZero() {
		at, ok = s.forgetAt, true
	}
	if open, must := s.opens(); must && (!ok || open.Before(at)) {
		at, ok = open, true
	}
	return at, ok
}

// opens is when to open the port, or to replace one that may no longer work; ok is false
// if the port works.
func (s *session) opens() (at time.Time, ok bool) {
	if s.openAt.IsZero() && s.waiting() { // nothing else would show that the device was deleted and created again
		return s.tried.Add(recheckAfter), true
	}
	return s.openAt, !s.openAt.IsZero()
}

// ready reports whether the session has work now.
func (s *session) ready(now time.Time) bool {
	return !now.Before(s.at) || s.port != nil && s.due(now)
}

// sent records the result of sending a packet.
func (s *session) sent(now time.Time, err error) {
	switch {
	case err == nil:
		s.nSent++
		if s.problem != ErrRefused.Error() || !s.lastReceived.IsZero() {
			s.problem = ""
		}
		return
	case errors.Is(err, ErrRefused):
		s.problem = ErrRefused.Error()
		return
	}
	s.problem = err.Error()
	if s.openAt.IsZero() { // the link or the address may have been replaced
		s.openAt = now
		if soonest := s.tried.Add(reopenAfter); now.Before(soonest) {
			s.openAt = soonest
		}
	}
}

// work is what one call of runDue does without the lock.
type work struct {
	bytes    []byte
	sending  []sending
	opening  []opening
	visited  []*session // all that were removed from the queue
	expiring []*session // those of visited whose detection time seems over
	closing  []Port
	changes  []change
}

// change is a change of a session, to be logged.
type change struct {
	before  summary
	now     State
	retired bool // the session is no longer wanted
}

type sending struct {
	session  *session
	port     Port
	from, to int // in bytes
	err      error
}

type opening struct {
	session *session
	path    Path
	port    Port
	err     error
}

func (w *work) send() {
	for i := range w.sending {
		d := &w.sending[i]
		b := w.bytes[d.from:d.to]
		if d.err = d.port.Send(b); errors.Is(d.err, ErrRefused) {
			if err := d.port.Send(b); err != nil {
				d.err = err
			}
		}
	}
}

func (w *work) open(wire Wire) {
	for i := range w.opening {
		o := &w.opening[i]
		o.port, o.err = wire.Open(o.path)
	}
}

// receive hands datagrams to their sessions.
func (e *Engine) receive(datagrams []Datagram) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	urgent := false
	for _, d := range datagrams {
		s, err := e.dispatch(now, d)
		switch {
		case s == nil:
			e.discards[err]++
			continue
		case err != nil:
			s.nDiscarded++
			s.lastDiscard, s.refused, s.ttl = err, true, 0
			if errors.Is(err, ErrTTL) {
				s.ttl = d.TTL
			}
			continue
		}
		s.nReceived++
		s.refused, s.ttl = false, 0
		if s.problem == ErrRefused.Error() {
			s.problem = ""
		}
		// Usually the next work is no earlier than before.
		if at, ok := s.next(); s.index >= 0 && (!ok || at.Before(s.at)) || s.index < 0 && ok {
			e.schedule(s)
			urgent = urgent || s.index == 0
		}
	}
	if urgent {
		wait.Signal(e.wake)
	}
}

// dispatch finds the session of a datagram (RFC 5880 §6.3, RFC 5881 §3) and hands it the
// packet. The session is nil if none was found.
func (e *Engine) dispatch(now time.Time, d Datagram) (*session, error) {
	p, auth, err := Parse(d.Payload)
	if err != nil {
		return nil, err
	}
	s := e.find(d, p)
	switch {
	case s == nil:
		return nil, ErrNoSession
	case !s.accepts(d):
		return s, ErrSource
	case d.TTL < s.minTTL():
		return s, ErrTTL
	}
	return s, s.machine.receive(now, p, d.Payload, auth)
}

// accepts reports whether d has the addresses, port and device of s.
func (s *session) accepts(d Datagram) bool {
	return s.port != nil && s.port.Peer() == d.From && s.want.ListenPort() == d.Port &&
		(s.want.Device == "" || s.want.Device == d.Device) &&
		(!s.want.Local.IsValid() || s.want.Local.WithZone("") == d.To.WithZone(""))
}

func (s *session) minTTL() uint8 {
	if s.want.Hops == SingleHop {
		return 255
	}
	return s.want.MinTTL
}

func (e *Engine) find(d Datagram, p Packet) *session {
	if p.YourDiscr != 0 {
		return e.byDiscr[p.YourDiscr]
	}
	for _, device := range [...]string{d.Device, ""} {
		for _, local := range [...]source{{local: d.To}, {}} {
			if s := e.byPeer[source{peer: d.From, local: local.local, device: device, port: d.Port}]; s != nil {
				return s
			}
		}
	}
	return nil
}

// queue orders sessions by the time of their next work.
type queue []*session

var _ heap.Interface = (*queue)(nil)

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	s := x.(*session)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last], *q, s.index = nil, (*q)[:last], -1
	return s
}
