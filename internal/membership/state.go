package membership

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// State decides, from what it observes and hears, who is alive. Make one with NewState.
//
// It has no clock, no sockets and no goroutine. Its inputs are SetMembers, Session, Step,
// Answer, Restart and Tick. After each of them Ready says what is to be done, and Next
// when to call Tick if nothing else happens.
type State struct {
	Isolation   Isolation // what shows that this node is cut off; set before the first input
	self        string
	incarnation uint64
	stopped     bool // this speaker is restarting
	members     []string
	silent      map[string]bool // members whose Leases have expired
	detect      time.Duration   // after which a session without packets expires
	subnets     map[string]netip.Prefix
	ring        ring

	known      map[string]*record
	callers    map[string]time.Time       // who is heard and no member: when last, to a second
	suspicions map[string]suspicion       // by member that others say is dead, and this speaker sees
	observed   map[string]*observation    // by neighbor
	votes      map[string]map[string]bool // by member, by voter: whether the voter sees the member; of its present incarnation

	isolated  bool
	alone     time.Time       // since when there are neighbors and none of their sessions is Up, whichever they are; zero: one is
	met       time.Time       // when a member that is no neighbor last replied
	linkDown  bool            // the own link has no carrier
	probed    time.Time       // when it last probed whether any host answers
	answered  time.Time       // since when one does again
	probing   map[Target]bool // no reply yet
	refuting  bool            // a member reports that this speaker is dead, and has not got the refutation yet
	indirect  bool            // messages don't go the way that sessions watch
	refuteAt  time.Time       // when to refute, if sessions are Up then; zero: need not
	gossiped  time.Time
	asked     map[string]time.Time // members that are no neighbors and were pinged lately: when last
	pinged    int                  // the place among the members of the one that was pinged last
	input     time.Time            // when there was one last
	resumed   time.Time            // when there was an input again after this speaker had stood still
	deadlines deadlines
	outbox
}

// record is the newest update about a member, and what follows from it here.
type record struct {
	update
	until     time.Time // end of the hold
	learned   time.Time
	sendUntil time.Time // an Alive is sent to neighbors until then
	probed    time.Time
	missed    int
	answered  time.Time // of a Restarting: when its node last did
	slow      bool      // the session with it was not Up when this was learned
	warned    bool      // of a Dead: the member got a warning
	neverMet  bool      // of a Dead: nothing else was ever known of the member
	admitted  time.Time // of a Dead: when the member last said so itself; zero: it does not
}

// NewState returns the State of a member that knows no other yet. incarnation must be
// greater than at its last start.
func NewState(self string, incarnation uint64) *State {
	return &State{
		self: self, incarnation: incarnation, known: map[string]*record{}, callers: map[string]time.Time{}, suspicions: map[string]suspicion{},
		observed: map[string]*observation{}, votes: map[string]map[string]bool{}, probing: map[Target]bool{}, asked: map[string]time.Time{},
	}
}

// NewSegmentState returns the same for a segment, whose members' messages don't go the way
// that their sessions watch: they also reach those whose link there is dead.
func NewSegmentState(self string, incarnation uint64) *State {
	s := NewState(self, incarnation)
	s.indirect = true
	return s
}

// SetMembers takes over who should be there, and after which time without packets
// their sessions expire.
func (s *State) SetMembers(now time.Time, members []Member, detect time.Duration) {
	s.resume(now)
	defer s.schedule()
	before, subnets := s.members, s.subnets
	s.detect = detect
	s.silent, s.subnets = map[string]bool{}, map[string]netip.Prefix{}
	for _, m := range members {
		s.silent[m.Name] = m.Silent
		if m.Subnet.IsValid() {
			s.subnets[m.Name] = m.Subnet
		}
	}
	s.members = slices.Sorted(maps.Keys(s.silent))
	if slices.Equal(before, s.members) && maps.Equal(subnets, s.subnets) {
		return
	}
	s.changed = true
	s.ring = newRing(s.members, s.subnets)
	s.forget(now)
	if !slices.Contains(before, s.self) && s.isMember(s.self) {
		s.broadcastAlive()
		s.pingUnknown() // who replies has heard that this speaker is back
	}
	if len(s.observed) == 0 {
		s.isolate(now, false) // there is no other member
	}
	for _, name := range s.members { // some that had a vote may be gone
		s.judge(now, name)
	}
}

// forget drops what is known of those who are no members any more, and of those who
// are no neighbors, and begins to observe the new neighbors.
func (s *State) forget(now time.Time) {
	former := func(name string) bool { return !s.isMember(name) }
	maps.DeleteFunc(s.known, func(name string, _ *record) bool { return former(name) })
	maps.DeleteFunc(s.callers, func(name string, _ time.Time) bool { return s.isMember(name) })
	maps.DeleteFunc(s.suspicions, func(name string, _ suspicion) bool { return former(name) })
	maps.DeleteFunc(s.votes, func(name string, _ map[string]bool) bool { return former(name) })
	for _, votes := range s.votes {
		maps.DeleteFunc(votes, func(name string, _ bool) bool { return former(name) })
	}
	neighbors := s.Neighbors()
	maps.DeleteFunc(s.observed, func(name string, _ *observation) bool { return !slices.Contains(neighbors, name) })
	for _, n := range neighbors {
		if s.observed[n] == nil {
			s.observed[n] = &observation{down: now}
		}
	}
	s.accompanied(now)
}

