// Package bgp holds BGP sessions (RFC 4271) and advertises in each of them exactly
// the routes that it is given.
//
// It does not decide which peers there are or which routes they receive (package
// announce does), and it learns no routes: it discards what routers send (package
// fsm).
//
// BFD (package bfd) may watch a router beside its session. If BFD finds the path
// broken, the session ends at once. BFD never prevents a session from coming up.
//
// Each peer has a session of its own, which advertises that peer's routes with their
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
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// SessionState is the state of a session, by its name in RFC 4271 section 8.2.2.
type SessionState = fsm.SessionState

// The states of a session.
const (
	Idle        = fsm.Idle
	Connect     = fsm.Connect
	Active      = fsm.Active
	OpenSent    = fsm.OpenSent
	OpenConfirm = fsm.OpenConfirm
	Established = fsm.Established
)

// Cause is why a session was lost.
type Cause = fsm.Cause

// PathLost is a loss that BFD detected.
const PathLost = fsm.PathLost

// Causes returns all causes of a loss.
func Causes() []Cause { return fsm.Causes() }

// SessionStates returns all states of a session.
func SessionStates() []SessionState {
	return []SessionState{Idle, Connect, Active, OpenSent, OpenConfirm, Established}
}

// State is the state of one session.
type State struct {
	Peer       string // name of the peer
	Addr       netip.Addr
	Session    SessionState
	Since      time.Time     // when Session was entered; zero: the session has not started
	Advertised int           // routes advertised while Established, else 0
	Failure    Failure       // class of the last error; "": none, or the session has been up for long since
	LastError  string        // the last error as a sentence; "": none, or the session has been up for long since
	Drops      int           // how often the session was lost, without the times when this side ended it
	DropsBy    map[Cause]int // the same by cause; a missing cause has 0
	Announced  int           // routes sent to the router: changed ones, and all of them when the session comes up
	Withdrawn  int           // routes withdrawn in the session
	Resets     int           // how often the session was reset because fields of the peer changed
	Changed    string        // these fields, the last time
	Revision   string        // Peer.Revision as it is in force
	Pending    Pending       // changes that are not in force
	BFD        *bfd.State    // nil: BFD is not wanted
}

// Pending are changes of a peer that are not in force yet. The zero Pending: none.
type Pending struct {
	Fields string // of the BGPPeer
	Waits  bool   // the session restarts for them when Peering.Waits allows it; else they are for the next session
}

// Sessions holds BGP sessions. Make one with New.
type Sessions struct {
	log     *slog.Logger
	node    string
	watch   *watch
	left    atomic.Bool   // a session was left to the end of the process
	final   atomic.Bool   // no other process takes the sessions up
	changed chan struct{} // buffered 1
	wake    chan struct{} // buffered 1: want has changed
	waiting chan struct{} // buffered 1

	mu   sync.Mutex // held briefly, never across a call into package fsm
	want []announce.Peering
	open map[string]*session // by name of the peer
}

// New returns the Sessions of a node, without a session. The router ID is derived
// from the node's name if nothing else gives one (fsm.RouterID). The engine must have
// no other user.
func New(log *slog.Logger, node string, engine *bfd.Engine) *Sessions {
	return &Sessions{
		log:     log,
		node:    node,
		watch:   &watch{engine: engine, want: make(map[*session]watched)},
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		waiting: make(chan struct{}, 1),
		open:    make(map[string]*session),
	}
}

// Set sets the sessions to hold and the routes to advertise. It returns at once; Run
// does the work. The session of a missing peer ends with a Cease, so nil ends all.
// Changed routes of a peer are sent as a difference. A changed peer resets its
// session if Peer.Changes says so, and Peering.Waits does not forbid it. Equal input
// sends nothing. The caller must not change what it passed in.
func (s *Sessions) Set(want []announce.Peering) {
	s.mu.Lock()
	s.want = keepLists(s.want, slices.Clone(want))
	s.mu.Unlock()
	wait.Signal(s.wake)
}

// keepLists gives peers the lists of routes that they have in before, where they are equal, and
// returns want. So no session compares them again, and memory holds them once.
func keepLists(before, want []announce.Peering) []announce.Peering {
	had := make(map[string][]announce.Route, len(before))
	for _, p := range before {
		had[p.Peer.Name] = p.Routes
	}
	type pair struct{ was, is *announce.Route } // the first ones of two lists
	equal := map[pair]bool{}
	for i, p := range want {
		was := had[p.Peer.Name]
		if len(p.Routes) == 0 || len(was) != len(p.Routes) {
			continue
		}
		lists := pair{&was[0], &p.Routes[0]}
		same, known := equal[lists]
		if !known {
			same = slices.EqualFunc(was, p.Routes, announce.Route.Equal)
			equal[lists] = same
		}
		if same {
			want[i].Routes = was
		}
	}
	return want
}

// Run holds the sessions until ctx ends. Then it sends a Cease (RFC 4486) to every
// peer, and returns nil when all sessions have ended. Call it once.
//
// Unless Finish was called, it leaves the sessions of graceful peers open until the process
// ends, so that their routers wait for the next speaker (RFC 4724). BFD keeps running as well in this
// case: to a router that saw BFD end first, the path would look broken.
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
	closing := make(map[string]<-chan struct{}) // sessions that are ending, by name
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

// Finish has the end of Run be no restart: graceful peers get a Cease as well, so that their
// routers do not keep the routes.
func (s *Sessions) Finish() { s.final.Store(true) }

// reconcile passes its peering to every session, ends those that are no longer
// wanted, and returns the new ones, which the caller must run.
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
		n.after = closing[name] // the router must see the Cease before the new OPEN
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

// States returns the state of every wanted session, sorted by Peer.
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

// Sent returns the routes that the router of a peer has received in the session that is up,
// sorted by prefix; nil: there is none.
func (s *Sessions) Sent(peer string) []announce.Sent {
	s.mu.Lock()
	open := s.open[peer]
	s.mu.Unlock()
	if open == nil || open.status.seen().session != Established {
		return nil
	}
	if shown := open.shown.Load(); shown != nil {
		return shown.Sent()
	}
	return nil
}

// Waiting signals that a session has begun to wait because of Peering.Waits.
func (s *Sessions) Waiting() <-chan struct{} { return s.waiting }

// Changed signals that States has changed. Signals merge until one is received.
func (s *Sessions) Changed() <-chan struct{} { return s.changed }
