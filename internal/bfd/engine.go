// Package bfd implements Bidirectional Forwarding Detection, which detects within a
// fraction of a second that the path to a peer no longer works. It implements
// asynchronous mode (RFC 5880) over one hop (RFC 5881) or several (RFC 5883), on the
// standard ports or another, with optional authentication by SHA1. It sends no echo
// packets and does not ask for demand mode; it honors a peer's request for demand mode.
//
// It decides the state of each session. It does not decide what follows from a session
// that is Down: the callers do (bgp, membership).
//
// Why not a daemon such as FRR's bfdd: it would be another program on each node, which
// the speaker would have to start, configure and watch. This engine opens no sockets
// itself, so that BGP peers and the speakers' membership share it, and tests run it in
// virtual time.
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
	Device   string     // the device that the receiving socket is bound to
	Port     uint16     // the local port
	TTL      uint8      // or Hop Limit
	Payload  []byte     // valid until the receiver returns
}

// Wire carries datagrams. Its methods may be called concurrently.
type Wire interface {
	// Open returns a port that sends, and receives from then on.
	Open(Path) (Port, error)
	// Deliver calls receive with the datagrams that arrive, from several goroutines,
	// until ctx ends.
	Deliver(ctx context.Context, receive func([]Datagram)) error
	// Drain calls receive with all datagrams that have arrived by now, and returns
	// afterwards.
	Drain()
}

// Port sends the packets of one session.
type Port interface {
	Send([]byte) error
	// Peer is the address that the peer's datagrams come from.
	Peer() netip.Addr
	Close() error
}

// ErrRefused is what Send returns if the peer's host answered "port unreachable" to an
// earlier packet. The packet may be sent again at once.
var ErrRefused = errors.New("the peer's host refuses the port: no BFD runs there, or not for this address")

// The reasons to discard a packet because of its source.
var (
	ErrNoSession = errors.New("no session is wanted with the sender")
	ErrTTL       = errors.New("TTL or Hop Limit is below what the session needs: the packet crossed a router")
	ErrSource    = errors.New("the sender is not the peer of the session that the packet names")
)

const (
	// reopenAfter is the pause between two attempts to open a session's sockets.
	reopenAfter = time.Second
	// recheckAfter is how often a passive session that sends nothing opens new sockets:
	// no failed send would show that the old ones no longer work.
	recheckAfter = 10 * time.Second
	// maxOpening limits how many sockets are opened before packets are sent again.
	maxOpening = 16
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
	wanted   bool // want has changed and is not applied yet
	sessions map[Path]*session
	refused  []State // of the invalid sessions in want
	byDiscr  map[uint32]*session
	byPeer   map[source]*session
	queue    queue
	discards map[error]uint64
}

// source identifies a session while the peer does not know its discriminator yet.
type source struct {
	peer, local netip.Addr // local is the zero Addr if the session names none
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

// Set replaces the wanted sessions. The engine signals AdminDown to the peer of a session
// that is no longer wanted. At the end of Run it signals nothing.
func (e *Engine) Set(sessions []Session) {
	e.mu.Lock()
	e.want, e.wanted = slices.Clone(sessions), true
	e.mu.Unlock()
	wait.Signal(e.wake)
}

// Changed receives a signal when anything but counters has changed in States. A slow
// reader misses intermediate states; Ups and LastOutage still show that they occurred.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// States returns the state of each wanted session, ordered by path.
func (e *Engine) States() []State {
	e.mu.Lock()
	states := slices.Clone(e.refused)
	for _, s := range e.sessions {
		if s.forgetAt.IsZero() {
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

// Discards returns how many packets belonged to no session, by reason.
func (e *Engine) Discards() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := map[string]uint64{}
	for reason, n := range e.discards {
		counts[reason.Error()] = n
	}
	return counts
}

// Run runs the sessions until ctx ends. It returns the wire's error.
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
		timer.Reset(time.Until(e.runDue()))
	}
	return <-delivered
}

// closeAll closes all ports and sends the peers nothing.
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

// runDue does all work that is due, and returns when the next is.
func (e *Engine) runDue() time.Time {
	var work work
	e.mu.Lock()
	e.reconcile(time.Now())
	e.pop(time.Now(), &work)
	e.mu.Unlock()

	if len(work.expiring) > 0 {
		// On a busy machine this goroutine may wake late, while packets that keep a
		// session alive wait in the socket. They are read first.
		e.wire.Drain()
		e.mu.Lock()
		now := time.Now()
		for _, s := range work.expiring {
			s.expire(now)
			e.emit(now, s, &work)
		}
		e.mu.Unlock()
	}
	work.send()
	work.open(e.wire)

	e.mu.Lock()
	e.finish(time.Now(), &work)
	next := time.Now().Add(time.Hour)
	if len(e.queue) > 0 {
		next = e.queue[0].at
	}
	e.mu.Unlock()
	e.logChanges(work.changes)
	e.close(work.closing)
	return next
}

// reconcile applies a change of want.
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
		case s.forgetAt.IsZero() && s.wanted.equal(want):
			continue
		default:
			s.configure(now, want)
		}
		s.wanted = want
		e.schedule(s)
	}
	for path, s := range e.sessions {
		if !kept[path] {
			s.retire(now)
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

// pop removes from the queue the sessions whose work is due, and collects that work.
func (e *Engine) pop(now time.Time, work *work) {
	for len(e.queue) > 0 && e.queue[0].ready(now) {
		s := heap.Pop(&e.queue).(*session)
		switch {
		case s.forgettable(now):
			e.forget(s, work)
			continue
		case s.expired(now):
			work.expiring = append(work.expiring, s)
		default:
			e.emit(now, s, work)
		}
		if at, ok := s.opens(); ok && !now.Before(at) && len(work.opening) < maxOpening {
			s.tried = now
			work.opening = append(work.opening, opening{session: s, path: s.want.Path})
		}
		work.visited = append(work.visited, s)
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

// finish records the results of the work that was done without the lock.
func (e *Engine) finish(now time.Time, work *work) {
	for _, d := range work.sending {
		d.session.sent(now, d.err)
	}
	for _, o := range work.opening {
		e.opened(now, o, work)
	}
	for _, s := range work.visited {
		if before := s.reported; before != s.summary() {
			s.reported = s.summary()
			work.changes = append(work.changes, change{before: before, now: s.state(), retired: !s.forgetAt.IsZero()})
			wait.Signal(e.changed)
		}
		e.schedule(s)
	}
}

// logChanges logs changes of state and new problems.
func (e *Engine) logChanges(changes []change) {
	for _, c := range changes {
		peer, now := c.now.Session.Peer, c.now
		if c.before.status != now.Status && !c.retired {
			e.log.Info("BFD session changed", "peer", peer, "from", c.before.status.String(), "to", now.Status.String(),
				"diagnostic", now.Diagnostic.String(), "remote", now.RemoteStatus.String(), "detection", now.Detection)
		}
		if c.before.problem != now.Problem && now.Problem != "" {
			e.log.Warn("BFD session has a problem", "peer", peer, "problem", now.Problem)
		}
	}
}

// forget removes s from the engine.
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

// opened records the result of opening a port, and replaces the session's old port.
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

// schedule queues s for the time of its next work, or removes it from the queue if it
// has none.
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
