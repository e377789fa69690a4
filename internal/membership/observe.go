package membership

import (
	"maps"
	"slices"
	"time"
)

const (
	// Answers is how long the other watchers have to say what they see.
	Answers = 100 * time.Millisecond
	// probeInterval is how often the node of a restarting speaker is asked whether it
	// is there, and how often a speaker that reaches no other asks again.
	probeInterval = 100 * time.Millisecond
	// misses is how many times a node may not answer.
	misses = 4
	// doubt is how long a member that says it is alive, and whose session has
	// worked before, may be without a session that is Up.
	doubt = 5 * time.Second
	// doubtSilent is the same of a member whose Lease has also expired: each side of a session
	// that is not Up sends once a second.
	doubtSilent = 2 * time.Second
	// doubtRestarted is the same of a member that has restarted, and whose session was not Up
	// when it stopped: nothing from another process counts for twice the detection time, which
	// is 4 s then (RFC 5880 sections 6.8.1 and 6.8.3).
	doubtRestarted = 9 * time.Second
)

// Session is what an own BFD session shows.
type Session struct {
	Up    bool
	Ups   uint64 // how often it has come Up
	Heard bool   // anything at all is heard of its peer
	Ended bool   // the peer said that it ends the session on purpose
	// Refused: the peer says that it heard nothing of this speaker for too long.
	Refused bool
}

// lost reports whether nothing is heard of a peer that was there, and that did not
// say it ends the session on purpose.
func (x Session) lost() bool { return !x.Up && x.Ups > 0 && !x.Heard && !x.Ended }

// observation is what the own session with a neighbor shows.
type observation struct {
	up      bool
	lost    time.Time // when it expired; zero: it is Up, was never Up, or its end was no sign of loss
	healing bool      // it was lost while no member was reachable: it may come Up again in a moment
	decided bool      // the time for answers is over
	former  bool      // it is of an earlier incarnation, until it comes Up, or for longer than that could last
	stillUp bool      // of former: it is Up still
	slow    bool      // of former: it was not Up any more when that incarnation ended
	ups     uint64    // how often it has come Up
	since   time.Time // when it last did; zero unless it is Up

	refused bool      // the neighbor does not hear this speaker
	oneWay  bool      // it is heard, and the session is not Up: if that lasts, the same
	worked  bool      // it has been Up some time
	down    time.Time // since when it is not Up
	doubted bool      // it is lost for it did not come Up in time
}

// take takes over what the session shows now.
func (o *observation) take(now time.Time, x Session) {
	was := *o
	switch {
	case x.Up && was.up && was.ups == x.Ups:
	case x.Up:
		*o = observation{up: true, ups: x.Ups, since: now, worked: true}
	case was.up:
		*o = observation{ups: x.Ups, worked: true, down: now}
	}
	switch {
	case x.Up || was.doubted:
	case !x.lost():
		o.lost, o.decided = time.Time{}, false
	case was.lost.IsZero():
		o.lost, o.decided = now, false
	}
}

// listen takes over whether the neighbor hears this speaker.
func (o *observation) listen(x Session) {
	o.refused, o.oneWay = x.Refused && !x.Up, x.Heard && !x.Up && !x.Ended
}

// observe takes over what the session with a neighbor shows.
func (s *State) observe(now time.Time, name string, x Session) {
	o := s.observed[name]
	if o == nil {
		return
	}
	defer func() { o.listen(x) }()
	if o.former && (!x.Up || o.ups == x.Ups) {
		o.stillUp = x.Up
		return
	}
	x.Ended = x.Ended || s.stalled(now)
	was := *o
	o.take(now, x)
	s.accompanied(now)
	if was.up != x.Up {
		s.turned(now, name, x.Up)
	}
	switch {
	case x.Up && !was.up:
		s.cameUp(now, name)
	case !o.lost.IsZero() && was.lost.IsZero() && s.standing(name) == Alive:
		s.suspect(now, name)
	}
}

// turned takes in that the session with a neighbor came Up, or is so no more.
func (s *State) turned(now time.Time, name string, up bool) {
	s.stale = true
	s.changed = s.changed || s.standing(name) == Dead
	if u, ok := s.suspicions[name]; ok && !up {
		s.merge(now, u.update)
	}
}

