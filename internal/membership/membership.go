// Package membership tells within a fraction of a second which speakers are alive.
// Kubernetes says who should be there. The speakers find out among themselves who is:
// each holds BFD sessions with its neighbors on a ring, usually six and at most
// eight whatever the number of speakers.
//
// The words are SWIM's. A speaker whose session with a neighbor expires suspects it,
// and asks its other neighbors. It is confirmed as dead when more of them have lost it
// than see it, and each member gets one datagram about it. A speaker that is suspected and
// lives refutes, with a higher incarnation. One that restarts says so, and stays: its
// node still forwards what its neighbors on the link send there. One that reaches no member,
// and gets no answer from a gateway, knows that it is isolated.
//
// State is the protocol, in the shape of raft's state machine: Step, Tick and other
// inputs, and after each of them Ready. Group gives it sockets, a clock and a goroutine.
// SWIM libraries (memberlist) probe one random member a period, which takes seconds to
// find a loss; BFD between fixed neighbors takes a few packets. They also choose
// members themselves, which here Kubernetes does.
//
// State finds by its own deadlines that this speaker stalled, before it judges sessions that
// expired meanwhile; package layer2 has a watchdog beside, because it must know before it sends
// the next frame, from any goroutine, when this State may not have had an input yet.
//
// It decides nothing about who announces what.
package membership

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Member is a speaker that should be there.
type Member struct {
	Name string     // of its node
	Addr netip.Addr // where it can be reached: its node's address
	// Subnet is that of a link of its node that Addr is in; the zero Prefix: not known.
	Subnet netip.Prefix
	// Silent: its Lease has expired, so Kubernetes does not hear of it either.
	Silent bool
}

// Config is the configuration of a Group. The zero Config has no members.
type Config struct {
	Members    []Member      // with this speaker itself
	Keys       [][]byte      // the first signs, any may have signed what arrives; none: no members
	Interval   time.Duration // between BFD packets
	Multiplier uint8         // packets missed until a session is lost
	Port       uint16        // of the BFD sessions
	Segments   []Segment     // subnets that are watched beside
	Isolation  Isolation     // what shows that this node is cut off
}

// Segment is a subnet on a link of this node, other than that of its node address, to
// which other nodes also have a link. Which members are alive on it is found there, by
// sessions between the addresses that the nodes have in it. What speakers say about
// it goes from node address to node address, so that it also gets to those whose link
// there is down.
type Segment struct {
	Prefix  netip.Prefix
	Addr    netip.Addr // this node's in it
	Up      bool       // the own link has a carrier
	Members []string   // the nodes with a link in it, this one too; of Config.Members
}

// View is the state of the members. The zero View has none.
type View struct {
	Standing map[string]Standing // of each member
	// Backups are, for each member that restarts, those that are Alive, in the
	// order in which they answer in its place.
	Backups map[string][]string
	// Isolated: this speaker reaches no other speaker and no other host.
	Isolated bool
	// Sessions are the own ones, and Up how many of them are Up.
	Sessions, Up int
	// Reachable: others hear this speaker. Its sessions need not have come Up yet, if it has
	// just started and heard another one.
	Reachable bool
	// Down has the members with which a session is not Up: since when.
	Down map[string]time.Time
	// StillUp are the Dead members with which a session is Up all the same: most of their
	// watchers have lost them, and this speaker has not.
	StillUp []string
	// NeverMet are the Dead members of which this speaker never knew otherwise.
	NeverMet map[string]bool
	// Callers are those who are no members, and sign as speakers; with when they were heard
	// last, to a second. Kubernetes may know of them by now.
	Callers map[string]time.Time
	// Segments has what is known of each Segment of the Config. There a member is
	// Dead whose link is dead, and this speaker is Isolated if its own is.
	Segments map[netip.Prefix]View
	// Addrs are, of a Segment, the addresses of the members there, as far as they told,
	// sorted.
	Addrs []netip.Addr
}

// Heard reports whether a member is found alive, and on each segment its link, so that what
// Kubernetes says of it decides nothing.
func (v View) Heard(name string) bool {
	if _, down := v.Down[name]; down {
		return false
	}
	standing, known := v.Standing[name]
	if !known || standing == Dead || standing == Unknown {
		return false
	}
	for _, segment := range v.Segments {
		if standing, known := segment.Standing[name]; known && standing == Dead {
			return false
		}
	}
	return true
}

