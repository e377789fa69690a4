package bgp

import (
	"cmp"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// errorClearedAfter is how long a session must have been Established before its last
// error is cleared. So a session that keeps going down keeps its error.
const errorClearedAfter = 10 * time.Second

// routerErrorTimeout is how long a NOTIFICATION, sent or received, takes precedence
// over failures to connect: after an error routers refuse connections for some time
// (BIRD for 5 minutes at most).
const routerErrorTimeout = 6 * time.Minute

// status is what is known of one session. The goroutines of package fsm write it, the
// session's own reads it. It calls nothing while its lock is held.
type status struct {
	log     *slog.Logger
	wake    chan struct{} // the session's own
	changes chan struct{} // signaled when the report has changed
	waiting chan struct{} // signaled when the session begins to wait

	mu                   sync.Mutex
	peer                 announce.Peer
	run                  int  // number of the current run
	now                  view // of the current run
	since                time.Time
	offered              int
	failure              failure       // last error of the session
	routerErrorAt        time.Time     // when the last NOTIFICATION was sent or received
	problem              string        // what is wrong although the session may be up
	cause                Cause         // of the next loss; "": not known yet
	drops                map[Cause]int // how often the session was lost
	down                 time.Time     // when it was last up; at first when it was created
	announced, withdrawn int           // routes, from the time when it comes up
	resets               int           // how often it was reset for a change of the peer
	changed              string        // the fields of the last such change
	revision             string        // Peer.Revision in force
	pending              Pending
}

// view is what the session's goroutine reads about its run.
type view struct {
	session SessionState
	since   time.Time     // when session was entered
	down    time.Time     // when session was last Established
	broken  bool          // the run cannot go on
	lost    bool          // a connection to the peer has failed
	up      time.Duration // how long the session was up until it was lost
	full    bool          // it was lost because the router takes no more routes
}

// run is one fsm.Session. Events of an earlier run are ignored.
type run struct {
	status *status
	number int
}

// begin starts a new run for peer. A changed peer starts without the errors of the
// old one.
func (s *status) begin(peer announce.Peer) run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.peer.Changes(peer)) > 0 {
		s.failure, s.routerErrorAt = failure{}, time.Time{}
	}
	s.peer = peer
	s.run++
	s.problem = ""
	s.revision, s.pending = peer.Revision, Pending{}
	s.now = view{session: s.now.session}
	s.enter(Idle)
	return run{s, s.run}
}

// reset records that the session ends because these fields of the peer changed.
func (s *status) reset(fields []string) {
	s.mu.Lock()
	s.resets++
	s.changed = strings.Join(fields, ", ")
	peer, changed := s.peer, s.changed
	s.mu.Unlock()
	s.log.Info("session reset", "peer", peer.Name, "addr", peer.Addr, "changed", changed)
	wait.Signal(s.changes)
}

// adopt records which revision of the peer is in force, and which changes are not.
func (s *status) adopt(revision string, still Pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision == revision && s.pending == still {
		return
	}
	if still.Waits && !s.pending.Waits {
		wait.Signal(s.waiting)
	}
	s.revision, s.pending = revision, still
	wait.Signal(s.changes)
}

// end ends the run: the session is Idle, and later events of the run are ignored.
func (s *status) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run++
	s.offered = 0
	s.now = view{session: s.now.session}
	s.enter(Idle)
}

// enter changes the state. The lock is held.
func (s *status) enter(state SessionState) {
	if s.now.session == state {
		return
	}
	if s.now.session == Established || s.down.IsZero() {
		s.down = time.Now()
	}
	s.now.session, s.since = state, time.Now()
	wait.Signal(s.changes)
}

// StateChanged records the state that the session has entered, and the AS number of
// its peer (0: not known yet).
func (r run) StateChanged(state SessionState, asn uint32) {
	s := r.status
	s.mu.Lock()
	if r.number != s.run {
		s.mu.Unlock()
		return
	}
	was, peer, reason := s.now.session, s.peer, s.failure.text
	if state == Idle && was != Idle && was != Active {
		s.now.lost = true
		if was == Established {
			s.now.up = time.Since(s.since)
			s.drop(cmp.Or(s.cause, fsm.Unknown))
			s.now.full = s.cause == fsm.PrefixLimit
		}
	}
	if state == Established && was != Established {
		s.cause, s.failure.shown = "", nil
	}
	s.enter(state)
	s.mu.Unlock()
	switch {
	case state == was:
	case state == Established:
		s.log.Info("session established", "peer", peer.Name, "addr", peer.Addr, "asn", asn)
	case was == Established:
		s.log.Info("session lost", "peer", peer.Name, "addr", peer.Addr, "err", reason)
	}
	wait.Signal(s.wake)
}