// cameUp tells the others that the session with a neighbor works, and the neighbor what
// it may have missed.
func (s *State) cameUp(now time.Time, name string) {
	s.isolate(now, false)
	if !s.hears(name) {
		s.suspectAgain(now)
	}
	s.multicast(now, s.otherWatchers(name), Message{Alive: s.present(name)})
	s.judge(now, name)
	s.send([]string{name}, Message{Updates: []update{s.own()}})
	if s.standing(name) != Alive {
		s.send([]string{name}, Message{Updates: []update{s.asSent(now, name)}})
	}
	s.refute()
}

// suspect asks the other watchers of a member whether they see it. What they saw
// before may be over as well.
func (s *State) suspect(now time.Time, name string) {
	maps.DeleteFunc(s.votes[name], func(_ string, observes bool) bool { return observes })
	s.multicast(now, s.otherWatchers(name), Message{Suspect: s.present(name)})
	s.judge(now, name)
}

// suspectAgain asks again about the members that were lost while no member was reachable:
// only now does it mean something that none reports on them. They need not take this
// speaker for a member yet, if it was cut off for long: so their sessions have more time.
func (s *State) suspectAgain(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(s.observed)) {
		if o := s.observed[name]; o.decided && s.standing(name) != Dead && !s.isHeld(now, name) {
			o.lost, o.decided, o.healing = now, false, true
			s.suspect(now, name)
		}
	}
}

// answersBy is until when others may say that they see the peer of a lost session.
func (o *observation) answersBy() time.Time {
	if o.healing {
		return o.lost.Add(healDelay)
	}
	return o.lost.Add(Answers)
}

func (s *State) otherWatchers(name string) []string {
	return slices.DeleteFunc(slices.Clone(s.ring.neighbors(name)), func(n string) bool { return n == s.self })
}

// count takes in what another watcher of a member sees, unless that was in an
// earlier incarnation. One that stops may be gone before it notices a loss: that it sees
// the member still means nothing.
func (s *State) count(now time.Time, from string, about update, observes bool) {
	if !slices.Contains(s.ring.neighbors(about.Member), from) || about.Incarnation < s.present(about.Member).Incarnation {
		return
	}
	if observes && s.standing(from) == Restarting {
		return
	}
	if s.votes[about.Member] == nil {
		s.votes[about.Member] = map[string]bool{}
	}
	s.votes[about.Member][from] = observes
	s.judge(now, about.Member)
}

// countVotes counts the watchers of a member that have lost it, with this one, and those
// that see it.
func (s *State) countVotes(name string) (lost, seen int) {
	lost = 1
	for _, observes := range s.votes[name] {
		if observes {
			seen++
		} else {
			lost++
		}
	}
	return lost, seen
}

// judge decides whether a member whose session has expired is dead: if more
// watchers have lost it than see it, and at least two have. If no other watcher
// reports, this node may be cut off: then it decides alone only if it still hears another
// member, or a host that is no member answers.
func (s *State) judge(now time.Time, name string) {
	o := s.observed[name]
	if o == nil || o.up || o.lost.IsZero() || s.standing(name) == Dead || s.isHeld(now, name) {
		return
	}
	if s.isolated { // that this speaker reaches no member says nothing about one of them
		o.decided = true
		return
	}
	lost, seen := s.countVotes(name)
	switch {
	case lost > 1 && 2*lost > len(s.ring.neighbors(name)) && !o.healing:
		s.confirm(now, name)
		return
	case now.Before(o.answersBy()):
		return // the others may yet say that they see it
	}
	o.decided = true
	s.decide(now, name, lost, seen)
}

// decide does what follows from the votes when all had time to give theirs.
func (s *State) decide(now time.Time, name string, lost, seen int) {
	switch {
	case lost > 1 && lost > seen:
		s.confirm(now, name)
	case lost > 1 || seen > 0:
	case s.hears(name):
		s.confirm(now, name)
	default:
		s.probe("")
	}
}

// confirm tells all that a member is dead.
func (s *State) confirm(now time.Time, name string) {
	u := *s.present(name)
	u.Standing = Dead
	s.merge(now, u)
	s.broadcast(now, Message{Updates: []update{u}})
}