// Sessions is a *bfd.Engine.
type Sessions interface {
	Set([]bfd.Session)
	States() []bfd.State
	Changed() <-chan struct{}
	Run(context.Context) error
}

// Transport carries datagrams between speakers.
type Transport interface {
	// Send sends from an address of this node; from the zero Addr: from the one that the
	// kernel chooses.
	Send(from, to netip.Addr, b []byte) error
	// Deliver calls receive with what arrives, until ctx ends. b is valid until
	// receive returns.
	Deliver(ctx context.Context, receive func(b []byte)) error
}

// Reply is what a probe came to.
type Reply uint8

// The replies.
const (
	Inconclusive Reply = iota // there is no host to ask, or no way to
	Unanswered
	Answered
)

// Prober asks hosts on this node's links for a sign of life that needs no
// speaker there: ARP or NDP.
type Prober interface {
	// Probe asks addr, or with the zero Addr a host that is no member: a gateway, in
	// the given subnet unless that is zero.
	Probe(ctx context.Context, subnet netip.Prefix, addr netip.Addr) Reply
}

// Hold is how long a restarting speaker asks the others to wait for it.
const Hold = 10 * time.Second

// Group is this speaker among the others. Make one with New.
type Group struct {
	self        string
	incarnation uint64
	sessions    Sessions
	transport   Transport
	prober      Prober
	log         *slog.Logger

	config  atomic.Pointer[Config]
	view    atomic.Pointer[View]
	wake    chan struct{} // buffered 1: the config has changed
	changed chan struct{} // buffered 1: the view has

	inbox     chan Message
	replies   chan reply
	discarded atomic.Uint64
	numbers   numbers
	replays   replays
}

// reply is one that came for the watch of a segment.
type reply struct {
	segment netip.Prefix
	from    Target
	Reply
}

// New returns a Group without members. incarnation must be greater than at the last
// start of this speaker: a time. It starts nothing.
func New(self string, incarnation uint64, sessions Sessions, transport Transport, prober Prober, log *slog.Logger) *Group {
	g := &Group{
		self: self, incarnation: incarnation, sessions: sessions, transport: transport, prober: prober, log: log,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), inbox: make(chan Message, 256), replies: make(chan reply, 16),
	}
	g.numbers.start.Store(incarnation)
	g.config.Store(&Config{})
	g.view.Store(&View{})
	return g
}

// Set replaces the config and returns at once. The same again does nothing.
func (g *Group) Set(c Config) {
	c.Members, c.Keys = slices.Clone(c.Members), slices.Clone(c.Keys)
	if old := g.config.Swap(&c); !reflect.DeepEqual(*old, c) {
		wait.Signal(g.wake)
	}
}

// View returns who is alive now. It must not be changed.
func (g *Group) View() View { return *g.view.Load() }

// Reachable reports whether other speakers reach this one: they get a datagram when it
// restarts.
func (g *Group) Reachable() bool { return g.View().Reachable }

// Changed gets a value after the View has changed.
func (g *Group) Changed() <-chan struct{} { return g.changed }

// Discarded counts the datagrams that were not signed with a key, had been received
// before, came from an unknown sender, or could not be parsed.
func (g *Group) Discarded() uint64 { return g.discarded.Load() }

// signed returns a message as it is sent, with a number of its own.
func (g *Group) signed(config *Config, m Message) ([]byte, bool) {
	m.Start, m.Number = g.numbers.next()
	b, err := m.sign(config.Keys[0])
	if err != nil {
		g.log.Error("can't tell the other speakers", "err", err)
	}
	return b, err == nil
}

// remind tells a member that a later start of it is known.
func (g *Group) remind(config *Config, name string, known uint64) {
	var self, to netip.Addr
	for _, m := range config.Members {
		switch m.Name {
		case g.self:
			self = m.Addr
		case name:
			to = m.Addr
		}
	}
	if b, ok := g.signed(config, Message{From: g.self, Known: known}); ok {
		if err := g.transport.Send(sourceTo(self, to), to, b); err != nil {
			g.log.Debug("can't reach a speaker", "node", name, "err", err)
		}
	}
}
