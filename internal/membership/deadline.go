package membership

import (
	"cmp"
	"container/heap"
	"time"
)

// clock is one kind of deadline: when it is due, by what the State knows now, and
// what is done then. After that it must not be due any more.
type clock struct {
	due    func(s *State, member string) (time.Time, bool)
	expire func(s *State, now time.Time, member string)
}

// ownClocks are of the State as a whole, memberClocks of each member that is
// observed or suspected.
var (
	ownClocks = [...]clock{
		{(*State).repeatDue, (*State).sendAgain},
		{(*State).isolationDue, (*State).probeHosts},
		{(*State).refuteDue, (*State).refuteLate},
		{(*State).gossipDue, (*State).gossip},
	}
	memberClocks = [...]clock{
		{(*State).adoptDue, (*State).adopt},
		{(*State).suspicionDue, (*State).endSuspicion},
		{(*State).holdDue, (*State).endHold},
		{(*State).probeDue, (*State).probeMember},
		{(*State).answersDue, (*State).judge},
		{(*State).doubtDue, (*State).loseDoubted},
	}
)

// deadline is when a clock runs out. At equal times the order is that of the members,
// then of the clocks.
type deadline struct {
	at     time.Time
	member string // "": of the State as a whole
	place  int    // of the clock among its kind
	clock  *clock
}

func (d deadline) compare(o deadline) int {
	return cmp.Or(d.at.Compare(o.at), cmp.Compare(d.member, o.member), cmp.Compare(d.place, o.place))
}

// deadlines is a heap: the first is due first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].compare(d[j]) < 0 }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }

func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// schedule brings the deadlines to what follows from the State: each input ends with it.
// They are few, for neighbors are.
func (s *State) schedule() {
	s.deadlines = s.deadlines[:0]
	s.scheduleAll(ownClocks[:], "")
	for name := range s.observed {
		s.scheduleAll(memberClocks[:], name)
	}
	for name := range s.suspicions {
		if s.observed[name] == nil {
			s.scheduleAll(memberClocks[:], name)
		}
	}
	heap.Init(&s.deadlines)
}

func (s *State) scheduleAll(clocks []clock, member string) {
	for i := range clocks {
		if at, ok := clocks[i].due(s, member); ok {
			s.deadlines = append(s.deadlines, deadline{at, member, i, &clocks[i]})
		}
	}
}

// Next returns when to call Tick if nothing happens before.
func (s *State) Next() time.Time {
	if len(s.deadlines) == 0 {
		return time.Time{} // no input was taken yet
	}
	return s.deadlines[0].at
}

// Tick does what is due. What an earlier deadline made moot is left.
func (s *State) Tick(now time.Time) {
	s.resume(now)
	for len(s.deadlines) > 0 && !now.Before(s.deadlines[0].at) {
		d := heap.Pop(&s.deadlines).(deadline)
		if at, ok := d.clock.due(s, d.member); ok && !now.Before(at) {
			d.clock.expire(s, now, d.member)
		}
	}
	s.schedule()
}
