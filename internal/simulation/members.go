package simulation

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// sortedKeys returns the keys of a map in an order that does not depend on chance.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// act does what the members' State wants done.
func (s *speaker) act() {
	o := s.members.Ready()
	for _, l := range o.Send {
		s.mail(l)
	}
	for _, q := range o.Probe {
		s.question(q)
	}
	if o.Stale {
		s.view = s.members.View()
	}
	if o.Changed {
		s.say("    %s: members %v, isolated %v", s.node.name, s.view.Standing, s.view.Isolated)
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
func (s *speaker) mail(l membership.Packet) {
	to := l.To
	if to == nil {
		to = sortedKeys(s.peers)
	}
	from := s.node
	var hosts []*node
	for _, name := range to {
		if n := s.peers[name]; n != nil && n != from {
			hosts = append(hosts, n)
		}
	}
	s.after(s.within(50*time.Microsecond, 500*time.Microsecond), func() {
		for _, n := range hosts {
			if r := n.speaker; r != nil && s.lan.reaches(from.place, n.place) {
				r.run(func() {
					r.members.Step(r.now, l.Message)
					r.act()
				})
			}
		}
	})
}

// patience is how long a host has to answer.
const patience = 80 * time.Millisecond

// question asks for a sign of life.
func (s *speaker) question(q membership.Target) {
	answer := func(after time.Duration, r membership.Reply) {
		s.in(after, func() {
			s.members.Answer(s.now, q, r)
			s.act()
		})
	}
	host := s.lan.router()
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
			answer(patience, membership.Unanswered)
		}
	})
}