func (s *State) isMember(name string) bool {
	_, ok := slices.BinarySearch(s.members, name)
	return ok
}

// Neighbors returns the members with whom this one is to have a session. Callers must not change
// the slice.
func (s *State) Neighbors() []string { return s.ring.neighbors(s.self) }

// Session takes in what the session with a neighbor shows.
func (s *State) Session(now time.Time, neighbor string, x Session) {
	s.resume(now)
	defer s.schedule()
	s.observe(now, neighbor, x)
}

// SetLink takes in whether the own link has a carrier: without, it reports that to the others at
// once.
func (s *State) SetLink(now time.Time, up bool) {
	defer s.schedule()
	if s.linkDown == !up {
		return
	}
	s.linkDown = !up
	switch {
	case !up:
		s.isolate(now, true)
	case s.hears(""): // no session was lost meanwhile
		s.isolate(now, false)
		s.refute()
	}
}

// BroadcastAlive tells all once more that this speaker is alive.
func (s *State) BroadcastAlive(now time.Time) {
	defer s.schedule()
	s.broadcast(now, Message{Updates: []update{s.own()}})
}

// Step takes in a message.
func (s *State) Step(now time.Time, m Message) {
	s.resume(now)
	defer s.schedule()
	if m.From == s.self {
		return
	}
	if !s.isMember(m.From) {
		s.called(now, m.From)
		return
	}
	if asked := s.asked[m.From]; now.Sub(asked) < gossipInterval {
		s.met = now
	}
	for _, u := range m.Updates {
		s.hear(now, m.From, u)
	}
	if m.Ping && !s.stopped {
		s.reply(now, m.From)
	}
	if m.Alive != nil {
		s.count(now, m.From, *m.Alive, true)
	}
	if m.Suspect == nil {
		return
	}
	if s.known[m.Suspect.Member] == nil {
		s.merge(now, *m.Suspect) // an answer about no known incarnation would not count
	}
	if o := s.observed[m.Suspect.Member]; o != nil && (o.up || s.vouches(now, m.Suspect.Member)) {
		s.send([]string{m.From}, Message{Alive: s.present(m.Suspect.Member)})
	}
	s.count(now, m.From, *m.Suspect, false)
}

// called records that a sender is heard that is no member.
func (s *State) called(now time.Time, name string) {
	if now.Sub(s.callers[name]) >= callInterval {
		_, known := s.callers[name]
		s.callers[name], s.stale, s.changed = now, true, s.changed || !known
	}
}

// Answer takes in the reply to a probe.
func (s *State) Answer(now time.Time, t Target, r Reply) {
	s.resume(now)
	defer s.schedule()
	delete(s.probing, t)
	if t == "" {
		s.probeAnswered(now, r)
	} else {
		s.memberAnswered(now, string(t), r)
	}
}

// Restart has all told that this speaker stops, to come back within Hold.
func (s *State) Restart(now time.Time) {
	defer s.schedule()
	s.stopped = true
	s.broadcast(now, Message{Updates: []update{{Member: s.self, Incarnation: s.incarnation, Standing: Restarting, Hold: Hold}}})
}

// Restarted reports whether all has been told.
func (s *State) Restarted() bool { return s.stopped && len(s.repeats) == 0 }

// standing returns what counts for a member.
func (s *State) standing(name string) Standing {
	if k := s.known[name]; k != nil {
		return k.Standing
	}
	return Alive
}

// present names the incarnation of a member that is known.
func (s *State) present(name string) *update {
	u := &update{Member: name}
	if k := s.known[name]; k != nil {
		u.Incarnation = k.Incarnation
	}
	return u
}

// View returns who is alive.
func (s *State) View() View {
	v := View{Isolated: s.isolated, Reachable: s.reachable(), Standing: make(map[string]Standing, len(s.members)), Backups: map[string][]string{}, Down: map[string]time.Time{}, NeverMet: map[string]bool{}}
	for _, name := range s.members {
		standing := Alive
		if k := s.known[name]; k != nil {
			if standing = k.Standing; k.neverMet {
				v.NeverMet[name] = true
			}
		} else if name != s.self {
			standing = Unknown
		}
		if v.Standing[name] = standing; standing == Restarting {
			v.Backups[name] = s.backups(name)
		}
	}
	for name, o := range s.observed {
		v.Sessions++
		if o.up {
			v.Up++
		} else {
			v.Down[name] = o.down
		}
		if o.up && s.standing(name) == Dead {
			v.StillUp = append(v.StillUp, name)
		}
	}
	slices.Sort(v.StillUp)
	if len(s.callers) > 0 {
		v.Callers = maps.Clone(s.callers)
	}
	return v
}

// reachable reports whether others hear this speaker, as far as it knows.
func (s *State) reachable() bool {
	if s.hears("") {
		return true
	}
	for _, o := range s.observed {
		if o.worked {
			return false
		}
	}
	return slices.ContainsFunc(s.members, func(name string) bool { return s.known[name] != nil && s.standing(name) == Alive })
}

// backups returns the members after name that are Alive.
func (s *State) backups(name string) []string {
	var out []string
	for _, n := range s.ring.after(name, len(s.members)) {
		if s.standing(n) == Alive {
			out = append(out, n)
		}
	}
	return out
}
