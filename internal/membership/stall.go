package membership

import "time"

// A speaker that stood still has missed packets of all its neighbors, who may have given
// it up meanwhile: that its sessions expire when it goes on tells nothing of them. One
// that is dead all the same has no session that comes Up, which is noticed as well.

// resume takes in that there is an input. If the next deadline passed long ago, this
// speaker stood still; before the first one is done it has not begun. What was due already
// at the input before says nothing: it became so by that input.
func (s *State) resume(now time.Time) {
	if !s.gossiped.IsZero() && now.Sub(s.deadlines[0].at) > s.detect && now.Sub(s.input) > s.detect {
		s.resumed = now
	}
	s.input = now
}

// stalled reports whether this speaker stood still, up to a moment ago.
func (s *State) stalled(now time.Time) bool {
	return !s.resumed.IsZero() && now.Before(s.resumed.Add(s.detect+Answers))
}
