// Package bgp holds the BGP sessions (RFC 4271) it is given and offers in each
// of them exactly the routes it is given.
//
// It decides neither which peers there are nor what they are told (package
// announce does), and it learns no routes: whatever a router sends is thrown away
// unread (package speak).
//
// A router may be watched by BFD (package bfd) beside its session: if that finds
// the path broken, the session ends at once. It never keeps one from coming up.
//
// Each peer has a session of its own, which offers that peer's routes with their
// final attributes. So there are no export policies, and no peer waits for another.
package bgp

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp/speak"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// SessionState is the state of a session, by its name in RFC 4271 section 8.2.2.
type SessionState = speak.SessionState

// The states of a session.
const (
	Idle        = speak.Idle
	Connect     = speak.Connect
	Active      = speak.Active
	OpenSent    = speak.OpenSent
	OpenConfirm = speak.OpenConfirm
	Established = speak.Established
)

// Cause is why a session was lost.
type Cause = speak.Cause

// PathLost is a loss that BFD has found.
const PathLost = speak.PathLost

// Causes lists all causes of a loss.
func Causes() []Cause { return speak.Causes() }

// SessionStates lists all states of a session.
func SessionStates() []SessionState {
	return []SessionState{Idle, Connect, Active, OpenSent, OpenConfirm, Established}
}

// State says how one session fares.
type State struct {
	Peer       string // name of the peer
	Addr       netip.Addr
	Session    SessionState
	Since      time.Time     // when Session was entered; zero: not yet begun
	Advertised int           // routes offered while Established, else 0
	Failure    Failure       // class of the last error; "": none, or long since overcome
	LastError  string        // in plain words; "": none, or long since overcome
	Drops      int           // how often the session was lost, but for what we did ourselves
	DropsBy    map[Cause]int // the same by cause; those that never happened may be missing
	Announced  int           // routes the router was told of, changed ones and those when the session came up included
	Withdrawn  int           // routes taken back in the session
	Resets     int           // how often it was made anew since fields of the peer had changed
	Changed    string        // which fields, the last time
	BFD        *bfd.State    // nil: none is wanted
}

// Sessions holds BGP sessions. Make one with New.
type Sessions struct {
	log     *slog.Logger
	node    string
	watch   *watch
	left    atomic.Bool   // a session was left to the end of the process
	changed chan struct{} // buffered 1
	wake    chan struct{} // buffered 1: want has changed

	mu   sync.Mutex // held for moments, never across a call into package speak
	want []announce.Peering
	open map[string]*session // by name of the peer
}

// New returns the Sessions of a node, which hold nothing yet. The node's name stands
// for a router ID where nothing else gives one (speak.RouterID). Nobody else may use
// the engine.
func New(log *slog.Logger, node string, engine *bfd.Engine) *Sessions {
	return &Sessions{
		log:     log,
		node:    node,
		watch:   &watch{engine: engine, want: make(map[*session]watched)},
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		open:    make(map[string]*session),
	}
}

// Set says which sessions to hold and which routes to offer; it returns at
// once, and Run does the work. A peer that is missing is told goodbye, so nil
// closes all. Changed routes of a peer are sent as a difference; a change of
// the peer itself makes its session anew if Peer.Changes says so. The same
// again sends nothing. The caller must not change what it passed in.
func (s *Sessions) Set(want []announce.Peering) {
	s.mu.Lock()
	s.want = slices.Clone(want)
	s.mu.Unlock()
	wait.Signal(s.wake)
}

// Run holds the sessions until ctx ends; then it says goodbye to every peer
// (Cease, RFC 4486) and returns nil when all sessions have ended. Those of
// graceful peers it leaves as they are, for the end of the process to end them:
// their routers then wait for the next speaker (RFC 4724). Then BFD goes on, too:
// a router that saw it end first would take that for a broken path. Call it once.
func (s *Sessions) Run(ctx context.Context) error {
	var running sync.WaitGroup
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := s.watch.run(watching); err != nil {
			s.log.Error("BFD ended", "err", err)
		}
	}()
	defer func() {
		running.Wait()
		if !s.left.Load() {
			stop()
			<-stopped
		}
	}()
	closing := make(map[string]<-chan struct{}) // sessions saying goodbye, by name
	for {
		for _, made := range s.reconcile(ctx, closing) {
			running.Go(made.run)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// reconcile hands every session its newest wish, ends those that nobody wants
// any more, and returns the new ones, which are to be run.
func (s *Sessions) reconcile(ctx context.Context, closing map[string]<-chan struct{}) []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(closing, func(_ string, done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	var made []*session
	wanted := make(map[string]bool, len(s.want))
	for _, p := range s.want {
		name := p.Peer.Name
		wanted[name] = true
		if old := s.open[name]; old != nil {
			old.set(p)
			continue
		}
		n := newSession(ctx, s, p)
		n.after = closing[name] // the router must hear the goodbye before the new hello
		s.open[name] = n
		made = append(made, n)
	}
	for name, old := range s.open {
		if !wanted[name] {
			old.cancel(errUnwanted)
			closing[name] = old.done
			delete(s.open, name)
			wait.Signal(s.changed)
		}
	}
	return made
}

// States reports on every session that is wanted, sorted by Peer.
func (s *Sessions) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	watched := s.watch.states()
	states := make([]State, 0, len(s.want))
	for _, p := range s.want {
		state := State{Peer: p.Peer.Name, Addr: p.Peer.Addr, Session: Idle}
		if open := s.open[p.Peer.Name]; open != nil {
			state = open.status.report()
		}
		if p.Peer.BFD.Multiplier != 0 {
			by, begun := watched[s.open[p.Peer.Name]]
			if !begun {
				by = bfd.State{Status: bfd.Down, RemoteStatus: bfd.Down}
			}
			state.BFD = &by
		}
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b State) int { return cmp.Compare(a.Peer, b.Peer) })
	return states
}

// Changed signals that States has changed; signals that nobody took yet merge.
func (s *Sessions) Changed() <-chan struct{} { return s.changed }
