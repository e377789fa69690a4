package source

import (
	"time"
)

// Done takes in the answer to a call, and reports whether a pass is due. An answer to a call of
// a former term, or to an IPAM that is not asked any more, counts for nothing.
func (s *State) Done(a Answer, now time.Time) (due bool) {
	b := s.servers[a.To.Endpoint]
	if b == nil {
		return false
	}
	if a.Kind == List {
		return b.lists(a, now)
	}
	e := b.entries[place{a.Key, a.Pool}]
	if e == nil || e.call != a.number {
		return false
	}
	e.call, e.answered = 0, s.calls
	if a.Failure != 0 {
		b.failed(e, a, now)
		return true
	}
	e.exhausted, e.refused, e.unfit, e.said = false, false, false, ""
	if a.Kind == Allocate {
		if a.Replaces != "" {
			b.set(Key{a.Replaces, a.Family}, allocation{})
		}
		b.set(a.Key, allocation{addr: a.Given, pool: a.Of})
		return true
	}
	b.set(a.Key, allocation{})
	if e.fails = 0; a.Refused.IsValid() && a.Addr == a.Refused { // it may hand out the same again
		e.unfit, e.said = true, a.Cause
		e.slower(now)
	}
	return true
}

// failed takes in that a call was not done, or perhaps was.
func (b *server) failed(e *entry, a Answer, now time.Time) {
	switch {
	case a.Kind != Release || a.Failure == Unavailable: // then the IPAM is listed anyway
	case a.Failure == Slow:
		b.relist = time.Time{}
	default:
		b.leaves(a.Key, false)
	}
	if a.Failure == Unsent {
		e.after = now.Add(firstPause)
		return
	}
	e.exhausted, e.unfit, e.said = a.Failure == Exhausted, false, a.Text
	if a.Call.Held {
		e.refused = a.Failure == Taken
	}
	if a.Failure == Unavailable {
		b.down, b.relist = a.Text, now.Add(firstPause)
		return
	}
	e.slower(now)
}

// slower has the next call of e come after a pause that grows.
func (e *entry) slower(now time.Time) {
	e.after = now.Add(pause(e.fails))
	e.fails++
}

func pause(fails int) time.Duration { return min(firstPause<<min(fails, 10), longestPause) }

// lists takes in the answer to a List. What was answered since the call was made, or is under
// way, is newer than the list.
func (b *server) lists(a Answer, now time.Time) bool {
	if b.listing != a.number {
		return false
	}
	b.listing = 0
	if a.Failure != 0 {
		b.relist = now.Add(min(pause(b.fails), longestAway))
		if a.Failure != Unsent {
			b.down = a.Text
			b.fails++
		}
		return true
	}
	if b.down != "" {
		for _, e := range b.entries {
			e.after, e.said = time.Time{}, ""
		}
	}
	b.listed, b.down, b.fails = true, "", 0
	if soon := now.Add(relistRest); b.relist.Before(soon) { // something has changed meanwhile
		b.relist = soon
	}
	newer := map[Key]bool{}
	for at, e := range b.entries {
		newer[at.Key] = newer[at.Key] || e.call != 0 || e.answered >= a.number
	}
	listed := make(map[Key]allocation, len(a.Held))
	for k := range b.held {
		listed[k] = allocation{}
	}
	for _, x := range a.Held {
		listed[x.Key] = allocation{addr: x.Addr, pool: x.Pool}
	}
	for k, has := range listed {
		if !newer[k] {
			b.set(k, has)
		}
	}
	return true
}
