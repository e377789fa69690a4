package membership

import (
	"cmp"
	"slices"
	"time"
)

const (
	// gossipInterval is how often neighbors tell each other what they know, so that a
	// lost datagram does no lasting harm.
	gossipInterval = time.Second
	// pings is how many members that were not heard yet are pinged at a time.
	pings = 16
)

// repeatAfter is when a message that matters is sent again. Who has it already
// does nothing.
var repeatAfter = [...]time.Duration{30 * time.Millisecond, 90 * time.Millisecond}

// Output is what is to be done after an input.
type Output struct {
	Send  []Packet
	Probe []Target
	// Stale: View would show something else than before. Changed: that is more than
	// a count.
	Stale, Changed bool
}

// Packet is a message to send; To is nil for all members.
type Packet struct {
	To      []string
	Message Message
}

// outbox is what inputs came to, until Ready hands it out.
type outbox struct {
	packets []Packet
	repeats []repeat // in no order
	probes  []Target
	changed bool // who is there has changed
	stale   bool // what View says, but for who is there
}

// repeat is a packet to send once more.
type repeat struct {
	at time.Time
	Packet
}

// Ready returns what is to be done, once.
func (s *State) Ready() Output {
	o := Output{Send: s.packets, Probe: s.probes, Stale: s.stale || s.changed, Changed: s.changed}
	s.packets, s.probes, s.changed, s.stale = nil, nil, false, false
	return o
}

// send sends a message once.
func (s *State) send(to []string, m Message) {
	m.From = s.self
	updates := m.Updates
	for len(updates) > most {
		m.Updates, updates = updates[:most], updates[most:]
		s.packets = append(s.packets, Packet{to, m})
	}
	m.Updates = updates
	s.packets = append(s.packets, Packet{to, m})
}

// broadcast sends a message that matters to all: now, and again.
func (s *State) broadcast(now time.Time, m Message) { s.multicast(now, nil, m) }

// multicast does the same to some.
func (s *State) multicast(now time.Time, to []string, m Message) {
	s.send(to, m)
	for _, after := range repeatAfter {
		s.repeats = append(s.repeats, repeat{now.Add(after), s.packets[len(s.packets)-1]})
	}
}

func (s *State) repeatDue(string) (time.Time, bool) {
	if len(s.repeats) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(s.repeats, func(a, b repeat) int { return a.at.Compare(b.at) }).at, true
}

func (s *State) sendAgain(now time.Time, _ string) {
	s.repeats = slices.DeleteFunc(s.repeats, func(r repeat) bool {
		due := !now.Before(r.at)
		if due {
			s.packets = append(s.packets, r.Packet)
		}
		return due
	})
}

func (s *State) gossipDue(string) (time.Time, bool) { return s.gossiped.Add(gossipInterval), true }

// gossip tells the neighbors what they may have missed, and pings members that were not
// heard yet.
func (s *State) gossip(now time.Time, _ string) {
	s.gossiped = now
	updates, to := s.recent(now), s.Neighbors()
	if s.isolated {
		updates = append(updates, s.own())
	}
	if len(updates) > 0 && len(to) > 0 {
		s.send(to, Message{Updates: updates})
	}
	s.pingOthers(now)
	s.pingUnknown()
	s.pingNeighbors()
}

// pingUnknown pings members that have not been heard yet.
func (s *State) pingUnknown() { s.ping(s.unknownMembers()) }

// pingNeighbors pings neighbors that are alive, and with which no session is Up: they may have dropped
// this speaker, and take it for a member again when they hear it.
func (s *State) pingNeighbors() {
	var to []string
	for name, o := range s.observed {
		if !o.up && s.known[name] != nil && s.standing(name) == Alive {
			to = append(to, name)
		}
	}
	slices.Sort(to)
	s.ping(to)
}

// ping asks members to reply with what they say of themselves.
func (s *State) ping(to []string) {
	if len(to) > 0 {
		s.send(to, Message{Ping: true, Updates: []update{s.own()}})
	}
}

// reply answers a ping. A neighbor gets at once what gossip would tell it later: it may have just
// started, and must know who restarts before it hears who is dead.
func (s *State) reply(now time.Time, to string) {
	updates := []update{s.own()}
	if s.observed[to] != nil {
		updates = append(updates, s.recent(now)...)
	}
	s.send([]string{to}, Message{Updates: updates})
}

// recent are the updates that are sent to neighbors repeatedly.
func (s *State) recent(now time.Time) []update {
	var out []update
	for name, k := range s.known {
		if k.Standing != Alive || now.Before(k.sendUntil) {
			out = append(out, s.asSent(now, name))
		}
	}
	slices.SortFunc(out, func(a, b update) int { return cmp.Compare(a.Member, b.Member) })
	return out
}

// unknownMembers returns some members that have not been heard yet, others each time.
func (s *State) unknownMembers() []string {
	var out []string
	if s.isMember(s.self) && len(s.known) == len(s.members)-1 { // as a rule: none is left
		return out
	}
	for range s.members {
		s.pinged = (s.pinged + 1) % len(s.members)
		if name := s.members[s.pinged]; name != s.self && s.known[name] == nil {
			out = append(out, name)
		}
		if len(out) == pings {
			break
		}
	}
	return out
}

// asSent is the state of a member as it is sent to others now.
func (s *State) asSent(now time.Time, name string) update {
	k := s.known[name]
	u := k.update
	u.Hold = max(0, k.until.Sub(now))
	return u
}