// drop counts a loss. The lock is held.
func (s *status) drop(cause Cause) {
	if s.drops == nil {
		s.drops = map[Cause]int{}
	}
	s.drops[cause]++
}

// Sent counts the routes sent to the router.
func (r run) Sent(announced, withdrawn int) {
	s := r.status
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.number == s.run {
		s.announced, s.withdrawn = s.announced+announced, s.withdrawn+withdrawn
	}
}

// lose records that BFD found the path broken, and ends the run. It returns how long
// the session was up; false: the session had ended already.
func (s *status) lose(reason string) (up time.Duration, was bool) {
	s.mu.Lock()
	if s.now.session != Established {
		s.mu.Unlock()
		return 0, false
	}
	s.drop(fsm.PathLost)
	s.run++
	now := time.Now()
	s.failure, _ = s.failure.meet(sessionError{Failure(fsm.PathLost), reason}, now)
	s.routerErrorAt = now
	peer, up := s.peer, time.Since(s.since)
	s.enter(Idle)
	s.mu.Unlock()
	s.log.Info("session lost", "peer", peer.Name, "addr", peer.Addr, "err", reason)
	return up, true
}

// fail records an error of the session.
func (s *status) fail(class Failure, text string) {
	s.mu.Lock()
	var changed bool
	s.failure, changed = s.failure.meet(sessionError{class, text}, time.Now())
	peer := s.peer
	s.mu.Unlock()
	if changed {
		s.log.Warn("session failed", "peer", peer.Name, "addr", peer.Addr, "class", class, "err", text)
		wait.Signal(s.changes)
	}
}

// Failed records why the session failed, and the kind of failure.
func (r run) Failed(reason string, cause Cause) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	if mine {
		s.routerErrorAt, s.cause = time.Now(), cause
	}
	s.mu.Unlock()
	if mine {
		s.fail(Failure(cmp.Or(cause, fsm.Unknown)), reason)
	}
}

// ConnectFailed records why there is no connection. An error that the router itself
// reported says more, so it takes precedence for a while.
func (r run) ConnectFailed(reason string) {
	s := r.status
	s.mu.Lock()
	changes := r.number == s.run && time.Since(s.routerErrorAt) > routerErrorTimeout
	s.mu.Unlock()
	if changes {
		s.fail(Unreachable, reason)
	}
}

// Crashed records that the run must be replaced.
func (r run) Crashed(reason string) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	s.now.broken = s.now.broken || mine
	s.mu.Unlock()
	if mine {
		s.fail(Crashed, reason)
		wait.Signal(s.wake)
	}
}

// offers records how many routes are advertised, and why others are not.
func (s *status) offers(n int, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.offered || problem != s.problem {
		wait.Signal(s.changes)
	}
	s.offered, s.problem = n, problem
}

// settle clears the last error once the session has been up for long enough. Until
// then it returns how long that takes (0: there is nothing to clear).
func (s *status) settle(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.session != Established || s.failure.text == "" {
		return 0
	}
	if left := errorClearedAfter - now.Sub(s.since); left > 0 {
		return left
	}
	s.failure, s.routerErrorAt = failure{}, time.Time{}
	wait.Signal(s.changes)
	return 0
}

// seen returns what is known of the current run.
func (s *status) seen() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	now.since, now.down = s.since, s.down
	return now
}

func (s *status) report() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{
		Peer: s.peer.Name, Addr: s.peer.Addr, Session: s.now.session, Since: s.since, Failure: s.failure.class, LastError: s.failure.text,
		DropsBy: maps.Clone(s.drops), Resets: s.resets, Changed: s.changed, Announced: s.announced, Withdrawn: s.withdrawn,
		Revision: s.revision, Pending: s.pending,
	}
	for _, n := range s.drops {
		state.Drops += n
	}
	if s.failure.text == "" && s.problem != "" {
		state.Failure, state.LastError = Incomplete, s.problem
	}
	if s.now.session == Established {
		state.Advertised = s.offered
	}
	return state
}
