package membership

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// watch is the protocol on one segment. That of the zero Segment is between the
// nodes' addresses.
type watch struct {
	*State
	Segment
	addrs        map[string]netip.Addr // of the members, where sessions lead; of a segment, as far as they told
	stale, isNew bool                  // the view is to be shown; that is more than a count
	logged       string                // of the View, in the log
}

// ends are the addresses of a session.
type ends struct{ peer, local netip.Addr }

// running is a Group while it runs.
type running struct {
	*Group
	nodes    map[string]netip.Addr // the members' addresses
	watches  []*watch              // the first is that between the nodes' addresses
	sessions map[ends][]func(Session)
}

// Run takes part until ctx ends. Then it tells the others that this speaker
// restarts.
func (g *Group) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	wg.Go(func() { failed <- g.sessions.Run(background) })
	wg.Go(func() { failed <- g.transport.Deliver(background, g.receive) })
	defer wg.Wait()
	defer stop()
	r := &running{Group: g, watches: []*watch{{State: NewState(g.self, g.incarnation)}}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for done := ctx.Done(); ; {
		select {
		case <-done:
			done = nil
			r.each(func(w *watch) { w.Restart(time.Now()) })
		case err := <-failed:
			return err
		case <-g.wake:
			r.configure()
		case <-g.sessions.Changed():
			r.look()
		case m := <-g.inbox:
			r.step(m)
		case a := <-g.replies:
			if w := r.watch(a.segment); w != nil {
				w.Answer(time.Now(), a.from, a.Reply)
			}
		case <-timer.C:
			r.each(func(w *watch) { w.Tick(time.Now()) })
		}
		r.act(background)
		if ctx.Err() != nil && done == nil && !slices.ContainsFunc(r.watches, func(w *watch) bool { return !w.Restarted() }) {
			return nil
		}
		timer.Reset(time.Until(r.next()))
	}
}

func (r *running) each(do func(*watch)) {
	for _, w := range r.watches {
		do(w)
	}
}

// watch returns that of a segment; nil: there is none.
func (r *running) watch(segment netip.Prefix) *watch {
	i := slices.IndexFunc(r.watches, func(w *watch) bool { return w.Prefix == segment })
	if i < 0 {
		return nil
	}
	return r.watches[i]
}

func (r *running) next() time.Time {
	return slices.MinFunc(r.watches, func(a, b *watch) int { return a.Next().Compare(b.Next()) }).Next()
}

// configure takes over the config.
func (r *running) configure() {
	config := r.config.Load()
	members, segments := config.Members, config.Segments
	if len(config.Keys) == 0 { // nothing can be found out, and what was is old
		members, segments = nil, nil
	}
	now, detect := time.Now(), config.Interval*time.Duration(config.Multiplier)
	r.nodes = map[string]netip.Addr{}
	silent := map[string]bool{}
	for _, m := range members {
		r.nodes[m.Name], silent[m.Name] = m.Addr, m.Silent
	}
	main := r.watches[0]
	main.Isolation = config.Isolation
	main.SetMembers(now, members, detect)
	main.Segment.Addr, main.addrs = r.nodes[r.self], r.nodes
	watches := []*watch{main}
	for _, s := range segments {
		w := r.watch(s.Prefix)
		if w == nil { // its incarnation must be later than of one that was before
			w = &watch{State: NewSegmentState(r.self, max(r.incarnation, uint64(now.UnixMilli()))), addrs: map[string]netip.Addr{}}
			w.Isolation = config.Isolation
		}
		moved := w.Segment.Addr.IsValid() && w.Segment.Addr != s.Addr
		w.Segment = s
		var there []Member
		for _, name := range s.Members {
			there = append(there, Member{Name: name, Silent: silent[name]})
		}
		w.SetMembers(now, there, detect)
		maps.DeleteFunc(w.addrs, func(name string, _ netip.Addr) bool { return !w.isMember(name) })
		w.SetLink(now, s.Up)
		if moved {
			w.BroadcastAlive(now)
		}
		watches = append(watches, w)
	}
	if len(watches) < len(r.watches) {
		main.changed = true
	}
	r.watches = watches
	r.connect()
}

// sourceTo returns from which own address to send to one of another node: others know this node
// by that alone, whichever the kernel would choose. It is the zero Addr, for the kernel's
// choice, if they are of different families.
func sourceTo(own, other netip.Addr) netip.Addr {
	if own.Is4() != other.Is4() {
		return netip.Addr{}
	}
	return own
}

