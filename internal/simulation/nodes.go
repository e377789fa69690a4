package simulation

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// state is what was seen of a node.
type state struct {
	instance  int
	runs      time.Time // since when the speaker does, and stands not still
	heardAPI  time.Time // since when it reaches the API server
	answered  time.Time // since when it does, and no answer got lost, or may have come after the 2 s for which the speaker waits
	joined    bool      // it has reached the API server for long enough since the speaker started: others count on it
	informed  bool
	lost      time.Time    // when an answer to what it asked at its start last got lost
	unready   time.Time    // since when it can't take anything up; zero: it can
	late      time.Time    // when that had lasted for as long as others wait for one that restarts, or the API server was away
	company   time.Time    // since when a candidate reaches another; zero: it does not
	cut       time.Time    // since when a running speaker that has read of others reaches none; zero: it does
	away      [3]time.Time // since when the speaker stands still, reaches no other, or does not reach the API server
	expired   map[int]bool // the nodes of which it has heard, when it last reached the API server, that they do not
	returned  time.Time    // when it last started, or was back after it had been away for long enough to notice: it has read what was written until then
	excluded  bool         // it is, or could not hear yet that it is no more
	candidate time.Time    // since when it could answer for the addresses of its subnet; zero: it can't
}

// lookAt takes in what can be expected of a node.
func (w *world) lookAt(st *state, n *node) {
	s := n.speaker
	w.lookAtReadiness(st, n)
	if s == nil || !n.there {
		*st = st.next(0)
		return
	}
	if st.instance != s.instance {
		*st = st.next(s.instance)
		st.returned = s.started
	}
	w.lookAtServer(st, n)
	st.excluded = n.excluded > 0 || st.excluded && st.heardAPI.IsZero()
	runs, company := s.runs(), w.company(n)
	reached := w.lan.talk(n.place, w.lan.client(n.subnet)) && (company || w.lostAll(n, st))
	able := runs && reached && st.informed && !st.excluded && !w.elsewhere(n)
	since(&st.runs, runs, w.now)
	since(&st.candidate, able, w.now)
	since(&st.company, able && company, w.now)
	since(&st.cut, runs && s.cache != nil && !company, w.now)
	st.returns([...]bool{s.frozen > 0, !company, st.heardAPI.IsZero()}, w.now)
	w.lookForExpired(st, n)
}

// lookAtReadiness records since when a node can't take anything up, and whether others wait for it no more.
func (w *world) lookAtReadiness(st *state, n *node) {
	since(&st.unready, !st.informed || w.now.Sub(st.lost) < hindered, w.now)
	if w.overdue(n, st) {
		st.late = w.now
	}
}

// returns takes in how a speaker is away now.
func (st *state) returns(away [3]bool, now time.Time) {
	for i, is := range away {
		if t := st.away[i]; !is && !t.IsZero() && now.Sub(t) > noticing {
			st.returned = now
		}
		since(&st.away[i], is, now)
	}
}

// next is what counts still when another instance of the speaker runs.
func (st *state) next(instance int) state {
	return state{instance: instance, unready: st.unready, late: st.late, lost: st.lost}
}

// runs reports whether a speaker does, and neither stands still nor ends.
func (s *speaker) runs() bool { return s.frozen == 0 && !s.stopping }

// overdue reports whether a node can't take anything up, and others wait for it no more if
// it restarts, or the API server is away; or whether others do not count on it, and none has
// joined that could have heard that it restarts, and tell those that start.
func (w *world) overdue(n *node, st *state) bool {
	return !st.unready.IsZero() && w.now.Sub(st.unready) > membership.Hold-time.Second || !st.informed && w.api.away > 0 || !st.joined && !w.othersJoined(n)
}

// othersJoined reports whether a speaker runs, on another node, that others count on.
func (w *world) othersJoined(n *node) bool {
	return slices.ContainsFunc(w.nodes, func(other *node) bool {
		return other != n && other.speaker != nil && other.speaker.runs() && w.rules.states[other.place].joined
	})
}

// lookAtServer takes in what a node can know from the API server.
func (w *world) lookAtServer(st *state, n *node) {
	since(&st.heardAPI, w.reachesServer(n) && w.api.away == 0, w.now)
	since(&st.answered, !st.heardAPI.IsZero() && w.api.loses == 0 && w.api.slow < interval, w.now)
	st.joined = st.joined || w.lasts(st.answered, n.speaker, joins) || w.lasts(st.heardAPI, n.speaker, hindered)
	st.informed = st.informed || !st.answered.IsZero() && w.now.Sub(st.answered) >= informed
	if !st.informed {
		st.lost = maxTime(st.lost, n.speaker.lost)
	}
}

// lasts reports whether something is so for long enough since the speaker started.
func (w *world) lasts(since time.Time, s *speaker, long time.Duration) bool {
	return !since.IsZero() && w.now.Sub(maxTime(since, s.started)) >= long
}

// lookForExpired records which nodes do not reach the API server, as one that does must have heard,
// and that it has not heard itself since.
func (w *world) lookForExpired(st *state, n *node) {
	for i := range st.expired {
		other := w.nodes[i].speaker
		stable := w.now.Sub(w.lastEvent()) > finding
		st.expired[i] = st.expired[i] && !(stable && other != nil && other.runs() && w.rules.states[i].joined && w.lan.talk(n.place, i))
	}
	if st.heardAPI.IsZero() || w.now.Sub(st.heardAPI) <= expires {
		return
	}
	if st.expired == nil {
		st.expired = map[int]bool{}
	}
	for i := range w.rules.states {
		away := w.rules.states[i].away[2]
		st.expired[i] = i != n.place && !away.IsZero() && w.now.Sub(away) > expires
	}
}

// since keeps when something began to be so; zero: it is not.
func since(t *time.Time, is bool, now time.Time) {
	if !is {
		*t = time.Time{}
	} else if t.IsZero() {
		*t = now
	}
}

// lostAll reports whether a node that hears no other can learn from Kubernetes that it is
// not cut off: they are all gone.
func (w *world) lostAll(n *node, st *state) bool {
	return !st.heardAPI.IsZero() && !slices.ContainsFunc(w.nodes, func(other *node) bool {
		return other != n && other.speaker != nil && w.reachesServer(other)
	})
}

// elsewhere reports whether a node is parted from others that also reach the API
// server: then the L2Claim decides which half has an address.
func (w *world) elsewhere(n *node) bool {
	if w.api.away > 0 || !w.reachesServer(n) {
		return false
	}
	for _, other := range w.lan.subnets[n.subnet] {
		if other.speaker != nil && w.reachesServer(other) && !w.lan.talk(n.place, other.place) && w.company(other) {
			return true
		}
	}
	return false
}

// company reports whether a node reaches another.
func (w *world) company(n *node) bool {
	if w.Gateway && !w.NoGatewayCounts && w.lan.silent == 0 && w.lan.talk(n.place, w.lan.router()) {
		return true
	}
	return slices.ContainsFunc(w.nodes, func(other *node) bool {
		s := other.speaker
		return other != n && s != nil && s.frozen == 0 && (!w.SecondLink || other.subnet == n.subnet) && w.rules.states[other.place].joined && w.lan.talk(n.place, other.place)
	})
}
