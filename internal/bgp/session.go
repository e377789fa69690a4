package bgp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// retryPause is the time between two attempts when the router, or its
	// administrator, must change something first. It is also the longest pause of a
	// session that keeps failing.
	retryPause = 30 * time.Second
	// fullPause is the time until a router is dialed again that takes no more routes, unless
	// there are fewer before.
	fullPause = 5 * time.Minute
	// repairPause is the time between two attempts when this node may mend the
	// problem.
	repairPause = 5 * time.Second
	// redialPause is how long the router has to finish a session before it is dialed
	// for the next one.
	redialPause = time.Second
	// stableAfter is how long a session must have been up for its loss to count as
	// the first failure of a series.
	stableAfter = time.Minute
)

// errUnwanted ends a session that is no longer wanted.
var errUnwanted = errors.New("the peer is not wanted any more")

// session holds the session with one peer, in a goroutine of its own.
type session struct {
	node   string
	log    *slog.Logger
	watch  *watch
	left   *atomic.Bool // of Sessions
	final  *atomic.Bool // of Sessions
	status *status
	want   atomic.Pointer[announce.Peering] // the latest one wins
	wake   chan struct{}                    // buffered 1
	after  <-chan struct{}                  // closed when the previous session has ended; nil: there was none
	done   chan struct{}                    // closed when run has returned
	ctx    context.Context                  // of the whole session; Run ends no later
	cancel context.CancelCauseFunc
	made   time.Time
	shown  atomic.Pointer[fsm.Session] // open, for others to read

	// Owned by the goroutine that runs.
	search       *search      // for the router of an unnumbered peer; nil: none
	open         *fsm.Session // nil: none
	ended        time.Time    // when the last one ended
	peer         announce.Peer
	capabilities fsm.Capabilities // of the peer's last OPEN
	asked        bool             // the capabilities of this run are known
	problem      string           // reason not all routes are advertised
	tried        announce.Peer    // the peer of the last attempt
	restarting   bool             // the last session was ended with Restart, and no other has been up or failed since
	fails        int              // how many connections have failed in a row
	offered      int              // how many routes were offered last
	refused      int              // how many routes were too many for the router; 0: none were
	pauseTo      time.Time        // no attempt before then, unless the peer changes
}

func newSession(ctx context.Context, s *Sessions, p announce.Peering) *session {
	n := &session{
		node:  s.node,
		log:   s.log,
		watch: s.watch,
		left:  &s.left,
		final: &s.final,
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		made:  time.Now(),
	}
	n.status = &status{log: s.log, wake: n.wake, changes: s.changed, waiting: s.waiting, peer: p.Peer}
	n.status.end()
	n.ctx, n.cancel = context.WithCancelCause(ctx)
	n.want.Store(&p)
	return n
}

func (s *session) set(p announce.Peering) {
	s.want.Store(&p)
	wait.Signal(s.wake)
}

// run runs until the session's context ends.
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
		if wait := s.recovered(s.step); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// recovered takes a step. If it panics, the session starts again after a while, and
// nothing else ends.
func (s *session) recovered(step func(announce.Peering) time.Duration) (wait time.Duration) {
	if err := fsm.Recover(func() { wait = step(*s.want.Load()) }); err != nil {
		s.stopFor(repairPause, "")
		s.status.fail(Crashed, err.Error())
		return repairPause
	}
	return wait
}

// end sends a Cease, or leaves the session to the end of the process.
func (s *session) end() {
	s.search.stop()
	unwanted := errors.Is(context.Cause(s.ctx), errUnwanted)
	if s.open != nil && s.peer.Graceful && !unwanted && !s.final.Load() && s.status.seen().session == Established {
		s.open.Leave()
		s.open = nil
		s.left.Store(true)
	}
	if unwanted {
		s.close(fsm.PeerDeconfigured)
		s.watch.set(s, announce.Peer{})
	}
	s.close(fsm.AdministrativeShutdown)
}