// connect has sessions with the neighbors on each segment. Those on a segment take
// packets from its link alone: they must not have come through a router (RFC 5881
// section 5).
func (r *running) connect() {
	config := r.config.Load()
	keys := bfdKeys(config.Keys)
	if len(keys) < len(config.Keys) {
		r.log.Warn("two membership keys have the same BFD key ID; replace the newer one before rotating")
	}
	var sessions []bfd.Session
	r.sessions = map[ends][]func(Session){}
	for i, w := range r.watches {
		hops := bfd.SingleHop
		if i == 0 {
			hops = bfd.Multihop
		}
		for _, name := range w.Neighbors() {
			at := ends{w.addrs[name], sourceTo(w.Segment.Addr, w.addrs[name])}
			if !at.peer.IsValid() || at.peer == at.local { // this node under a former name would hear itself
				continue
			}
			if r.sessions[at] == nil {
				sessions = append(sessions, bfd.Session{
					Path:     bfd.Path{Peer: at.peer, Local: at.local, Hops: hops, Port: config.Port},
					Transmit: config.Interval, Receive: config.Interval, Multiplier: config.Multiplier, Keys: keys,
				})
			}
			r.sessions[at] = append(r.sessions[at], func(x Session) { w.Session(time.Now(), name, x) })
		}
	}
	r.Group.sessions.Set(sessions)
	r.look() // a session may be another member's now: of a node that was renamed
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

// look has each State look at its sessions.
func (r *running) look() {
	for _, s := range r.Group.sessions.States() {
		for _, take := range r.sessions[ends{s.Session.Peer, s.Session.Local}] {
			take(Session{
				Up: s.Status == bfd.Up, Ups: s.Ups, Heard: s.RemoteDiscr != 0, Ended: s.LastOutage.RemoteStatus == bfd.AdminDown,
				Refused: s.Status != bfd.Up && s.RemoteDiscr != 0 && s.RemoteDiagnostic == bfd.DetectionTimeExpired,
			})
		}
	}
}

// step takes in a message: of a segment also where its sender is there.
func (r *running) step(m Message) {
	w := r.watch(m.Segment)
	if w == nil {
		return // the sender will repeat what matters
	}
	if w != r.watches[0] && w.isMember(m.From) && w.Prefix.Contains(m.Addr) && w.addrs[m.From] != m.Addr {
		w.addrs[m.From], w.State.changed = m.Addr, true
		r.connect()
	}
	w.Step(time.Now(), m)
}

// act does what the States want done.
func (r *running) act(ctx context.Context) {
	stale := false
	for _, w := range r.watches {
		o := w.Ready()
		for _, p := range o.Send {
			r.send(w, p)
		}
		for _, t := range o.Probe {
			segment, addr := w.Prefix, w.addrs[string(t)]
			go func() {
				select {
				case r.replies <- reply{segment, t, r.prober.Probe(ctx, segment, addr)}:
				case <-ctx.Done():
				}
			}()
		}
		w.stale, w.isNew = w.stale || o.Stale, w.isNew || o.Changed
		stale = stale || w.stale
	}
	if stale && len(r.inbox) == 0 { // or wait for what comes at once
		r.show()
	}
}

// show brings the View up to date.
func (r *running) show() {
	view, isNew := r.watches[0].View(), false
	for _, w := range r.watches[1:] {
		if view.Segments == nil {
			view.Segments = map[netip.Prefix]View{}
		}
		v := w.View()
		v.Addrs = slices.SortedFunc(maps.Values(w.addrs), netip.Addr.Compare)
		view.Segments[w.Prefix] = v
	}
	r.view.Store(&view)
	for i, w := range r.watches {
		if v := view; w.isNew {
			log := r.log
			if i > 0 {
				v, log = view.Segments[w.Prefix], log.With("segment", w.Prefix)
			}
			dead, restarting := named(v, Dead), named(v, Restarting)
			if logged := fmt.Sprint(dead, restarting, v.Isolated); logged != w.logged {
				log.Info("membership changed", "dead", dead, "restarting", restarting, "isolated", v.Isolated)
				w.logged = logged
			}
		}
		isNew = isNew || w.isNew
		w.stale, w.isNew = false, false
	}
	if isNew {
		wait.Signal(r.changed)
	}
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
func (r *running) send(w *watch, p Packet) {
	config := r.config.Load()
	if len(config.Keys) == 0 {
		return
	}
	if w != r.watches[0] {
		p.Message.Segment, p.Message.Addr = w.Prefix, w.Segment.Addr
	}
	b, ok := r.signed(config, p.Message)
	if !ok {
		return
	}
	to := p.To
	if to == nil {
		to = w.members
	}
	for _, name := range to {
		if addr, ok := r.nodes[name]; ok && name != r.self {
			if err := r.transport.Send(sourceTo(r.nodes[r.self], addr), addr, b); err != nil {
				r.log.Debug("can't reach a speaker", "node", name, "err", err)
			}
		}
	}
}

// receive reads a datagram. One that finds the inbox full is lost, and one that was
// received before counts for nothing. Of one who is no member it counts only that there was
// one.
func (g *Group) receive(b []byte) {
	config, now := g.config.Load(), time.Now()
	m, err := verify(config.Keys, b)
	if err != nil {
		g.discarded.Add(1)
		return
	}
	if !slices.ContainsFunc(config.Members, func(o Member) bool { return o.Name == m.From }) {
		g.discarded.Add(1)
		if g.replays.calls(now, m.From) {
			g.enter(Message{From: m.From})
		}
		return
	}
	ok, known := g.replays.fresh(now, m, config.Members)
	if known > 0 {
		g.remind(config, m.From, known)
	}
	if !ok {
		g.discarded.Add(1)
		return
	}
	if m.Known > 0 {
		g.numbers.follow(m.Known)
	}
	g.enter(m)
}

// enter puts a message into the inbox, if there is room.
func (g *Group) enter(m Message) {
	select {
	case g.inbox <- m:
	default:
		g.discarded.Add(1)
	}
}
