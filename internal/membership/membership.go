// Package membership tells within a fraction of a second which speakers are alive.
// Kubernetes says who should be there. The speakers find out among themselves who is:
// each holds BFD sessions with its neighbors on a ring, six as a rule and at most
// eight whatever the number of speakers.
//
// The words are SWIM's. A speaker whose session with a neighbor expires suspects it,
// and asks its other neighbors. It is confirmed as dead when more of them have lost it
// than see it, and all are told in one datagram each. A speaker that is suspected and
// lives refutes, with a higher incarnation. One that restarts says so, and stays: its
// node still forwards what its neighbors on the link send there. One that hears nobody,
// and whom no gateway answers, knows that it is isolated.
//
// State is the protocol, in the shape of raft's state machine: Step, Tick and other
// inputs, and after each of them Ready. Group gives it sockets, a clock and a goroutine.
// SWIM libraries (memberlist) probe one random member a period, which takes seconds to
// find a loss; BFD between fixed neighbors takes a few packets. They also choose
// members themselves, which here Kubernetes does.
//
// It decides nothing about who announces what.
package membership

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
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

// Config is what a Group is to do. The zero Config watches nobody.
type Config struct {
	Members    []Member      // with this speaker itself
	Keys       [][]byte      // the first signs, any may have signed what arrives; none: watch nobody
	Interval   time.Duration // between BFD packets
	Multiplier uint8         // packets missed until a session is lost
	Port       uint16        // of the BFD sessions
}

// View is who is alive. The zero View knows nobody.
type View struct {
	Standing map[string]Standing // of each member
	// Watchers are, for each member that restarts, those that are Alive, in the
	// order in which they are to stand in for it.
	Watchers map[string][]string
	// Isolated: this speaker hears no other, and nobody else either.
	Isolated bool
	// Sessions are the own ones, and Up how many of them are Up.
	Sessions, Up int
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
	Send(to netip.Addr, b []byte) error
	// Deliver calls receive with what arrives, until ctx ends. b is valid until
	// receive returns.
	Deliver(ctx context.Context, receive func(b []byte)) error
}

// Reply is what a probe came to.
type Reply uint8

// The replies.
const (
	Inconclusive Reply = iota // there is nobody to ask, or no way to
	Unanswered
	Answered
)

// Prober asks hosts on this node's links for a sign of life that needs no
// speaker there: ARP or NDP.
type Prober interface {
	// Probe asks addr, or with the zero Addr somebody who is no member: a gateway.
	Probe(ctx context.Context, addr netip.Addr) Reply
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

	stale, news bool // the view is to be shown; that is more than a count
}

type reply struct {
	from Target
	Reply
}

// New returns a Group without members. incarnation must be greater than at the last
// start of this speaker: a time. It starts nothing.
func New(self string, incarnation uint64, sessions Sessions, transport Transport, prober Prober, log *slog.Logger) *Group {
	g := &Group{
		self: self, incarnation: incarnation, sessions: sessions, transport: transport, prober: prober, log: log,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), inbox: make(chan Message, 256), replies: make(chan reply, 16),
	}
	g.config.Store(&Config{})
	g.view.Store(&View{})
	return g
}

// Set replaces the config and returns at once. The same again does nothing.
func (g *Group) Set(c Config) {
	c.Members, c.Keys = slices.Clone(c.Members), slices.Clone(c.Keys)
	if old := g.config.Swap(&c); !reflect.DeepEqual(*old, c) {
		signal(g.wake)
	}
}

// View returns who is alive now. It must not be changed.
func (g *Group) View() View { return *g.view.Load() }

// Reachable reports whether other speakers hear this one: those are told when it
// restarts.
func (g *Group) Reachable() bool { return g.View().Up > 0 }

// Changed gets a value after the View has changed.
func (g *Group) Changed() <-chan struct{} { return g.changed }

// Discarded counts the datagrams that were not signed with a key, or could not
// be read.
func (g *Group) Discarded() uint64 { return g.discarded.Load() }

// Run takes part until ctx ends. Then it tells the others that this speaker
// restarts.
func (g *Group) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	wg.Go(func() { failed <- g.sessions.Run(running) })
	wg.Go(func() { failed <- g.transport.Deliver(running, g.receive) })
	defer wg.Wait()
	defer stop()
	c := NewState(g.self, g.incarnation)
	timer := time.NewTimer(0)
	defer timer.Stop()
	addrs := map[string]netip.Addr{}
	for done := ctx.Done(); ; {
		select {
		case <-done:
			done = nil
			c.Restart(time.Now())
		case err := <-failed:
			return err
		case <-g.wake:
			addrs = g.configure(c)
			g.look(c, addrs) // a session may be another member's now: of a node that was renamed
		case <-g.sessions.Changed():
			g.look(c, addrs)
		case m := <-g.inbox:
			c.Step(time.Now(), m)
		case r := <-g.replies:
			c.Answer(time.Now(), r.from, r.Reply)
		case <-timer.C:
			c.Tick(time.Now())
		}
		g.act(running, c, addrs)
		if ctx.Err() != nil && done == nil && c.Restarted() {
			return nil
		}
		timer.Reset(time.Until(c.Next()))
	}
}