// step brings the session closer to what is wanted, and returns when to call it again
// if nothing happens before (0: never).
func (s *session) step(want announce.Peering) time.Duration {
	var problem sessionError
	if want.Peer, problem = s.resolvePeer(want.Peer); problem != (sessionError{}) {
		s.close(fsm.OtherConfigurationChange)
		s.watch.set(s, announce.Peer{})
		if problem.text != "" {
			s.status.fail(problem.class, problem.text)
		}
		return repairPause // a search also sends a signal when it has a result
	}
	if s.open != nil {
		s.checkSession(want)
	}
	watch := s.watchRouter(want.Peer)
	if s.open == nil {
		if len(want.Routes) < s.refused { // perhaps it takes these
			s.pauseTo, s.refused = time.Time{}, 0
		}
		if len(want.Peer.Changes(s.tried)) > 0 || want.Peer.ConnectTime != s.tried.ConnectTime {
			s.pauseTo, s.fails, s.capabilities = time.Time{}, 0, fsm.Capabilities{}
		}
		if left := time.Until(s.pauseTo); left > 0 {
			return wait.Soonest(left, watch)
		}
		if err := s.start(want); err != nil {
			s.stopFor(repairPause, err.Error())
			return repairPause
		}
	} else {
		s.offer(want)
	}
	next := wait.Soonest(s.status.settle(time.Now()), watch)
	if s.problem != "" || want.Peer.DualStack {
		return wait.Soonest(repairPause, next) // look again which next hop there is
	}
	return next
}

// watchRouter starts or ends BFD with the router of p, and returns when to call it
// again (0: never).
func (s *session) watchRouter(p announce.Peer) time.Duration {
	now := s.status.seen()
	wait := time.Until(watchFrom(p, now, s.made))
	if p.BFD.Multiplier == 0 || (now.session == Established || s.restarting) && s.watch.has(s) {
		wait = 0 // BFD is not wanted, or runs already: a session that comes up must not end it, nor one that restarts
	}
	if wait > 0 {
		p.BFD = announce.BFD{}
	}
	s.watch.set(s, p)
	return max(0, wait)
}

// resolvePeer returns the peer with the addresses of its router and of this side, or why one
// is not known. The text is empty as long as the router of an unnumbered peer is looked for.
func (s *session) resolvePeer(p announce.Peer) (announce.Peer, sessionError) {
	if s.search.on() != p.Interface {
		s.search.stop()
		s.search = newSearch(s.ctx, p.Interface, s.wake)
	}
	if p.Problem != "" {
		return p, sessionError{Unsuitable, p.Problem}
	}
	if s.open != nil && s.status.seen().session == Established && s.peer.Gateway == p.Gateway && s.peer.Source == p.Source {
		if p.Interface != "" || p.Gateway != (announce.Gateway{}) { // as long as the session lasts
			p.Addr = s.peer.Addr
		}
		if p.Source != (announce.Source{}) {
			p.SourceAddr = s.peer.SourceAddr
		}
		return p, sessionError{}
	}
	if p.Interface != "" {
		var problem string
		if p.Addr, problem = s.search.router(); !p.Addr.IsValid() {
			return p, sessionError{Unreachable, problem}
		}
	}
	p, err := resolveAddresses(p)
	if err != nil {
		return p, sessionError{Unsuitable, err.Error()}
	}
	return p, sessionError{}
}

// checkSession ends the session if it is broken, or does not fit the peer as it is
// now.
func (s *session) checkSession(want announce.Peering) {
	now := s.status.seen()
	if now.session == Established && !s.asked {
		s.capabilities, s.asked, s.restarting = s.open.Capabilities(), true, false
	}
	by, watched := s.watch.states()[s]
	switch {
	case now.broken:
		s.stopFor(repairPause, "")
	case now.lost:
		s.lost(now.up)
		if now.full {
			s.refused = s.offered
			s.pauseTo = time.Now().Add(fullPause)
		}
	case watched && now.session == Established && by.LastOutage.At.After(now.since) && pathLost(by) != "":
		if up, was := s.status.lose(pathLost(by)); was {
			s.close(fsm.BFDDown)
			s.lost(up)
		}
	case now.session == Established:
		s.edit(want)
	default:
		changes := s.peer.Changes(want.Peer)
		if len(changes) > 0 {
			s.status.reset(announce.FieldsOf(changes))
		}
		if len(changes) > 0 || s.peer.ConnectTime != want.Peer.ConnectTime {
			s.close(fsm.OtherConfigurationChange)
			return
		}
		s.adopt(want.Peer, Pending{})
	}
}

