package bgp

import (
	"log/slog"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
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
	log     *slog.Logger
	wake    chan struct{} // the session's own
	changed chan struct{} // that of Sessions

	mu      sync.Mutex
	peer    announce.Peer
	run     int // number of the current run
	session SessionState
	since   time.Time
	peerASN uint32 // from the peer's OPEN; 0: not known
	offered int
	failure string    // last error of the session
	told    time.Time // when the router was last heard to cause an error
	problem string    // what is wrong although the session may be up
	broken  bool      // the server of this run has failed beyond use
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
	if peer != s.peer {
		s.failure, s.told = "", time.Time{}
	}
	s.peer = peer
	s.run++
	s.peerASN, s.broken, s.problem = 0, false, ""
	s.enter(Idle)
	return run{s, s.run}
}

// end closes the run: the session is Idle, and late news of it are ignored.
func (s *status) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run++
	s.peerASN, s.offered, s.broken = 0, 0, false
	s.enter(Idle)
}

// enter must be called with the lock held.
func (s *status) enter(state SessionState) {
	if s.session == state {
		return
	}
	s.session, s.since = state, time.Now()
	signal(s.changed)
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
	was, peer, failure := s.session, s.peer, s.failure
	s.peerASN = asn
	s.enter(state)
	s.mu.Unlock()
	switch {
	case state == was:
	case state == Established:
		s.log.Info("session established", "peer", peer.Name, "addr", peer.Addr, "asn", asn)
	case was == Established:
		s.log.Info("session lost", "peer", peer.Name, "addr", peer.Addr, "error", failure)
	}
	signal(s.wake)
}

// fail records an error of the session.
func (s *status) fail(text string) {
	s.mu.Lock()
	same, peer := text == s.failure, s.peer
	s.failure = text
	s.mu.Unlock()
	if !same {
		s.log.Warn("session failed", "peer", peer.Name, "addr", peer.Addr, "error", text)
		signal(s.changed)
	}
}

// Failed records why the session failed.
func (r run) Failed(why string) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	if mine {
		s.told = time.Now()
	}
	s.mu.Unlock()
	if mine {
		s.fail(why)
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
		s.fail(why)
	}
}

// Crashed records that the server is to be replaced.
func (r run) Crashed(why string) {
	s := r.status
	s.mu.Lock()
	mine := r.number == s.run
	s.broken = s.broken || mine
	s.mu.Unlock()
	if mine {
		s.fail(why)
		signal(s.wake)
	}
}

// offers records how many routes are on offer, and what keeps others from it.
func (s *status) offers(n int, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.offered || problem != s.problem {
		signal(s.changed)
	}
	s.offered, s.problem = n, problem
}

// settle forgets the last error once the session has been up for long enough;
// until then it returns how long that still takes. 0: nothing to wait for.
func (s *status) settle(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != Established || s.failure == "" {
		return 0
	}
	if left := settled - now.Sub(s.since); left > 0 {
		return left
	}
	s.failure, s.told = "", time.Time{}
	signal(s.changed)
	return 0
}

// seen returns the AS number the peer has shown, and whether the server of
// this run is broken.
func (s *status) seen() (asn uint32, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peerASN, s.broken
}

func (s *status) report() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Peer: s.peer.Name, Addr: s.peer.Addr, Session: s.session, Since: s.since, LastError: s.failure}
	if s.failure == "" {
		state.LastError = s.problem
	}
	if s.session == Established {
		state.Advertised = s.offered
	}
	return state
}
