package membership

import (
	"slices"
	"time"
)

const (
	// remember is how long neighbors get the update that a member is back.
	remember = time.Minute
	// suspicionTimeout is how long a member that this speaker sees has to refute, when
	// others say that it is dead.
	suspicionTimeout = 200 * time.Millisecond
)

// suspicion is an update that is not believed yet: others say that a member is dead that
// this speaker sees, or other watchers do (SWIM has a member Suspected before it is
// confirmed as dead).
type suspicion struct {
	update
	until time.Time
}

// deferSuspicion reports that an update is not to be believed yet: others say that a
// member is dead that this speaker sees. They may have been cut off, and it alive and
// well; so it gets the update first, and refutes it if it is alive. If this speaker has a
// bad path to the member, and other watchers see it, they get the update: they hear what it
// refutes.
func (s *State) deferSuspicion(now time.Time, u update) bool {
	k, o := s.known[u.Member], s.observed[u.Member]
	if u.Standing != Dead || o == nil || k != nil && !u.supersedes(k.update) {
		return false
	}
	lost, seen := s.countVotes(u.Member)
	if !o.up && (seen == 0 || seen < lost) {
		return false
	}
	if s.suspicions[u.Member].update != u {
		timeout := suspicionTimeout
		if s.indirect {
			timeout += s.detect
		}
		s.suspicions[u.Member] = suspicion{u, now.Add(timeout)}
		if m := (Message{Updates: []update{u}}); o.up {
			s.send([]string{u.Member}, m)
		} else {
			s.multicast(now, s.otherWatchers(u.Member), m)
		}
	}
	return true
}

func (s *State) suspicionDue(name string) (time.Time, bool) {
	x, ok := s.suspicions[name]
	return x.until, ok
}

func (s *State) endSuspicion(now time.Time, name string) { s.merge(now, s.suspicions[name].update) }

// warnSuspect tells a member that it was declared dead, if there is reason to think
// that it is alive: its session here is Up, or the update comes from a member whose session is
// not watch it, so that it may be old. The living refute.
func (s *State) warnSuspect(from string, u update) {
	k, o := s.known[u.Member], s.observed[u.Member]
	if u.Standing != Dead || k == nil || k.update != u || k.warned {
		return
	}
	if o != nil && o.up || !slices.Contains(s.ring.neighbors(u.Member), from) {
		k.warned = true
		s.send([]string{u.Member}, Message{Updates: []update{u}})
	}
}

// suspected records that a member reports this speaker as restarting or dead. Its
// incarnation grows, and it says so once it is in touch. One that is cut off on a segment
// hears that too, since messages go another way, and its sessions need not have expired
// yet: so it waits for as long as that takes.
func (s *State) suspected(now time.Time, u update) {
	if u.Standing == Alive || s.stopped {
		return
	}
	s.incarnation = max(s.incarnation, u.Incarnation+1) // who has not heard of this one holds an earlier one for dead
	s.refuting = true
	if !s.indirect {
		s.refute()
	} else if s.refuteAt.IsZero() {
		s.refuteAt = now.Add(s.detect)
	}
}

func (s *State) refuteDue(string) (time.Time, bool) { return s.refuteAt, !s.refuteAt.IsZero() }

func (s *State) refuteLate(time.Time, string) {
	s.refuteAt = time.Time{}
	s.refute()
}

// refute contradicts those who say that this speaker is dead, unless most of its sessions with
// neighbors that are not dead are down.
func (s *State) refute() {
	up, there := 0, 0
	for name, o := range s.observed {
		if o.up {
			up++
		}
		if o.up || s.standing(name) != Dead {
			there++
		}
	}
	if s.refuting && up > 0 && 2*up >= there {
		s.broadcastAlive()
	}
}

// broadcastAlive tells all that this speaker is alive. Who misses it and believes
// otherwise will say so.
func (s *State) broadcastAlive() {
	s.refuting = false
	s.send(nil, Message{Updates: []update{s.own()}})
}

// own is the update about this speaker. An isolated one reports itself as dead:
// perhaps others receive from it, although it receives nothing.
func (s *State) own() update {
	u := update{Member: s.self, Incarnation: s.incarnation}
	if s.isolated {
		u.Standing = Dead
	}
	return u
}