// edit puts the changes of a peer into force whose session is up: without a loss of routes
// where the router keeps them, else once no other session waits for this one. Timers alone
// are not worth a loss: the next session has them.
func (s *session) edit(want announce.Peering) {
	changes := s.tried.Changes(want.Peer) // it is open with what was tried last
	need := announce.NextSession
	for _, c := range changes {
		need = max(need, c.Need)
	}
	keeps := need < announce.Reset && s.peer.Graceful && s.capabilities.Restart
	fields := announce.FieldsOf(changes)
	switch {
	case len(changes) == 0:
		s.adopt(want.Peer, Pending{})
	case need == announce.NextSession && !keeps:
		s.adopt(want.Peer, Pending{Fields: strings.Join(fields, ", ")})
	case want.Waits:
		s.status.adopt(s.peer.Revision, Pending{strings.Join(fields, ", "), true})
	case keeps:
		s.status.reset(fields)
		s.open.Restart()
		s.over()
		s.restarting = true
	default:
		s.status.reset(fields)
		s.close(fsm.OtherConfigurationChange)
	}
}

// adopt has the session go on for the peer as it is now.
func (s *session) adopt(p announce.Peer, still Pending) {
	s.peer = p
	s.status.adopt(p.Revision, still)
}

// lost handles a failed connection, whose session was up for that long, or never. It
// is dialed again soon; each further failure doubles the pause.
func (s *session) lost(up time.Duration) {
	if up >= stableAfter {
		s.fails = 0
	}
	s.stopFor(backOff(s.fails, fsm.ConnectTime(s.peer)), "")
	s.fails++
}

// backOff returns the pause after that many failures in a row: none at first, then
// one that doubles.
func backOff(fails int, first time.Duration) time.Duration {
	if fails == 0 {
		return 0
	}
	return min(first<<min(fails-1, 5), max(first, retryPause))
}

// stopFor ends the session for a while, and records the reason unless it is empty.
func (s *session) stopFor(pause time.Duration, reason string) {
	s.restarting = false
	s.close(fsm.AdministrativeReset) // usually it has ended already
	s.pauseTo = time.Now().Add(pause)
	if reason != "" {
		s.status.fail(Unsuitable, reason)
	}
}

// start creates a session, gives it all routes, and only then opens it. So the first
// UPDATEs are complete, which graceful restart (RFC 4724) needs.
func (s *session) start(want announce.Peering) error {
	s.tried, s.asked = want.Peer, false
	run := s.status.begin(want.Peer)
	if err := fsm.Check(want.Peer); err != nil {
		return err
	}
	if err := beside(want.Peer); err != nil {
		return err
	}
	s.open, s.peer = fsm.New(s.log, want.Peer, fsm.RouterID(want.Peer, s.node), run), want.Peer
	s.shown.Store(s.open)
	s.offer(want)
	s.open.Open(time.Until(s.ended.Add(redialPause)))
	return nil
}

// offer sets the routes that the router should have.
func (s *session) offer(want announce.Peering) {
	hops, problem := nextHops(want.Peer, s.capabilities)
	offering := fsm.AdjRIBOut{Routes: want.Routes, NextHops: hops}
	s.open.Advertise(offering)
	s.problem, s.offered = problem, len(want.Routes)
	s.status.offers(offering.Len(), problem)
}

// close ends the session, if there is one.
func (s *session) close(reason fsm.Cease) {
	if s.open != nil {
		s.open.Stop(reason)
	}
	s.over()
}

// over records that the session has ended.
func (s *session) over() {
	if s.open != nil {
		s.open, s.ended = nil, time.Now()
		s.shown.Store(nil)
	}
	s.status.end()
}
