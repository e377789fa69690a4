package simulation

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// sortedKeys returns the keys of a map in an order that does not depend on chance.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// group is the members on one link: those that the nodes' addresses are on, or, in a
// world with a second link, those of the segment that Services' addresses are on.
type group struct {
	*speaker
	segment  bool
	members  *membership.State
	last     membership.View // that was read
	stale    bool            // there is a later one
	config   []membership.Member
	sessions []*session
	sending  time.Time // when transmit comes; zero: not yet
	ticking  time.Time // when the members' tick comes; zero: not yet
}

func (s *speaker) newGroup(segment bool) group {
	state := membership.NewState
	if segment {
		state = membership.NewSegmentState
	}
	members := state(s.node.name, uint64(s.now.Add(s.node.skew).UnixMilli()))
	members.Isolation = s.isolation()
	return group{speaker: s, segment: segment, members: members}
}

func (s *speaker) group(segment bool) *group {
	if segment {
		return &s.second
	}
	return &s.first
}

// view returns who is alive.
func (s *group) view() membership.View {
	if s.stale {
		s.last, s.stale = s.members.View(), false
	}
	return s.last
}

// view is what the groups know together.
func (s *speaker) view() membership.View {
	v := s.first.view()
	if s.SecondLink {
		v.Segments = map[netip.Prefix]membership.View{s.node.prefix(): s.second.view()}
	}
	return v
}

// set tells the members who should be there.
func (s *group) set(config []membership.Member) {
	s.config = config
	s.members.SetMembers(s.now, config, multiplier*fast)
	s.setSessions(s.members.Neighbors())
	for _, x := range s.sessions {
		s.tellOf(x)
	}
	s.act()
}

// reaches reports whether a packet gets from a node to another on one of their links.
func (w *world) reaches(a, b *node, segment bool) bool {
	if w.SecondLink && !segment {
		return a.alive() && b.alive()
	}
	return w.lan.reaches(a.place, b.place)
}

// act does what the members' State wants done.
func (s *group) act() {
	o := s.members.Ready()
	for _, l := range o.Send {
		s.mail(l)
	}
	for _, q := range o.Probe {
		s.question(q)
	}
	s.stale = s.stale || o.Stale
	if o.Changed {
		if s.log != nil {
			s.logf("    %s: members %v, isolated %v, segment %v", s.node.name, s.view().Standing, s.view().Isolated, s.segment)
		}
		s.wake()
	}
	next := s.members.Next()
	if s.ticking.IsZero() || next.Before(s.ticking) {
		s.ticking = next
		s.at(next, func() {
			if s.ticking.Equal(next) {
				s.ticking = time.Time{}
				s.members.Tick(s.now)
				s.act()
			}
		})
	}
}

// mail carries a letter to each of its receivers.
func (s *group) mail(l membership.Packet) {
	from, hosts := s.node, s.others
	if l.To != nil {
		hosts = nil
		for _, name := range l.To {
			if n := s.peers[name]; n != nil && n != from {
				hosts = append(hosts, n)
			}
		}
	}
	s.after(s.within(50*time.Microsecond, 500*time.Microsecond), func() {
		for _, n := range hosts {
			if r := n.speaker; r != nil && s.reaches(from, n, false) {
				r.run(func() {
					g := r.group(s.segment)
					g.members.Step(r.now, l.Message)
					g.act()
				})
			}
		}
	})
}

// replyTimeout is how long a host has to answer.
const replyTimeout = 80 * time.Millisecond

// questionFirst does the same on the nodes' first links, where nothing but the nodes fails
// in a world with second ones.
func (s *group) questionFirst(q membership.Target, answer func(time.Duration, membership.Reply)) {
	n := s.peers[string(q)]
	switch {
	case q == "" && s.Gateway, n != nil && n.alive():
		answer(time.Millisecond, membership.Answered)
	case q == "", n == nil:
		answer(0, membership.Inconclusive)
	default:
		answer(replyTimeout, membership.Unanswered)
	}
}

// question asks for a sign of life.
func (s *group) question(q membership.Target) {
	answer := func(after time.Duration, r membership.Reply) {
		s.in(after, func() {
			s.members.Answer(s.now, q, r)
			s.act()
		})
	}
	host := s.lan.router()
	if s.SecondLink && !s.segment {
		s.questionFirst(q, answer)
		return
	}
	if q != "" {
		n := s.peers[string(q)]
		if n == nil || n.subnet != s.node.subnet {
			answer(0, membership.Inconclusive)
			return
		}
		host = n.place
	} else if !s.Gateway {
		answer(0, membership.Inconclusive)
		return
	}
	silent := q == "" && s.lan.silent > 0
	s.after(time.Millisecond, func() {
		if s.lan.talk(s.node.place, host) && !silent {
			answer(0, membership.Answered)
		} else {
			answer(replyTimeout, membership.Unanswered)
		}
	})
}
