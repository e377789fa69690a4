package membership

import "time"

// asksHold reports whether a member restarts, and its node was not found to be
// silent.
func (s *State) asksHold(name string) bool {
	k := s.known[name]
	return k != nil && k.Standing == Restarting && k.missed < misses
}

// isHeld says that a member has announced a restart, and there is no reason to doubt it.
func (s *State) isHeld(now time.Time, name string) bool {
	return s.asksHold(name) && now.Before(s.known[name].until)
}

// vouches reports whether a member restarts, and its node answered this one's last
// probes: another watcher that has lost it has a bad path only.
func (s *State) vouches(now time.Time, name string) bool {
	return s.isHeld(now, name) && now.Before(s.known[name].answered.Add(misses*probeInterval))
}

func (s *State) holdDue(name string) (time.Time, bool) {
	if s.observed[name] == nil || !s.asksHold(name) {
		return time.Time{}, false
	}
	return s.known[name].until, true
}

// endHold treats a member that announced a restart as lost.
func (s *State) endHold(now time.Time, name string) {
	s.known[name].missed = misses
	if o := s.observed[name]; o != nil && !o.up {
		*o = observation{worked: o.worked, down: o.down, lost: now, doubted: true}
		s.suspect(now, name)
	}
}

func (s *State) probeDue(name string) (time.Time, bool) {
	if o := s.observed[name]; o == nil || o.up || !s.asksHold(name) {
		return time.Time{}, false
	}
	return s.known[name].probed.Add(probeInterval), true
}

func (s *State) probeMember(now time.Time, name string) {
	s.known[name].probed = now
	s.probe(Target(name))
}

// memberAnswered takes in whether the node of a restarting speaker answers.
func (s *State) memberAnswered(now time.Time, name string, r Reply) {
	k := s.known[name]
	switch {
	case k == nil || k.Standing != Restarting:
	case r == Answered:
		k.missed, k.answered = 0, now
	case r == Unanswered:
		if k.missed++; k.missed == misses {
			s.endHold(now, name)
		}
	}
}
