// Package fsm holds one BGP session (RFC 4271), with a peer that receives routes and
// whose own routes are not wanted: the finite state machine of section 8, the
// messages, and the socket options.
//
// It parses only what it must: the header of each message, the router's OPEN and its
// NOTIFICATION. It counts the router's UPDATEs and discards them unread, so a router
// can neither confuse nor fill this node. A panic in a session ends that session
// only. GoBGP's packet library encodes what is sent.
//
// It does not decide when a session begins and ends, or what it advertises: package
// bgp does.
package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// SessionState is the state of a session, by its name in RFC 4271 section 8.2.2.
type SessionState string

// The states of a session. Connect is never entered: the state is Active while the
// peer is dialed.
const (
	Idle        SessionState = "Idle"
	Connect     SessionState = "Connect"
	Active      SessionState = "Active"
	OpenSent    SessionState = "OpenSent"
	OpenConfirm SessionState = "OpenConfirm"
	Established SessionState = "Established"
)

// Listener receives the events of a session. Its methods must return at once and must
// not call the Session.
type Listener interface {
	// StateChanged reports the new state, and the AS number in the peer's OPEN (0:
	// none yet). After Idle the session is over.
	StateChanged(state SessionState, peerASN uint32)
	// ConnectFailed reports why there is no connection to the peer.
	ConnectFailed(reason string)
	// Failed reports why a connected session failed, and the cause if it had been up
	// ("": not known).
	Failed(reason string, cause Cause)
	// Sent reports how many routes were advertised, and how many were withdrawn.
	Sent(announced, withdrawn int)
	// Crashed reports that the session panicked and must be replaced.
	Crashed(reason string)
}

// Session is a session with one peer, from Open to Stop or to its failure. Make one
// with New.
type Session struct {
	log      *slog.Logger
	peer     announce.Peer
	routerID netip.Addr
	to       Listener

	ctx          context.Context // ends with Stop
	cancel       context.CancelCauseFunc
	ended        chan struct{} // closed when the session is over
	opened       atomic.Bool
	unsubscribed atomic.Bool   // the listener receives no more events
	wake         chan struct{} // buffered 1: want has changed
	want         atomic.Pointer[AdjRIBOut]
	sent         atomic.Pointer[sent] // nil: nothing

	updates atomic.Uint64 // UPDATEs received and discarded

	mu           sync.Mutex
	capabilities Capabilities
}

// stopTimeout limits how long Stop waits. A Cease normally takes a millisecond.
const stopTimeout = 5 * time.Second

// New returns a session with p that is not open yet, and advertises nothing.
func New(log *slog.Logger, p announce.Peer, routerID netip.Addr, to Listener) *Session {
	s := &Session{log: log, peer: p, routerID: routerID, to: to, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background()) // Stop ends the session, or the end of the process
	s.want.Store(&AdjRIBOut{})
	return s
}

// Advertise sets the routes that the peer should have. Before Open they are what the
// peer receives first; later the difference is sent. The caller must not change the
// routes.
func (s *Session) Advertise(o AdjRIBOut) {
	s.want.Store(&o)
	wait.Signal(s.wake)
}

// Open starts the session: after the pause it dials until there is a connection. Call
// it once.
func (s *Session) Open(pause time.Duration) {
	s.opened.Store(true)
	go s.guard("session", func() {
		defer close(s.ended)
		if wait.Sleep(s.ctx, pause) {
			s.run()
		}
	})
}

// guard runs a part of the session. A panic in it ends the session only.
func (s *Session) guard(what string, run func()) {
	defer func() {
		if r := recover(); r != nil {
			s.cancel(fmt.Errorf("panic: %v", r))
			s.report(func(to Listener) { to.Crashed(fmt.Sprintf("the BGP %s failed and is restarted: %v", what, r)) })
		}
	}()
	run()
}

// Recover calls f and returns a panic in it as an error. Code that reads from the
// network must not end the process.
func Recover(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("BGP failed on this node and is restarted: %v", r)
		}
	}()
	f()
	return nil
}

// Stop sends a Cease to the peer, which then removes the routes at once, and ends the
// session. The listener receives no more events.
func (s *Session) Stop(reason Cease) { s.stop(reason) }

// Restart ends the session without a NOTIFICATION: a peer that supports graceful restart
// keeps the routes, and waits for the next session (RFC 4724 section 4.2). The listener
// receives no more events.
func (s *Session) Restart() { s.stop(errRestart) }

// errRestart ends a session that starts again.
var errRestart = errors.New("the session starts again")

func (s *Session) stop(reason error) {
	s.unsubscribed.Store(true)
	s.cancel(reason)
	if !s.opened.Load() {
		return
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-s.ended:
	case <-timeout.C:
		s.log.Warn("abandoned a BGP session that does not stop", "peer", s.peer.Name)
	}
}

// Leave leaves the session open until the process ends, which a peer takes for a
// restart (RFC 4724). The listener receives no more events.
func (s *Session) Leave() { s.unsubscribed.Store(true) }

// Updates returns how many UPDATEs the peer has sent, all of them discarded.
func (s *Session) Updates() uint64 { return s.updates.Load() }

// sent is what a peer has received, and how it was encoded.
type sent struct {
	AdjRIBOut
	encoder
}

// Sent returns the routes that the peer has received, as it was sent them, sorted by prefix.
func (s *Session) Sent() []announce.Sent {
	was := s.sent.Load()
	if was == nil {
		return nil
	}
	out := make([]announce.Sent, 0, len(was.Routes))
	for i := range was.Routes {
		if p, offered := was.at(i); offered {
			out = append(out, was.sends(p))
		}
	}
	return out
}

// Capabilities returns what the peer's OPEN offers.
func (s *Session) Capabilities() Capabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capabilities
}

func (s *Session) agree(t Capabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capabilities = t
}

// report calls the listener, unless it has unsubscribed.
func (s *Session) report(event func(Listener)) {
	if !s.unsubscribed.Load() {
		event(s.to)
	}
}
