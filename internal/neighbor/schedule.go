package neighbor

import (
	"net/netip"
	"time"
)

// Refresh is the pause between the announcements of an address that all
// neighbors should know by now: for those that missed the first ones.
const Refresh = time.Minute

// No burst of thousands of broadcasts: after each batch comes a pause. New
// addresses go at most at 12,800 a second, refreshed ones at 800.
const (
	batchNew     = 64
	batchRefresh = 4
	batchPause   = 5 * time.Millisecond
)

// Schedule says which addresses to announce, or to probe, when. It reads no clock.
type Schedule struct {
	gaps   []time.Duration // gaps[i] lies between announcements i and i+1; the last one repeats
	queues [][]*turn       // by how often announced yet; each sorted by time, as all in it waited the same gap
	live   map[netip.Addr]*turn
	quiet  time.Time // nothing before that
}

// Turn is one address's turn.
type Turn struct {
	Addr   netip.Addr
	Before int // how many turns it had before; beyond the gaps it doesn't count on
}

// Subject is an address that gets turns.
type Subject struct {
	Addr  netip.Addr
	Round uint64 // another one makes the address new again
}

// turn is one address's next turn.
type turn struct {
	Subject
	at time.Time
}

// NewSchedule returns a schedule of nothing, with these pauses between the
// turns of an address, and then one every so often.
func NewSchedule(gaps []time.Duration, every time.Duration) *Schedule {
	s := &Schedule{live: map[netip.Addr]*turn{}}
	s.gaps = append(append(s.gaps, gaps...), every)
	s.queues = make([][]*turn, len(s.gaps)+1)
	return s
}

// Set says which addresses get turns. Those that are new are due at
// once, those that are left out never again, and the others keep their turns.
func (s *Schedule) Set(now time.Time, subjects []Subject) {
	live := make(map[netip.Addr]*turn, len(subjects))
	for _, subject := range subjects {
		t, ok := s.live[subject.Addr]
		if !ok || t.Round != subject.Round {
			t = &turn{Subject: subject, at: now}
			s.queues[0] = append(s.queues[0], t)
		}
		live[subject.Addr] = t
	}
	s.live = live
}

// Next returns when Take will return something; false: never.
func (s *Schedule) Next() (time.Time, bool) {
	var first time.Time
	found := false
	for i := range s.queues {
		if t := s.head(i); t != nil && (!found || t.at.Before(first)) {
			first, found = t.at, true
		}
	}
	if first.Before(s.quiet) {
		first = s.quiet
	}
	return first, found
}

// Wait returns for how long Take will return nothing, or Refresh if that is longer.
func (s *Schedule) Wait(now time.Time) time.Duration {
	if at, ok := s.Next(); ok {
		return min(Refresh, at.Sub(now))
	}
	return Refresh
}

// Take returns the turns that are due now, at most so many, the newest addresses
// first, and plans the next ones. It counts on being followed.
func (s *Schedule) Take(now time.Time, most int) []Turn {
	if now.Before(s.quiet) {
		return nil
	}
	var batch []Turn
	for i := range s.queues {
		step := min(i+1, len(s.gaps))
		limit := batchNew
		if i == len(s.gaps) {
			limit = batchRefresh
		}
		limit = min(limit, most)
		for len(batch) < limit {
			t := s.head(i)
			if t == nil || t.at.After(now) {
				break
			}
			batch = append(batch, Turn{Addr: t.Addr, Before: i})
			s.queues[i] = s.queues[i][1:]
			// Counted from now, not from when it was due: a late announcement
			// must not come too close to the next one.
			t.at = now.Add(s.gaps[step-1])
			s.queues[step] = append(s.queues[step], t)
		}
	}
	if len(batch) > 0 {
		s.quiet = now.Add(batchPause)
	}
	return batch
}

// head returns the first turn in a queue of an address still to be announced.
func (s *Schedule) head(i int) *turn {
	q := s.queues[i]
	for len(q) > 0 && s.live[q[0].Addr] != q[0] {
		q = q[1:]
	}
	s.queues[i] = q
	if len(q) == 0 {
		return nil
	}
	return q[0]
}
