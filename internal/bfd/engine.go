// Package bfd is Bidirectional Forwarding Detection: it tells within a fraction
// of a second that the path to a peer no longer works. It speaks asynchronous
// mode (RFC 5880) over one hop (RFC 5881) or several (RFC 5883), on their ports
// or another, with Meticulous Keyed SHA1 authentication if wanted. It decides
// nothing from what it finds. It sends no echo packets and does not ask for
// demand mode; a peer's wish for demand mode is obeyed.
//
// It stays ours: a daemon such as FRR's bfdd would be another program on each node, which
// the speaker would have to start, configure and watch. This engine has no sockets of its
// own, so that it serves BGP peers and the speakers' ring, and runs in virtual time.
package bfd

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Datagram is a packet as it arrived.
type Datagram struct {
	From, To netip.Addr // From is written as Port.Peer writes it
	Device   string     // that the receiving socket is bound to
	Port     uint16     // that it arrived at
	TTL      uint8      // or Hop Limit
	Payload  []byte     // valid until the receiver returns
}

// Wire carries datagrams. Its methods may be called at the same time.
type Wire interface {
	// Open gives a port to send from, and from then on to receive at.
	Open(Path) (Port, error)
	// Deliver calls receive with what arrives, from several goroutines, until ctx
	// ends.
	Deliver(ctx context.Context, receive func([]Datagram)) error
	// Drain calls receive with all that has arrived by now, before it returns.
	Drain()
}

// Port sends the packets of one session.
type Port interface {
	Send([]byte) error
	// Peer is the address that the peer's datagrams come from.
	Peer() netip.Addr
	Close() error
}

// ErrRefused is what Send returns if the peer's host said that nobody listens
// there. The packet may be sent again at once.
var ErrRefused = errors.New("the peer's host refuses the port: no BFD runs there, or not for this address")

// The reasons for which a packet is discarded because of where it came from.
var (
	ErrNoSession = errors.New("no session is wanted with the sender")
	ErrTTL       = errors.New("TTL or Hop Limit is below what the session needs: the packet crossed a router")
	ErrSource    = errors.New("the sender is not the peer of the session that the packet names")
)

const (
	// reopenAfter is how long after one try to open a session's sockets the next is made.
	reopenAfter = time.Second
	// recheckAfter is the same where nothing that is sent would show that they
	// no longer serve.
	recheckAfter = 10 * time.Second
	// openings is how many sockets are opened at most before packets are sent again.
	openings = 16
)

// Engine holds sessions.
type Engine struct {
	wire    Wire
	log     *slog.Logger
	wake    chan struct{}
	changed chan struct{}
	chance  func() float64 // from 0 up to, not including, 1

	mu       sync.Mutex
	want     []Session
	wanted   bool // want is not yet taken over
	sessions map[Path]*session
	refused  []State // what is wanted and can't be
	byDiscr  map[uint32]*session
	byPeer   map[source]*session
	queue    queue
	discards map[error]uint64
}

// source is what tells a session apart before the peer knows its discriminator.
type source struct {
	peer, local netip.Addr // local is the zero Addr if the session doesn't say
	device      string
	port        uint16
}

// New returns an engine without sessions.
func New(wire Wire, log *slog.Logger) *Engine {
	return &Engine{
		wire: wire, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), chance: rand.Float64,
		sessions: map[Path]*session{}, byDiscr: map[uint32]*session{}, byPeer: map[source]*session{}, discards: map[error]uint64{},
	}
}

// Set makes sessions the ones to hold. A session that is there no more is told
// its peer as AdminDown; at the end of Run the peers are told nothing.
func (e *Engine) Set(sessions []Session) {
	e.mu.Lock()
	e.want, e.wanted = slices.Clone(sessions), true
	e.mu.Unlock()
	wait.Signal(e.wake)
}

// Changed is signalled when States would show a change of more than counters.
// Ups and LastOutage tell of changes that nobody looked at in time.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// States returns all wanted sessions, ordered by path.
func (e *Engine) States() []State {
	e.mu.Lock()
	states := slices.Clone(e.refused)
	for _, s := range e.sessions {
		if s.left.IsZero() {
			states = append(states, s.state())
		}
	}
	e.mu.Unlock()
	slices.SortFunc(states, func(a, b State) int { return a.Session.compare(b.Session.Path) })
	return states
}

func (p Path) compare(o Path) int {
	return cmp.Or(p.Peer.Compare(o.Peer), p.Local.Compare(o.Local), cmp.Compare(p.Device, o.Device), cmp.Compare(p.Hops, o.Hops), cmp.Compare(p.Port, o.Port))
}

// Discards counts the packets that belonged to no session, by reason.
func (e *Engine) Discards() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := map[string]uint64{}
	for why, n := range e.discards {
		counts[why.Error()] = n
	}
	return counts
}

// Run holds the sessions until ctx ends. The error is of the wire.
func (e *Engine) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	delivered := make(chan error, 1)
	go func() { delivered <- e.wire.Deliver(ctx, e.receive) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer e.closeAll()
	defer stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case err := <-delivered:
			return err
		case <-e.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(e.turn()))
	}
	return <-delivered
}

// closeAll leaves the peers without a word.
func (e *Engine) closeAll() {
	e.mu.Lock()
	var ports []Port
	for _, s := range e.sessions {
		if s.port != nil {
			ports = append(ports, s.port)
			s.port = nil
		}
	}
	e.mu.Unlock()
	e.close(ports)
}

