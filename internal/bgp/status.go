package bgp

import (
	"cmp"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/speak"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// settled is how long a session must have been Established before its last
// error is forgotten: a session that keeps falling down keeps saying why.
const settled = 10 * time.Second

// toldLasts is how long the reason a router gave, or was given, stands against
// failures to connect: routers take no connection for some time after an error
// (BIRD for 5 minutes at most).
const toldLasts = 6 * time.Minute

// status gathers what is known of one session. The server's goroutines write
// it, the session's own reads it; nothing is called while its lock is held.
type status struct {
	log  *slog.Logger
	wake chan struct{} // the session's own
	news chan struct{} // signalled when the report has changed

	mu                   sync.Mutex
	peer                 announce.Peer
	run                  int  // number of the current run
	now                  view // of the current run
	since                time.Time
	offered              int
	failure              failure       // last error of the session
	told                 time.Time     // when the router was last heard to cause an error
	problem              string        // what is wrong although the session may be up
	cause                Cause         // of the next loss; "": not known yet
	drops                map[Cause]int // how often the session was lost
	down                 time.Time     // when it was last up; at first when it was made
	announced, withdrawn int           // routes, while it was up and when it came up
	resets               int           // how often it was made anew for a change of the peer
	changed              string        // the fields of the last such change
}

// view is what a session's own goroutine wants to know of its run.
type view struct {
	session SessionState
	since   time.Time     // when session was entered
	down    time.Time     // when session was last Established
	broken  bool          // the server has failed beyond use
	lost    bool          // a connection to the peer has failed
	up      time.Duration // how long the session was up until it was lost
}

// run is one use of a server; what an earlier one says is ignored.
type run struct {
	status *status
	number int
}

// begin starts a new run for peer. A changed peer starts without the errors of
// the old one.
func (s *status) begin(peer announce.Peer) run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.peer.Changes(peer)) > 0 {
		s.failure, s.told = failure{}, time.Time{}
	}
	s.peer = peer
	s.run++
	s.problem = ""
	s.now = view{session: s.now.session}
	s.enter(Idle)
	return run{s, s.run}
}

// reset records that a session is made anew because these fields of the peer
// have changed.
func (s *status) reset(fields []string) {
	s.mu.Lock()
	s.resets++
	s.changed = strings.Join(fields, ", ")
	peer, changed := s.peer, s.changed
	s.mu.Unlock()
	s.log.Info("session is made anew", "peer", peer.Name, "addr", peer.Addr, "changed", changed)
	wait.Signal(s.news)
}

// end closes the run: the session is Idle, and late news of it are ignored.
func (s *status) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run++
	s.offered = 0
	s.now = view{session: s.now.session}
	s.enter(Idle)
}

// enter must be called with the lock held.
func (s *status) enter(state SessionState) {
	if s.now.session == state {
		return
	}
	if s.now.session == Established || s.down.IsZero() {
		s.down = time.Now()
	}
	s.now.session, s.since = state, time.Now()
	wait.Signal(s.news)
}

// Reached records the state that the session has entered, and the AS number its
// peer has shown (0: none yet).
func (r run) Reached(state SessionState, asn uint32) {
	s := r.status
	s.mu.Lock()
	if r.number != s.run {
		s.mu.Unlock()
		return
	}
	was, peer, why := s.now.session, s.peer, s.failure.text
	if state == Idle && was != Idle && was != Active {
		s.now.lost = true
		if was == Established {
			s.now.up = time.Since(s.since)
			s.drop(cmp.Or(s.cause, speak.Unknown))
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
		s.log.Info("session lost", "peer", peer.Name, "addr", peer.Addr, "error", why)
	}
	wait.Signal(s.wake)
}

// drop counts a loss. It must be called with the lock held.
func (s *status) drop(cause Cause) {
	if s.drops == nil {
		s.drops = map[Cause]int{}
	}
	s.drops[cause]++
}

// Sent counts what the router was told.
func (r run) Sent(announced, withdrawn int) {
	s := r.status
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.number == s.run {
		s.announced, s.withdrawn = s.announced+announced, s.withdrawn+withdrawn
	}
}

// lose records that BFD has found the path of a session broken, and closes the
// run. It returns for how long the session was up; was is false if the server has
// found out meanwhile that it no longer is.
func (s *status) lose(why string) (up time.Duration, was bool) {
	s.mu.Lock()
	if s.now.session != Established {
		s.mu.Unlock()
		return 0, false
	}
	s.drop(speak.PathLost)
	s.run++
	now := time.Now()
	s.failure, _ = s.failure.meet(reason{Failure(speak.PathLost), why}, now)
	s.told = now
	peer, up := s.peer, time.Since(s.since)
	s.enter(Idle)
	s.mu.Unlock()
	s.log.Info("session lost", "peer", peer.Name, "addr", peer.Addr, "error", why)
	return up, true
}

// fail records an error of the session.
func (s *status) fail(class Failure, text string) {
	s.mu.Lock()
	var changed bool
	s.failure, changed = s.failure.meet(reason{class, text}, time.Now())
	peer := s.peer
	s.mu.Unlock()
	if changed {
		s.log.Warn("session failed", "peer", peer.Name, "addr", peer.Addr, "class", class, "error", text)
		wait.Signal(s.news)
	}
}

// Failed records why the session failed, and of what kind that is.
func (r run) Failed(why string, cause Cause) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	if mine {
		s.told, s.cause = time.Now(), cause
	}
	s.mu.Unlock()
	if mine {
		s.fail(Failure(cmp.Or(cause, speak.Unknown)), why)
	}
}

// Unreached records why there is no connection. What the router itself had to
// say says more, though, so for a while it stands.
func (r run) Unreached(why string) {
	s := r.status
	s.mu.Lock()
	news := r.number == s.run && time.Since(s.told) > toldLasts
	s.mu.Unlock()
	if news {
		s.fail(Unreachable, why)
	}
}

// Crashed records that the server is to be replaced.
func (r run) Crashed(why string) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	s.now.broken = s.now.broken || mine
	s.mu.Unlock()
	if mine {
		s.fail(Crashed, why)
		wait.Signal(s.wake)
	}
}

// offers records how many routes are on offer, and what keeps others from it.
func (s *status) offers(n int, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.offered || problem != s.problem {
		wait.Signal(s.news)
	}
	s.offered, s.problem = n, problem
}

// settle forgets the last error once the session has been up for long enough;
// until then it returns how long that still takes. 0: nothing to wait for.
func (s *status) settle(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.session != Established || s.failure.text == "" {
		return 0
	}
	if left := settled - now.Sub(s.since); left > 0 {
		return left
	}
	s.failure, s.told = failure{}, time.Time{}
	wait.Signal(s.news)
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
