package membership

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Message is what speakers tell one another, in a datagram.
type Message = message

// Session is what an own BFD session shows.
type Session struct {
	Up    bool
	Ups   uint64 // how often it has come Up
	Heard bool   // anything at all is heard of its peer
	Ended bool   // the peer said that it ends the session on purpose
	// Refused: the peer says that it heard nothing of this speaker for too long.
	Refused bool
}

// Question is a question for a Witness.
type Question = question

// Output is what is to be done after an input.
type Output struct {
	Send []Letter
	Ask  []Question
	// Stale: View would show something else than before. Changed: that is more than
	// a count.
	Stale, Changed bool
}

// Letter is a message to send; To is nil for all members.
type Letter struct {
	To      []string
	Message Message
}

// SetMembers takes over who should be there, and after which time without packets
// their sessions expire.
func (c *State) SetMembers(now time.Time, members []Member, detect time.Duration) {
	c.detect = detect
	c.silent, c.subnets = map[string]bool{}, map[string]netip.Prefix{}
	for _, m := range members {
		c.silent[m.Name] = m.Silent
		if m.Subnet.IsValid() {
			c.subnets[m.Name] = m.Subnet
		}
	}
	c.set(now, slices.Collect(maps.Keys(c.silent)))
}

// Neighbors returns the members with whom this one is to have a session.
func (c *State) Neighbors() []string { return c.ring.neighbors(c.self) }

// Session takes in what the session with a neighbor shows.
func (c *State) Session(now time.Time, neighbor string, s Session) {
	// Nothing is heard of a peer that was here, and that did not say it ends the
	// session on purpose.
	lost := !s.Up && s.Ups > 0 && !s.Heard && !s.Ended
	c.watched(now, neighbor, s.Up, s.Ups, lost)
	if x := c.sees[neighbor]; x != nil {
		x.refused = s.Refused && !s.Up
	}
}

// Step takes in a message.
func (c *State) Step(now time.Time, m Message) { c.hear(now, m) }

// Answer takes in the reply to a question.
func (c *State) Answer(now time.Time, q Question, r Reply) { c.answered(now, q, r) }

// Restart has all told that this speaker stops, to come back within Hold.
func (c *State) Restart(now time.Time) { c.restart(now, Hold) }

// Restarted reports whether all has been told.
func (c *State) Restarted() bool { return c.stopped && len(c.later) == 0 }

// Tick does what is due.
func (c *State) Tick(now time.Time) { c.tick(now) }

// Next returns when to call Tick if nothing happens before.
func (c *State) Next() time.Time { return c.next() }

// View returns who is there.
func (c *State) View() View { return c.view() }

// Ready returns what is to be done, once.
func (c *State) Ready() Output {
	o := Output{Send: c.out, Ask: c.ask, Stale: c.stale || c.changed, Changed: c.changed}
	c.out, c.ask, c.changed, c.stale = nil, nil, false, false
	return o
}
