package neighbor

import (
	"net/netip"
	"time"
)

// Refresh is the pause between the announcements of an address that all
// neighbors should know by now: for those that missed the first ones.
const Refresh = time.Minute

// A pause after each batch prevents a burst of thousands of broadcasts. New addresses
// go at most at 12,800 a second, repeated ones at 800.
const (
	batchNew     = 64
	batchRefresh = 4
	batchPause   = 5 * time.Millisecond
)

// grid is what repeats wait for: those of many addresses go out together, instead of
// each waking the speaker for itself.
const grid = 10 * time.Millisecond

// Schedule decides when each address is announced, or probed. It reads no clock.
type Schedule struct {
	gaps   []time.Duration // gaps[i] lies between announcements i and i+1; the last one repeats
	queues [][]*scheduled  // by how often they were sent; each sorted by time, as all in it wait the same gap
	live   map[netip.Addr]*scheduled
	quiet  time.Time // nothing before that
	origin time.Time // the grid's first point, when the first targets came
}

// Transmission is an address to send now.
type Transmission struct {
	Addr netip.Addr
	Sent int // how often it was sent before
}

// Target is an address that is to be sent again and again.
type Target struct {
	Addr       netip.Addr
	Generation uint64 // a change makes the address new again
}

// scheduled is the next transmission of one address.
type scheduled struct {
	Target
	at   time.Time
	sent int
}

// NewSchedule returns an empty schedule: an address is sent with these gaps between, and
// after them once every so often.
func NewSchedule(gaps []time.Duration, every time.Duration) *Schedule {
	s := &Schedule{live: map[netip.Addr]*scheduled{}}
	s.gaps = append(append(s.gaps, gaps...), every)
	s.queues = make([][]*scheduled, len(s.gaps)+1)
	return s
}

// Set replaces all targets. New ones are due at once, the others keep their schedule,
// and those that are left out are not sent again.
func (s *Schedule) Set(now time.Time, subjects []Target) {
	if s.origin.IsZero() {
		s.origin = now
	}
	live := make(map[netip.Addr]*scheduled, len(subjects))
	for _, subject := range subjects {
		t, ok := s.live[subject.Addr]
		if !ok || t.Generation != subject.Generation {
			t = &scheduled{Target: subject, at: now}
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

// Take returns the transmissions that are due now, at most so many, the newest addresses
// first. It schedules the next ones, and takes it that the caller sends these.
func (s *Schedule) Take(now time.Time, most int) []Transmission {
	if now.Before(s.quiet) {
		return nil
	}
	var batch []Transmission
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
			batch = append(batch, Transmission{Addr: t.Addr, Sent: t.sent})
			s.queues[i] = s.queues[i][1:]
			t.sent++
			// Counted from now, not from when it was due: a late announcement
			// must not come too close to the next one.
			t.at = s.onGrid(now.Add(s.gaps[step-1]))
			s.queues[step] = append(s.queues[step], t)
		}
	}
	if len(batch) > 0 {
		s.quiet = now.Add(batchPause)
	}
	return batch
}

// onGrid returns the grid's first point that is not before t.
func (s *Schedule) onGrid(t time.Time) time.Time {
	return s.origin.Add((t.Sub(s.origin) + grid - 1) / grid * grid) // not Truncate: the monotonic clock stays
}

// head returns the first entry of a queue whose address is still a target.
func (s *Schedule) head(i int) *scheduled {
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
