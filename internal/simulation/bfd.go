package simulation

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// The sessions are a model of package bfd's: its states, its times, what a
// restarted peer's packets come to. Only their bytes are left out.

type status uint8

const (
	down status = iota
	initial
	up
	adminDown
)

const (
	fast       = 100 * time.Millisecond // between packets of a session that is Up
	slow       = time.Second            // RFC 5880 section 6.8.3
	multiplier = 4
)

type session struct {
	peer     *node
	status   status
	remote   status
	instance int // of the peer's process; 0: none is heard
	ups      uint64
	ended    bool // by the peer, on purpose
	expired  bool // the last outage came of the detection time
	refused  bool // the same, as the peer says
	last     time.Time
	detect   time.Duration
	send     time.Time
	looked   time.Time // when it is looked at whether it has expired; zero: it is not
	// Until then only packets of the same process count: sequence numbers of another
	// one are no later than those that were seen.
	known int
	until time.Time
}

type frame struct {
	from, to *node
	segment  bool
	instance int
	your     int
	status   status
	expired  bool
}

// wire brings the sessions to those that are wanted.
func (s *group) setSessions(names []string) {
	wanted := make([]*session, 0, len(names))
	for _, name := range names {
		peer := s.peers[name]
		if peer == nil || peer == s.node || slices.ContainsFunc(wanted, func(x *session) bool { return x.peer == peer }) {
			continue
		}
		x := s.sessionWith(peer)
		if x == nil {
			x = &session{peer: peer, send: s.now}
		}
		wanted = append(wanted, x)
	}
	for _, old := range s.sessions {
		still := false
		for _, x := range wanted {
			still = still || x == old
		}
		if !still && old.instance != 0 { // the peer hears of it
			old.status = adminDown
			s.world.carry([]frame{s.frame(old)})
		}
	}
	s.sessions = wanted
	s.transmit()
}

func (s *group) sessionWith(peer *node) *session {
	for _, x := range s.sessions {
		if x.peer == peer {
			return x
		}
	}
	return nil
}

func (s *group) frame(x *session) frame {
	return frame{s.node, x.peer, s.segment, s.instance, x.instance, x.status, x.expired}
}

// transmit sends what is due, and comes again.
func (s *group) transmit() {
	var out []frame
	next := s.now.Add(slow)
	jitter := s.world.within(765, 1000)
	for _, x := range s.sessions {
		if !s.now.Before(x.send) {
			if out == nil {
				out = make([]frame, 0, len(s.sessions))
			}
			out = append(out, s.frame(x))
			every := slow
			if x.status == up {
				every = fast
			}
			x.send = s.now.Add(every * jitter / 1000)
		}
		if x.send.Before(next) {
			next = x.send
		}
	}
	if len(out) > 0 {
		s.world.carry(out)
	}
	if s.sending.IsZero() || next.Before(s.sending) {
		s.sending = next
		s.at(next, func() {
			if s.sending.Equal(next) {
				s.sending = time.Time{}
				s.transmit()
			}
		})
	}
}

// carry takes frames to where they get.
func (w *world) carry(frames []frame) {
	w.after(w.within(50*time.Microsecond, 500*time.Microsecond), func() {
		for _, f := range frames {
			to := f.to.speaker
			switch {
			case to == nil || !w.reaches(f.from, f.to, f.segment):
			case to.goes(): // as a rule, and there are many
				to.group(f.segment).receive(f)
			default:
				to.run(func() { to.group(f.segment).receive(f) })
			}
		}
	})
}

func (s *group) receive(f frame) {
	x := s.sessionWith(f.from)
	if x == nil || !s.accepts(x, f) {
		return
	}
	tx := slow
	if f.status == up {
		tx = fast
	}
	x.remote, x.instance, x.known, x.refused = f.status, f.instance, f.instance, f.expired
	x.last, x.detect = s.now, multiplier*tx
	x.until = s.now.Add(2 * x.detect)
	s.expireLater(x)
	if next := x.status.next(f.status); next != x.status {
		s.enter(x, next)
	}
}

// accepts reports whether a packet counts: it is for this process, and from the one that
// was heard before.
func (s *group) accepts(x *session, f frame) bool {
	if f.your == 0 {
		if f.status != down && f.status != adminDown {
			return false
		}
	} else if f.your != s.instance {
		return false
	}
	return x.known == f.instance || !s.now.Before(x.until)
}

// next returns what a packet makes of a status (RFC 5880 section 6.8.6).
func (s status) next(remote status) status {
	switch {
	case remote == adminDown, remote == down && s == up:
		return down
	case remote == down && s == down:
		return initial
	case remote == initial, remote == up && s == initial:
		return up
	}
	return s
}

func (s *group) enter(x *session, to status) {
	if x.status == up {
		x.ended = x.remote == adminDown
	}
	x.status, x.send = to, s.now
	if to != initial {
		x.expired = to == down && x.instance == 0
	}
	if to == up {
		x.ups++
	}
	s.tellOf(x)
	s.transmit()
}

// expireLater has the session end when its detection time is over. That becomes
// shorter when the session comes Up: what was to be looked at later is looked at sooner.
func (s *group) expireLater(x *session) {
	due := x.last.Add(x.detect)
	if !x.looked.IsZero() && !due.Before(x.looked) {
		return
	}
	x.looked = due
	s.at(due, func() {
		if !x.looked.Equal(due) {
			return
		}
		x.looked = time.Time{}
		switch {
		case x.last.IsZero() || s.sessionWith(x.peer) != x:
		case s.now.Before(x.last.Add(x.detect)):
			s.expireLater(x)
		default:
			x.last, x.instance = time.Time{}, 0
			if x.status == initial || x.status == up {
				s.enter(x, down)
			}
			x.remote = down
			s.tellOf(x)
		}
	})
}

// tellOf tells the members what a session shows, under the names that this speaker knows
// its peer by: the node may have another one by now.
func (s *group) tellOf(x *session) {
	for _, name := range s.names[x.peer] {
		s.members.Session(s.now, name, membership.Session{Up: x.status == up, Ups: x.ups, Heard: x.instance != 0, Ended: x.ended, Refused: x.refused && x.instance != 0})
	}
	s.act()
}
