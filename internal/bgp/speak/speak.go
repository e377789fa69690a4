// Package speak holds a BGP session (RFC 4271) with one peer that is told routes
// and asked for none.
//
// It parses what it must: the header of each message, the router's OPEN and its
// NOTIFICATION. An UPDATE of the router is counted and thrown away unread, so a
// router can neither confuse nor fill this node. A panic in a session ends that
// session alone. Package gobgp encodes what is sent.
//
// It decides nothing: package bgp says when a session begins and ends, and what
// is offered in it.
package speak

import (
	"context"
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

// The states of a session. Connect is never entered: the time in which the peer is
// dialed counts as Active.
const (
	Idle        SessionState = "Idle"
	Connect     SessionState = "Connect"
	Active      SessionState = "Active"
	OpenSent    SessionState = "OpenSent"
	OpenConfirm SessionState = "OpenConfirm"
	Established SessionState = "Established"
)

// Listener hears of a session. It must return at once and not call the Session.
type Listener interface {
	// Reached tells the state the session has entered, and the AS number in
	// the peer's OPEN (0: none yet). After Idle the session is over.
	Reached(state SessionState, peerASN uint32)
	// Unreached tells in plain words why there was no connection to the peer.
	Unreached(why string)
	// Failed tells in plain words why a session failed over its connection, and
	// the cause if it had been up ("": not known).
	Failed(why string, cause Cause)
	// Sent tells how many routes the peer was told of, and how many were withdrawn.
	Sent(announced, withdrawn int)
	// Crashed tells that the session itself failed and should be replaced.
	Crashed(why string)
}

// Session is a session with one peer, from Open to Stop or to its failure. Make
// one with New.
type Session struct {
	log      *slog.Logger
	peer     announce.Peer
	routerID netip.Addr
	to       Listener

	ctx    context.Context // ends with Stop
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when the session is over
	opened atomic.Bool
	deaf   atomic.Bool   // nobody listens any more
	wake   chan struct{} // buffered 1: want has changed
	want   atomic.Pointer[Offering]

	updates atomic.Uint64 // UPDATEs received, and thrown away

	mu    sync.Mutex
	terms Terms
}

// stopTimeout bounds a goodbye. It normally takes a millisecond.
const stopTimeout = 5 * time.Second

// New returns a session with p that is not begun, and offers nothing.
func New(log *slog.Logger, p announce.Peer, routerID netip.Addr, to Listener) *Session {
	s := &Session{log: log, peer: p, routerID: routerID, to: to, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background()) // a session outlives no Stop, but may be left to the process
	s.want.Store(&Offering{})
	return s
}

// Offer says what the peer is to be told. Before Open it is what the peer hears
// first; later, the difference is sent. The caller must not change the routes.
func (s *Session) Offer(o Offering) {
	s.want.Store(&o)
	wait.Signal(s.wake)
}

// Open begins the session: after a pause it dials until there is a connection. Call
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

// guard runs part of the session. A panic there ends the session, and nothing else.
func (s *Session) guard(what string, run func()) {
	defer func() {
		if r := recover(); r != nil {
			s.cancel(fmt.Errorf("panic: %v", r))
			s.tell(func(to Listener) { to.Crashed(fmt.Sprintf("the BGP %s failed and is restarted: %v", what, r)) })
		}
	}()
	run()
}

// Contained runs f, and makes a panic there an error: what faces the network must not
// end the process.
func Contained(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("BGP failed on this node and is restarted: %v", r)
		}
	}()
	f()
	return nil
}

// Stop says goodbye to the peer (its routes are gone at once) and ends the session. No
// news of it comes any more.
func (s *Session) Stop(why Goodbye) {
	s.deaf.Store(true)
	s.cancel(why)
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

// Leave leaves the session to the end of the process, which a peer takes for a
// restart (RFC 4724). No news of it comes any more.
func (s *Session) Leave() { s.deaf.Store(true) }

// Updates returns how many UPDATEs the peer has sent, all of them thrown away.
func (s *Session) Updates() uint64 { return s.updates.Load() }

// Terms returns the terms of the peer's OPEN.
func (s *Session) Terms() Terms {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms
}

func (s *Session) agree(t Terms) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terms = t
}

// tell calls the listener, unless it wants to hear nothing any more.
func (s *Session) tell(news func(Listener)) {
	if !s.deaf.Load() {
		news(s.to)
	}
}