// configure takes over the config and returns the members' addresses.
func (g *Group) configure(c *State) map[string]netip.Addr {
	config := g.config.Load()
	addrs := map[string]netip.Addr{}
	var members []Member
	if len(config.Keys) > 0 { // without, nothing can be found out, and what was is old
		members = config.Members
	}
	for _, m := range members {
		addrs[m.Name] = m.Addr
	}
	c.SetMembers(time.Now(), members, config.Interval*time.Duration(config.Multiplier))
	keys := bfdKeys(config.Keys)
	if len(keys) < len(config.Keys) {
		g.log.Warn("two membership keys have the same BFD key ID; replace the newer one before rotating")
	}
	var sessions []bfd.Session
	if len(keys) > 0 {
		for _, name := range c.Neighbors() {
			sessions = append(sessions, bfd.Session{
				Path:     bfd.Path{Peer: addrs[name], Hops: bfd.Multihop, Port: config.Port},
				Transmit: config.Interval, Receive: config.Interval, Multiplier: config.Multiplier, Keys: keys,
			})
		}
	}
	g.sessions.Set(sessions)
	return addrs
}

// bfdKeys derives keys of the length that BFD allows.
func bfdKeys(keys [][]byte) []bfd.Key {
	var out []bfd.Key
	for _, key := range keys {
		sum := mac(key, []byte("bfd"))
		id := sum[len(sum)-1]
		if !slices.ContainsFunc(out, func(k bfd.Key) bool { return k.ID == id }) {
			out = append(out, bfd.Key{ID: id, Secret: string(sum[:20])})
		}
	}
	return out
}

// look has the State look at the sessions.
func (g *Group) look(c *State, addrs map[string]netip.Addr) {
	names := map[netip.Addr]string{}
	for name, addr := range addrs {
		names[addr] = name
	}
	for _, s := range g.sessions.States() {
		c.Session(time.Now(), names[s.Session.Peer], Session{
			Up: s.Status == bfd.Up, Ups: s.Ups, Heard: s.RemoteDiscr != 0, Ended: s.LastOutage.RemoteStatus == bfd.AdminDown,
			Refused: s.Status != bfd.Up && s.RemoteDiscr != 0 && s.RemoteDiagnostic == bfd.DetectionTimeExpired,
		})
	}
}

// act does what the State wants done.
func (g *Group) act(ctx context.Context, c *State, addrs map[string]netip.Addr) {
	o := c.Ready()
	for _, p := range o.Send {
		g.send(p, addrs)
	}
	for _, t := range o.Probe {
		addr := addrs[string(t)]
		go func() {
			select {
			case g.replies <- reply{t, g.prober.Probe(ctx, addr)}:
			case <-ctx.Done():
			}
		}()
	}
	g.stale, g.news = g.stale || o.Stale, g.news || o.Changed
	if !g.stale || len(g.inbox) > 0 {
		return // or wait for what comes at once
	}
	view := c.View()
	g.view.Store(&view)
	if g.news {
		g.log.Info("membership changed", "dead", named(view, Dead), "restarting", named(view, Restarting), "isolated", view.Isolated)
		signal(g.changed)
	}
	g.stale, g.news = false, false
}

func named(v View, standing Standing) []string {
	var out []string
	for name, s := range v.Standing {
		if s == standing {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// send sends a packet to each of its receivers. A datagram that can't be sent
// is lost as it could be on the way: those that matter are repeated.
func (g *Group) send(p Packet, addrs map[string]netip.Addr) {
	config := g.config.Load()
	if len(config.Keys) == 0 {
		return
	}
	b, err := p.Message.sign(config.Keys[0])
	if err != nil {
		g.log.Error("can't tell the other speakers", "err", err)
		return
	}
	to := p.To
	if to == nil {
		to = slices.Collect(maps.Keys(addrs))
	}
	for _, name := range to {
		if addr, ok := addrs[name]; ok && name != g.self {
			if err := g.transport.Send(addr, b); err != nil {
				g.log.Debug("can't reach a speaker", "node", name, "err", err)
			}
		}
	}
}

// receive reads a datagram. One that finds the inbox full is lost.
func (g *Group) receive(b []byte) {
	m, err := verify(g.config.Load().Keys, b)
	if err != nil {
		g.discarded.Add(1)
		return
	}
	select {
	case g.inbox <- m:
	default:
		g.discarded.Add(1)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