// turn does all that is due and returns when something will be.
func (e *Engine) turn() time.Time {
	var work work
	e.mu.Lock()
	e.reconcile(time.Now())
	e.pop(time.Now(), &work)
	e.mu.Unlock()

	if len(work.late) > 0 {
		// A busy machine wakes late, and then the packets that would have kept a
		// session alive wait in the socket: they come first.
		e.wire.Drain()
		e.mu.Lock()
		now := time.Now()
		for _, s := range work.late {
			s.expire(now)
			e.emit(now, s, &work)
		}
		e.mu.Unlock()
	}
	work.send()
	work.open(e.wire)

	e.mu.Lock()
	e.settle(time.Now(), &work)
	next := time.Now().Add(time.Hour)
	if len(e.queue) > 0 {
		next = e.queue[0].at
	}
	e.mu.Unlock()
	e.tell(work.changes)
	e.close(work.closing)
	return next
}

// reconcile takes over what is wanted.
func (e *Engine) reconcile(now time.Time) {
	if !e.wanted {
		return
	}
	e.wanted, e.refused = false, nil
	kept, ends := map[Path]bool{}, map[Path]bool{}
	for _, want := range e.want {
		err := want.validate()
		if err == nil && ends[want.ends()] {
			err = errors.New("another session has the same addresses, device and port")
		}
		if err != nil {
			e.refused = append(e.refused, State{Session: want, Status: Down, RemoteStatus: Down, Problem: err.Error()})
			wait.Signal(e.changed)
			continue
		}
		kept[want.Path], ends[want.ends()] = true, true
		s := e.sessions[want.Path]
		switch {
		case s == nil:
			s = newSession(now, want, e.discriminator())
			e.sessions[want.Path], e.byDiscr[s.discr] = s, s
		case s.left.IsZero() && s.wanted.equal(want):
			continue
		default:
			s.configure(now, want)
		}
		s.wanted = want
		e.schedule(s)
	}
	for path, s := range e.sessions {
		if !kept[path] {
			s.leave(now)
			e.schedule(s)
		}
	}
}

func (e *Engine) discriminator() uint32 {
	for {
		if d := rand.Uint32(); d != 0 && e.byDiscr[d] == nil {
			return d
		}
	}
}

// pop takes from the queue the sessions that have something to do.
func (e *Engine) pop(now time.Time, work *work) {
	for len(e.queue) > 0 && e.queue[0].ready(now) {
		s := heap.Pop(&e.queue).(*session)
		switch {
		case s.gone(now):
			e.forget(s, work)
			continue
		case s.expired(now):
			work.late = append(work.late, s)
		default:
			e.emit(now, s, work)
		}
		if at, ok := s.opens(); ok && !now.Before(at) && len(work.opening) < openings {
			s.tried = now
			work.opening = append(work.opening, opening{session: s, path: s.want.Path})
		}
		work.seen = append(work.seen, s)
	}
}

func (e *Engine) emit(now time.Time, s *session, work *work) {
	if s.port == nil {
		return
	}
	for {
		start := len(work.bytes)
		b, ok := s.machine.emit(now, e.chance(), work.bytes)
		if !ok {
			return
		}
		work.bytes = b
		work.sending = append(work.sending, sending{session: s, port: s.port, from: start, to: len(b)})
	}
}

// settle takes over what the turn's work came to.
func (e *Engine) settle(now time.Time, work *work) {
	for _, d := range work.sending {
		d.session.sent(now, d.err)
	}
	for _, o := range work.opening {
		e.opened(now, o, work)
	}
	for _, s := range work.seen {
		if before := s.shown; before != s.shows() {
			s.shown = s.shows()
			work.changes = append(work.changes, change{before: before, now: s.state(), left: !s.left.IsZero()})
			wait.Signal(e.changed)
		}
		e.schedule(s)
	}
}

// tell logs changes of state, and problems.
func (e *Engine) tell(changes []change) {
	for _, c := range changes {
		peer, now := c.now.Session.Peer, c.now
		if c.before.status != now.Status && !c.left {
			e.log.Info("BFD session changed", "peer", peer, "from", c.before.status.String(), "to", now.Status.String(),
				"diagnostic", now.Diagnostic.String(), "remote", now.RemoteStatus.String(), "detection", now.Detection)
		}
		if c.before.problem != now.Problem && now.Problem != "" {
			e.log.Warn("BFD session has a problem", "peer", peer, "problem", now.Problem)
		}
	}
}

// forget drops s, which then no packet finds.
func (e *Engine) forget(s *session, work *work) {
	delete(e.sessions, s.want.Path)
	delete(e.byDiscr, s.discr)
	if s.port != nil {
		delete(e.byPeer, s.source())
		work.closing = append(work.closing, s.port)
	}
	wait.Signal(e.changed)
}

func (e *Engine) close(ports []Port) {
	for _, p := range ports {
		if err := p.Close(); err != nil {
			e.log.Warn("could not close a BFD port", "peer", p.Peer(), "err", err)
		}
	}
}

// opened takes over a new port, in the place of one that no longer served.
func (e *Engine) opened(now time.Time, o opening, work *work) {
	s := o.session
	if o.err != nil {
		s.problem, s.openAt = o.err.Error(), now.Add(reopenAfter)
		return
	}
	if s.port != nil {
		delete(e.byPeer, s.source())
		work.closing = append(work.closing, s.port)
	}
	s.port, s.problem, s.openAt = o.port, "", time.Time{}
	e.byPeer[s.source()] = s
}

// schedule puts s into the queue at the time of its next work, or takes it
// out.
func (e *Engine) schedule(s *session) {
	at, ok := s.next()
	switch {
	case !ok && s.index >= 0:
		heap.Remove(&e.queue, s.index)
	case !ok:
	case s.index >= 0:
		s.at = at
		heap.Fix(&e.queue, s.index)
	default:
		s.at = at
		heap.Push(&e.queue, s)
	}
}