// merge records an update, if it says more than is known: so a member becomes Dead here.
func (s *State) merge(now time.Time, u update) {
	k := s.known[u.Member]
	if u.Member == s.self || !s.isMember(u.Member) || k != nil && !u.supersedes(k.update) {
		return
	}
	delete(s.suspicions, u.Member)
	before := s.standing(u.Member)
	fresh := &record{update: u, until: now.Add(u.Hold), learned: now, slow: s.isDown(u.Member), neverMet: u.Standing == Dead && (k == nil || k.neverMet)}
	if k == nil || k.Incarnation != u.Incarnation {
		s.reincarnated(now, u.Member)
	}
	if before != Alive && u.Standing == Alive {
		fresh.sendUntil = now.Add(remember)
	}
	s.known[u.Member] = fresh
	s.changed = s.changed || before != u.Standing
	s.stale = s.stale || k == nil
	s.dropVotes(now, u)
	if u.Standing != Dead {
		return
	}
	for _, name := range s.members {
		s.judge(now, name)
	}
	s.refute()
}

// dropVotes drops the votes of a member that is dead. Of one that stops it drops those on losses that
// it has had no time to notice.
func (s *State) dropVotes(now time.Time, u update) {
	for name, votes := range s.votes {
		if _, answersDue := s.answersDue(name); u.Standing == Dead || u.Standing == Restarting && answersDue {
			delete(votes, u.Member)
		}
	}
}

// hear records an update that another member sends.
func (s *State) hear(now time.Time, from string, u update) {
	if u.Member == s.self {
		s.suspected(now, u)
		return
	}
	if k := s.known[u.Member]; k != nil && k.supersedes(u) {
		s.send([]string{from}, Message{Updates: []update{s.asSent(now, u.Member)}})
	}
	switch {
	case u.Member == from: // it knows
		s.merge(now, u)
		if k := s.known[from]; k != nil && k.update == u {
			k.admitted = time.Time{}
			if u.Standing == Dead {
				k.admitted = now
			}
		}
	case !s.deferSuspicion(now, u):
		s.merge(now, u)
		s.warnSuspect(from, u)
	}
}

// isDown reports whether a member is a neighbor, and the session with it is not Up.
func (s *State) isDown(name string) bool {
	o := s.observed[name]
	return o != nil && !o.up
}

// reincarnated forgets what was observed and voted of a member's former incarnation. One
// that has restarted within the detection time leaves a session behind that is Up
// still, and will expire.
func (s *State) reincarnated(now time.Time, name string) {
	delete(s.votes, name)
	o, k := s.observed[name], s.known[name]
	restarted := k != nil && k.Standing == Restarting
	if o != nil && (!o.up || restarted && !o.since.After(k.learned)) {
		down := o.down
		if k != nil {
			down = now
		}
		*o = observation{former: true, stillUp: o.up, slow: restarted && k.slow, ups: o.ups, worked: o.worked, oneWay: o.oneWay, down: down}
		s.accompanied(now)
	}
}

// hears says that some session other than that with name is Up.
func (s *State) hears(name string) bool {
	for n, o := range s.observed {
		if n != name && o.up {
			return true
		}
	}
	return false
}

func (s *State) answersDue(name string) (time.Time, bool) {
	o := s.observed[name]
	if o == nil || o.lost.IsZero() || o.decided || s.asksHold(name) || s.standing(name) == Dead {
		return time.Time{}, false
	}
	return o.answersBy(), true
}

// doubtDue is when a member counts as lost that says it is alive, and no session shows
// it, though one has before or Kubernetes does not hear of it either.
func (s *State) doubtDue(name string) (time.Time, bool) {
	o, k := s.observed[name], s.known[name]
	if o == nil || o.up || !o.lost.IsZero() || k == nil || k.Standing != Alive || !o.worked && !s.silent[name] {
		return time.Time{}, false
	}
	switch {
	case s.silent[name]:
		return o.down.Add(doubtSilent), true
	case o.former && o.slow:
		return o.down.Add(doubtRestarted), true
	}
	return o.down.Add(doubt), true
}

func (s *State) loseDoubted(now time.Time, name string) {
	o := s.observed[name]
	*o = observation{worked: o.worked, down: o.down, lost: now, doubted: true}
	s.suspect(now, name)
}

// adoptDue is when a session that seemed to be of an earlier incarnation, and is Up
// still, must be of the present one: the other would have expired.
func (s *State) adoptDue(name string) (time.Time, bool) {
	o := s.observed[name]
	if o == nil || !o.former || !o.stillUp {
		return time.Time{}, false
	}
	return o.down.Add(s.detect + Answers), true
}

func (s *State) adopt(now time.Time, name string) {
	o := s.observed[name]
	o.former = false
	s.observe(now, name, Session{Up: true, Ups: o.ups, Heard: true})
}
