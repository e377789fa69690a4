package membership

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// healDelay is how long a speaker that was isolated waits for its sessions when
// another host answers again.
const healDelay = 3 * time.Second

// admission is for how long it counts that a member said that it is dead. An isolated
// speaker repeats it every gossipInterval to those who can hear it: a speaker that no longer
// hears it may be cut off itself.
const admission = 3 * gossipInterval

// Isolation is what shows a speaker that reaches no other that its node is cut off. Whichever
// it is, a link without a carrier does. The zero value is ByGateway.
type Isolation string

// The values of Isolation.
const (
	// ByGateway: no gateway answers. Where there is none, ByPeers counts.
	ByGateway Isolation = "gateway"
	// ByPeers: sessions that worked are lost, whatever a gateway answers: every switch may
	// have that of its own. One of two nodes can't tell, and answers.
	ByPeers Isolation = "peers"
	// Never: it is not. The other speakers are dead to it.
	Never Isolation = "never"
)

// IsolationUsage says what the flag --isolation does.
const IsolationUsage = "when a node that reaches no other speaker counts as cut off, and answers for no address: gateway: no default gateway answers it (without one: as peers); peers: it has lost the others, whatever a gateway answers, until their Leases expire; never: it answers, and so may another node. A link without a carrier is cut off in any case. All speakers need the same value"

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Isolation) UnmarshalText(text []byte) error {
	*i = Isolation(text)
	if *i != ByGateway && *i != ByPeers && *i != Never {
		return fmt.Errorf("%q: it must be %s, %s or %s", text, ByGateway, ByPeers, Never)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (i Isolation) MarshalText() ([]byte, error) { return []byte(i), nil }

// Target is whom to probe: the node of a member, or with "" any neighbor of this
// node that is no member.
type Target string

// probe asks a target for a sign of life, unless a reply is awaited.
func (s *State) probe(t Target) {
	if !s.probing[t] {
		s.probing[t] = true
		s.probes = append(s.probes, t)
	}
}

// probeAnswered records whether a host that is no member answers. If so this node
// is not cut off, and the members that no other sees are dead. If none answers, it is.
func (s *State) probeAnswered(now time.Time, r Reply) {
	if s.hears("") {
		return
	}
	cut := s.linkDown || s.isCut(now, r)
	if s.isolated && !cut && !s.allSilent(now) {
		// The sessions come Up in a moment, unless the others really are dead.
		if s.answered.IsZero() {
			s.answered = now
		}
		cut = now.Before(s.answered.Add(healDelay))
	} else {
		s.answered = time.Time{}
	}
	s.isolate(now, cut)
	if cut {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.observed)) {
		if o := s.observed[name]; o.decided && len(s.votes[name]) == 0 && !s.isHeld(now, name) && s.standing(name) != Dead {
			s.confirm(now, name)
		}
	}
}

// isCut reports whether a reply says that this node is cut off. Where there is no host
// to ask, one of two nodes can't tell, and rather answers twice than not at all. One that
// hears that it is dead, and whose refutation does not arrive, is.
func (s *State) isCut(now time.Time, r Reply) bool {
	switch {
	case len(s.observed) == 0 || s.allSilent(now) || s.meets(now) || s.Isolation == Never:
		return false
	case r == Inconclusive || s.Isolation == ByPeers:
		return len(s.observed) > 1 && (s.isolated || s.hasLost() || s.refuting || s.allRefuse(now))
	}
	return r == Unanswered
}

// othersPinged is how many members that are no neighbors are pinged by a speaker none of whose
// sessions is Up.
const othersPinged = 3

// pingOthers asks some members that are no neighbors, others each time, whether they are
// heard: where there are many, a speaker may have lost all whom it has sessions with.
func (s *State) pingOthers(now time.Time) {
	if s.alone.IsZero() || s.indirect {
		return
	}
	var to []string
	for range s.members {
		s.pinged = (s.pinged + 1) % len(s.members)
		name := s.members[s.pinged]
		if name != s.self && s.observed[name] == nil && s.standing(name) == Alive {
			to = append(to, name)
		}
		if len(to) == othersPinged {
			break
		}
	}
	maps.DeleteFunc(s.asked, func(_ string, at time.Time) bool { return now.Sub(at) >= gossipInterval })
	for _, name := range to {
		s.asked[name] = now
	}
	s.ping(to)
}

// meets reports whether a member that is no neighbor has replied since no session is Up. That one is
// heard proves nothing: perhaps what this speaker sends gets nowhere.
func (s *State) meets(now time.Time) bool {
	return !s.alone.IsZero() && s.met.After(s.alone) && now.Before(s.met.Add(2*gossipInterval))
}

// hasLost reports whether a session that worked is lost.
func (s *State) hasLost() bool {
	for _, o := range s.observed {
		if o.decided {
			return true
		}
	}
	return false
}

// allRefuse reports whether all neighbors show that they do not hear this speaker: then
// it can hear, and nothing that it sends gets anywhere. Unless one says that of a session that
// has worked, it counts after a time only: both sides may say so while a session comes Up.
func (s *State) allRefuse(now time.Time) bool {
	for _, o := range s.observed {
		if says := o.refused && o.worked; !says && !(o.oneWay && !now.Before(o.down.Add(healDelay))) {
			return false
		}
	}
	return true
}

// allSilent reports whether all other members are dead, as is known from elsewhere: their
// Leases have expired, or they go on saying so themselves.
func (s *State) allSilent(now time.Time) bool {
	for _, name := range s.members {
		k := s.known[name]
		if name != s.self && !s.silent[name] && (k == nil || !now.Before(k.admitted.Add(admission))) {
			return false
		}
	}
	return len(s.observed) > 0
}

// isolationDue is when to probe whether any host answers.
func (s *State) isolationDue(string) (time.Time, bool) {
	again := s.probed.Add(probeInterval)
	if s.isolated {
		return again, true
	}
	from, ok := s.aloneFrom()
	if from.After(again) {
		return from, ok
	}
	return again, ok
}

// aloneFrom returns from when on this speaker must probe whether any host answers although
// it has lost no member, or others saw those that it lost: none of its sessions is Up, and
// some neighbor says that it does not hear this speaker, or was lost and counts as alive;
// or on a segment all were lost, and some are alive as they say by another way; or for long,
// though Kubernetes hears a neighbor. ok is false if there is no reason to.
func (s *State) aloneFrom() (from time.Time, ok bool) {
	if s.alone.IsZero() {
		return from, false
	}
	doubted, there := false, false
	for name, o := range s.observed {
		expected := s.isExpected(name, Alive)
		doubted, there = doubted || expected && (o.refused || o.decided), there || expected
	}
	switch {
	case doubted, s.indirect && there && s.hasLost():
		return s.alone.Add(Answers), true
	case there || s.expectsDead():
		return s.alone.Add(healDelay), true
	}
	return from, false
}

// accompanied takes in whether any session is Up.
func (s *State) accompanied(now time.Time) {
	if len(s.observed) == 0 || s.hears("") {
		s.alone = time.Time{}
	} else if s.alone.IsZero() {
		s.alone = now
		s.pingOthers(now)
	}
}

// isExpected reports whether a member has a standing though Kubernetes hears it.
func (s *State) isExpected(name string, standing Standing) bool {
	return s.standing(name) == standing && !s.silent[name]
}

// expectsDead reports whether Kubernetes hears a neighbor that is dead.
func (s *State) expectsDead() bool {
	for name := range s.observed {
		if s.isExpected(name, Dead) {
			return true
		}
	}
	return false
}

func (s *State) probeHosts(now time.Time, _ string) {
	s.probed = now
	s.probe("")
}

// isolate records whether this speaker reaches no other. Then it reports itself as dead,
// and starts another incarnation when it reaches a member again.
func (s *State) isolate(now time.Time, is bool) {
	if s.isolated == is {
		return
	}
	s.isolated, s.changed = is, true
	if is {
		s.broadcast(now, Message{Updates: []update{s.own()}})
		return
	}
	s.incarnation++
	s.refuting = true
}
