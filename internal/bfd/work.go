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
	openAt time.Time // when to open a port, or another in its place; zero: the one it has serves
	tried  time.Time // when one was last opened

	problem                      string
	nSent, nReceived, nDiscarded uint64
	lastDiscard                  error
	refused                      bool  // nothing was taken since the last discard
	ttl                          uint8 // of the last packet if it was too low; 0: it was not

	shown shown
	at    time.Time // its time in the queue
	index int       // its place there; -1: none
}

func newSession(now time.Time, want Session, discr uint32) *session {
	s := &session{machine: newMachine(now, want, discr, rand.Uint32()), wanted: want, openAt: now, index: -1}
	s.shown = s.shows()
	return s
}

// shown is what a reader of States would call a change.
type shown struct {
	status, remote      Status
	ups                 uint64
	outage              Outage
	transmit, detection time.Duration
	problem             string
	silent              bool  // nothing has ever come
	refused             error // why the last packet was; nil also while Up: then it harms nobody
	ttl                 uint8
}

func (s *session) shows() shown {
	out := shown{
		status: s.status, remote: s.remote.status, ups: s.ups, outage: s.lastOutage,
		transmit: s.interval(), detection: s.detection(), problem: s.problem,
		silent: s.nReceived+s.nDiscarded == 0,
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

// next is when the session needs the engine; ok is false if it does not.
func (s *session) next() (at time.Time, ok bool) {
	if s.port != nil {
		at, ok = s.machine.next()
	} else if at, ok = s.deadline(); !s.left.IsZero() {
		at, ok = s.left, true
	}
	if opens, must := s.opens(); must && (!ok || opens.Before(at)) {
		at, ok = opens, true
	}
	return at, ok
}

// opens is when to open a port, or another in the place of one that may no
// longer serve; ok is false if the one it has does.
func (s *session) opens() (at time.Time, ok bool) {
	if s.openAt.IsZero() && s.waiting() { // else a device that was made anew would never be noticed
		return s.tried.Add(recheckAfter), true
	}
	return s.openAt, !s.openAt.IsZero()
}

// ready says that it does now.
func (s *session) ready(now time.Time) bool {
	return !now.Before(s.at) || s.port != nil && s.due(now)
}

// sent takes over how sending a packet went.
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
	if s.openAt.IsZero() { // the link or the address may be a new one by now
		s.openAt = now
		if soonest := s.tried.Add(reopenAfter); now.Before(soonest) {
			s.openAt = soonest
		}
	}
}

// work is what a turn does without the lock.
type work struct {
	bytes   []byte
	sending []sending
	opening []opening
	seen    []*session // all that were taken from the queue
	late    []*session // of these, whose detection time seems over
	closing []Port
	changes []change
}

// change is what there is to log of a session.
type change struct {
	before shown
	now    State
	left   bool
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

// receive gives datagrams to their sessions.
func (e *Engine) receive(datagrams []Datagram) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	hurry := false
	for _, d := range datagrams {
		s, err := e.take(now, d)
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
		// In the usual case nothing is due before what was due anyway.
		if at, ok := s.next(); s.index >= 0 && (!ok || at.Before(s.at)) || s.index < 0 && ok {
			e.schedule(s)
			hurry = hurry || s.index == 0
		}
	}
	if hurry {
		wait.Signal(e.wake)
	}
}

// take finds the session of a datagram (RFC 5880 §6.3, RFC 5881 §3) and has it
// receive the packet. The session is nil if none was found.
func (e *Engine) take(now time.Time, d Datagram) (*session, error) {
	p, auth, err := Parse(d.Payload)
	if err != nil {
		return nil, err
	}
	s := e.find(d, p)
	switch {
	case s == nil:
		return nil, ErrNoSession
	case !s.listens(d):
		return s, ErrSource
	case d.TTL < s.needsTTL():
		return s, ErrTTL
	}
	return s, s.machine.receive(now, p, d.Payload, auth)
}

// listens says that d came from where s is to hear its peer.
func (s *session) listens(d Datagram) bool {
	return s.port != nil && s.port.Peer() == d.From && s.want.ListenPort() == d.Port &&
		(s.want.Device == "" || s.want.Device == d.Device) &&
		(!s.want.Local.IsValid() || s.want.Local.WithZone("") == d.To.WithZone(""))
}

func (s *session) needsTTL() uint8 {
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

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	s := x.(*session)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last], *q, s.index = nil, (*q)[:last], -1
	return s
}
