package bgp

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/speak"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// retryPause lies between two attempts at what the router, or someone who
	// configures it, must change first; and it is the longest that a session
	// which keeps failing is left alone.
	retryPause = 30 * time.Second
	// repairPause lies between two attempts at what this node may mend.
	repairPause = 5 * time.Second
	// redialPause is how long a router is given to be done with a session before it
	// is dialed for the next one.
	redialPause = time.Second
	// steady is how long a session must have been up for its loss to be the
	// first of a series.
	steady = time.Minute
)

// errUnwanted is why a session ends that nobody wants any more.
var errUnwanted = errors.New("the peer is not wanted any more")

// session holds the session with one peer in a goroutine of its own.
type session struct {
	node   string
	log    *slog.Logger
	watch  *watch
	left   *atomic.Bool // of Sessions
	status *status
	want   atomic.Pointer[announce.Peering] // the latest wish wins
	wake   chan struct{}                    // buffered 1
	after  <-chan struct{}                  // closed when a forerunner has ended; nil: there is none
	done   chan struct{}                    // closed when run has returned
	ctx    context.Context                  // of the whole session, which outlives no Run
	cancel context.CancelCauseFunc
	made   time.Time

	// Owned by the goroutine that runs.
	search  *search        // for the router of an unnumbered peer; nil: none
	open    *speak.Session // nil: none
	ended   time.Time      // when the last one did
	peer    announce.Peer
	terms   speak.Terms   // that the peer last offered
	asked   bool          // for the terms of this run
	problem string        // why not all routes are on offer
	tried   announce.Peer // the peer of the last attempt
	fails   int           // how many connections have failed in a row
	pauseTo time.Time     // no attempt before, unless the peer changes
}

func newSession(ctx context.Context, s *Sessions, p announce.Peering) *session {
	n := &session{
		node:  s.node,
		log:   s.log,
		watch: s.watch,
		left:  &s.left,
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		made:  time.Now(),
	}
	n.status = &status{log: s.log, wake: n.wake, news: s.changed, peer: p.Peer}
	n.status.end()
	n.ctx, n.cancel = context.WithCancelCause(ctx)
	n.want.Store(&p)
	return n
}

func (s *session) set(p announce.Peering) {
	s.want.Store(&p)
	wait.Signal(s.wake)
}

// run works until the session's context ends.
func (s *session) run() {
	defer close(s.done)
	defer s.cancel(nil)
	defer s.end()
	if s.after != nil {
		<-s.after
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
		if wait := s.contained(s.step); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// contained takes a step. Should that panic, the session begins anew after a while, and
// nothing else ends.
func (s *session) contained(step func(announce.Peering) time.Duration) (wait time.Duration) {
	if err := speak.Contained(func() { wait = step(*s.want.Load()) }); err != nil {
		s.stopFor(repairPause, "")
		s.status.fail(Crashed, err.Error())
		return repairPause
	}
	return wait
}

// end says goodbye, or leaves the session to the end of the process.
func (s *session) end() {
	s.search.stop()
	unwanted := errors.Is(context.Cause(s.ctx), errUnwanted)
	if s.open != nil && s.peer.Graceful && !unwanted && s.status.seen().session == Established {
		s.open.Leave()
		s.open = nil
		s.left.Store(true)
	}
	if unwanted {
		s.hangUp(speak.PeerDeconfigured)
		s.watch.set(s, announce.Peer{})
	}
	s.hangUp(speak.AdministrativeShutdown)
}

// step brings the session nearer to the wish, and returns when to look again
// if nothing happens before (0: never).
func (s *session) step(want announce.Peering) time.Duration {
	var ok bool
	if want.Peer, ok = s.locate(want.Peer); !ok {
		s.hangUp(speak.OtherConfigurationChange)
		s.watch.set(s, announce.Peer{})
		return 0 // the search wakes us
	}
	if s.open != nil {
		s.review(want.Peer)
	}
	watch := s.watchRouter(want.Peer)
	if s.open == nil {
		if len(want.Peer.Changes(s.tried)) > 0 || want.Peer.ConnectTime != s.tried.ConnectTime {
			s.pauseTo, s.fails, s.terms = time.Time{}, 0, speak.Terms{}
		}
		if wait := time.Until(s.pauseTo); wait > 0 {
			return soonest(wait, watch)
		}
		if err := s.start(want); err != nil {
			s.stopFor(repairPause, err.Error())
			return repairPause
		}
	} else {
		s.offer(want)
	}
	wait := soonest(s.status.settle(time.Now()), watch)
	if s.problem != "" {
		return soonest(repairPause, wait) // look whether there is a next hop by now
	}
	return wait
}

// soonest is the smaller of two waits, of which 0 never ends.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// watchRouter begins or ends BFD with the router of p, and returns when to look
// again (0: never).
func (s *session) watchRouter(p announce.Peer) time.Duration {
	now := s.status.seen()
	wait := time.Until(watchFrom(p, now, s.made))
	if p.BFD.Multiplier == 0 || now.session == Established && s.watch.has(s) {
		wait = 0 // nothing is to begin, or it has: a session that comes up then must not end it
	}
	if wait > 0 {
		p.BFD = announce.BFD{}
	}
	s.watch.set(s, p)
	return max(0, wait)
}

// locate returns the peer with the address at which its router is, which is to
// be found first if the peer is unnumbered.
func (s *session) locate(p announce.Peer) (_ announce.Peer, ok bool) {
	if s.search.on() != p.Interface {
		s.search.stop()
		s.search = newSearch(s.ctx, p.Interface, s.wake)
	}
	if p.Interface == "" {
		return p, true
	}
	if s.open != nil && s.status.seen().session == Established {
		p.Addr = s.peer.Addr // as long as it lasts
		return p, true
	}
	var problem string
	if p.Addr, problem = s.search.router(); problem != "" {
		s.status.fail(Unreachable, problem)
	}
	return p, p.Addr.IsValid()
}

// review ends the session if it can't go on, or not for the peer as it is now.
func (s *session) review(peer announce.Peer) {
	now := s.status.seen()
	if now.session == Established && !s.asked {
		s.terms, s.asked = s.open.Terms(), true
	}
	changes := s.peer.Changes(peer)
	by, watched := s.watch.states()[s]
	switch {
	case now.broken:
		s.stopFor(repairPause, "")
	case now.lost:
		s.lost(now.up)
	case watched && now.session == Established && by.LastOutage.At.After(now.since) && severed(by) != "":
		if up, was := s.status.lose(severed(by)); was {
			s.hangUp(speak.BFDDown)
			s.lost(up)
		}
	case len(changes) > 0:
		s.status.reset(changes)
		s.hangUp(speak.OtherConfigurationChange)
	case s.peer.ConnectTime != peer.ConnectTime && now.session != Established:
		s.hangUp(speak.OtherConfigurationChange)
	default:
		s.peer = peer
	}
}

// lost deals with a connection that has failed after the session was up for
// that long, or never: it is dialed again soon. One failure after another takes
// longer and longer.
func (s *session) lost(up time.Duration) {
	if up >= steady {
		s.fails = 0
	}
	s.stopFor(backOff(s.fails, speak.ConnectTime(s.peer)), "")
	s.fails++
}

// backOff is the pause after as many failures in a row: none at first, then one
// that doubles.
func backOff(fails int, first time.Duration) time.Duration {
	if fails == 0 {
		return 0
	}
	return min(first<<min(fails-1, 5), max(first, retryPause))
}

// stopFor ends the session for a while, with a word why unless there is one.
func (s *session) stopFor(pause time.Duration, why string) {
	s.hangUp(speak.AdministrativeReset) // as a rule it is over already
	s.pauseTo = time.Now().Add(pause)
	if why != "" {
		s.status.fail(Unsuitable, why)
	}
}

// start makes a session, gives it all routes, and only then opens it: the first
// UPDATEs are complete, which a graceful restart (RFC 4724) depends on.
func (s *session) start(want announce.Peering) error {
	s.tried, s.asked = want.Peer, false
	run := s.status.begin(want.Peer)
	if err := speak.Check(want.Peer); err != nil {
		return err
	}
	s.open, s.peer = speak.New(s.log, want.Peer, speak.RouterID(want.Peer, s.node), run), want.Peer
	s.offer(want)
	s.open.Open(time.Until(s.ended.Add(redialPause)))
	return nil
}

// offer says what the router is to be told.
func (s *session) offer(want announce.Peering) {
	hops, problem := nextHops(want.Peer, s.terms)
	offering := speak.Offering{Routes: want.Routes, Hops: hops}
	s.open.Offer(offering)
	s.problem = problem
	s.status.offers(offering.Len(), problem)
}

// hangUp ends the session, if there is one.
func (s *session) hangUp(why speak.Goodbye) {
	if s.open != nil {
		s.open.Stop(why)
		s.open, s.ended = nil, time.Now()
	}
	s.status.end()
}
