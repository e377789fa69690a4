package membership

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// world is speakers on a network in memory, in a bubble of fake time.
type world struct {
	*testing.T
	config Config
	// segment are the nodes with a second link, unplugged those without a carrier there.
	segment   []string
	unplugged map[string]bool
	nodes     map[string]*node
	byAddr    map[netip.Addr]*node

	mu        sync.RWMutex
	cut       map[string]bool    // whose cable is out
	dmz       map[string]bool    // whose path on the second link is dead
	separated map[[2]string]bool // pairs that can't reach each other
	mute      map[string]bool    // whose BFD packets are lost
	loss      float64            // of the datagrams
	gateway   bool               // there is one
	source    netip.Addr         // what the kernels send from by default; zero: the nodes' addresses
	clock     time.Duration      // how much the wall clock was set ahead
	dice      *rand.Rand

	recorded []recorded // datagrams since record was called
}

type node struct {
	*Group
	world     *world
	addr      netip.Addr
	stop      context.CancelFunc
	ended     chan struct{}
	mu        sync.RWMutex
	frames    func([]bfd.Datagram)
	datagrams func([]byte)
}

func newWorld(t *testing.T, n int) *world {
	w := &world{
		T: t, unplugged: map[string]bool{}, nodes: map[string]*node{}, byAddr: map[netip.Addr]*node{}, cut: map[string]bool{}, dmz: map[string]bool{}, separated: map[[2]string]bool{}, mute: map[string]bool{},
		gateway: true, dice: rand.New(rand.NewPCG(1, 2)),
		config: Config{Keys: [][]byte{[]byte("key")}, Interval: 100 * time.Millisecond, Multiplier: 4, Port: 7480},
	}
	for i := range n {
		m := Member{Name: fmt.Sprintf("n%d", i+1), Addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)})}
		w.config.Members = append(w.config.Members, m)
	}
	for _, m := range w.config.Members {
		w.start(m)
	}
	return w
}

func (w *world) start(m Member) {
	n := &node{world: w, addr: m.Addr, ended: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	n.Group = New(m.Name, uint64(time.Now().Add(w.clock).UnixMilli()), bfd.New(wire{n}, log), transport{n}, n, log)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	w.mu.Lock()
	w.nodes[m.Name], w.byAddr[m.Addr], w.byAddr[second(m.Addr)] = n, n, n
	w.mu.Unlock()
	n.Set(w.configOf(n))
	go func() {
		defer close(n.ended)
		if err := n.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
}

// second is the address of a node on its second link.
func second(a netip.Addr) netip.Addr {
	b := a.As4()
	b[0] = 20
	return netip.AddrFrom4(b)
}

var secondSubnet = netip.MustParsePrefix("20.0.0.0/8")

// configOf returns the config, as it is for one node.
func (w *world) configOf(n *node) Config {
	config := w.config
	for _, name := range w.segment {
		if name == n.self {
			config.Segments = []Segment{{Prefix: secondSubnet, Addr: second(n.addr), Up: !w.unplugged[name], Members: w.segment}}
		}
	}
	return config
}

// plugSecond has the second link of a node gain or lose its carrier.
func (w *world) plugSecond(name string, in bool) {
	w.killSecond(name, !in)
	w.unplugged[name] = !in
	w.nodes[name].Set(w.configOf(w.nodes[name]))
}

// killSecond has nothing pass on the second link of a node.
func (w *world) killSecond(name string, dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dmz[name] = dead
}

// restart stops a speaker as SIGTERM does; start begins it again.
func (w *world) stop(name string) {
	n := w.nodes[name]
	n.stop()
	<-n.ended
}

func (w *world) again(name string) {
	for _, m := range w.config.Members {
		if m.Name == name {
			w.start(m)
		}
	}
}

// kill ends a speaker without a word.
func (w *world) kill(name string) {
	w.plug(name, false)
	w.stop(name)
}

func (w *world) end() {
	for name, n := range w.nodes {
		w.plug(name, false)
		n.stop()
	}
	for _, n := range w.nodes {
		<-n.ended
	}
}

func (w *world) plug(name string, in bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[name] = !in
}

func (w *world) part(a, b string, parted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.separated[[2]string{a, b}], w.separated[[2]string{b, a}] = parted, parted
}

// lose has a part of all datagrams lost.
func (w *world) lose(part float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = part
}

func (w *world) noGateway() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gateway = false
}

// reaches says whether a frame from a gets to b.
func (w *world) reaches(a, b string) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return !w.cut[a] && !w.cut[b] && !w.separated[[2]string{a, b}]
}

func (w *world) hush(name string, mute bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute[name] = mute
}

func (w *world) mutes(name string) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.mute[name]
}

func (w *world) loses() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loss > 0 && w.dice.Float64() < w.loss
}

func (w *world) at(addr netip.Addr) *node {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.byAddr[addr]
}

// wire is a node's place on the network, for BFD.
type wire struct{ *node }

type port struct {
	wire
	path bfd.Path
}

func (w wire) Open(path bfd.Path) (bfd.Port, error) { return port{w, path}, nil }
func (w wire) Drain()                               {}
func (p port) Peer() netip.Addr                     { return p.path.Peer }
func (p port) Close() error                         { return nil }

func (w wire) Deliver(ctx context.Context, receive func([]bfd.Datagram)) error {
	w.mu.Lock()
	w.frames = receive
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.frames = nil
	w.mu.Unlock()
	return nil
}

func (p port) Send(b []byte) error {
	to := p.world.at(p.path.Peer)
	if to == nil || !p.world.reaches(p.self, to.self) || p.world.mutes(p.self) {
		return nil
	}
	from, on := p.addr, to.addr
	p.world.mu.RLock()
	source := p.world.source
	p.world.mu.RUnlock()
	if source.IsValid() && !p.path.Local.IsValid() { // the kernel chooses
		from = source
	}
	if p.path.Peer != on {
		from, on = second(from), second(on)
		p.world.mu.RLock()
		dead := p.world.dmz[p.self] || p.world.dmz[to.self]
		p.world.mu.RUnlock()
		if dead {
			return nil
		}
	}
	to.mu.RLock()
	receive := to.frames
	to.mu.RUnlock()
	if receive != nil {
		receive([]bfd.Datagram{{From: from, To: on, Port: p.path.ListenPort(), TTL: 255, Payload: b}})
	}
	return nil
}

// transport is a node's place on the network, for datagrams.
type transport struct{ *node }

func (p transport) Deliver(ctx context.Context, receive func([]byte)) error {
	p.mu.Lock()
	p.datagrams = receive
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.datagrams = nil
	p.mu.Unlock()
	return nil
}

func (p transport) Send(_, addr netip.Addr, b []byte) error {
	to := p.world.at(addr)
	if to == nil || !p.world.reaches(p.self, to.self) || p.world.loses() {
		return nil
	}
	p.world.mu.Lock()
	p.world.recorded = append(p.world.recorded, recorded{to.self, slices.Clone(b)})
	p.world.mu.Unlock()
	to.mu.RLock()
	receive := to.datagrams
	to.mu.RUnlock()
	if receive != nil {
		receive(b)
	}
	return nil
}

// Probe implements Prober: whose cable is in answers, and so does the gateway.
func (n *node) Probe(ctx context.Context, subnet netip.Prefix, addr netip.Addr) Reply {
	n.world.mu.RLock()
	self, gateway := n.self, n.world.gateway && !subnet.IsValid()
	n.world.mu.RUnlock()
	name := ""
	if addr.IsValid() {
		name = n.world.at(addr).self
	} else if !gateway {
		return Inconclusive
	}
	if n.world.reaches(self, name) {
		return Answered
	}
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
	return Unanswered
}

// told is what a node sees that is not as it should be.
func (w *world) shown(name string) string {
	v := w.nodes[name].View()
	out := summary(v)
	for segment, v := range v.Segments {
		if shown := summary(v); shown != "" {
			out += fmt.Sprintf(" on %s%s", segment, shown)
		}
	}
	return out
}

func summary(v View) string {
	out := ""
	var bad []string
	for member, s := range v.Standing {
		if s != Alive && s != Unknown {
			bad = append(bad, fmt.Sprintf(" %s %s", member, s))
		}
	}
	slices.Sort(bad)
	out += strings.Join(bad, "")
	if v.Isolated {
		out += " isolated"
	}
	return out
}

// agree waits until all nodes that are not excepted tell the same, and says how
// long that took.
func (w *world) agree(within time.Duration, want string, except ...string) time.Duration {
	w.Helper()
	start := time.Now()
	wrong := ""
	for time.Since(start) <= within {
		synctest.Wait()
		wrong = ""
		for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
			if shown := w.shown(name); shown != want && !slices.Contains(except, name) {
				wrong = fmt.Sprintf("%s shows %q", name, shown)
				break
			}
		}
		if wrong == "" {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	w.Fatalf("not within %s: %q; %s", within, want, wrong)
	return 0
}

// stays checks that nothing changes for a while.
func (w *world) stays(d time.Duration, want string, except ...string) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		w.agree(0, want, except...)
	}
}

// meet waits until all sessions are Up.
func (w *world) meet() {
	w.Helper()
	for range 500 {
		synctest.Wait()
		all := true
		for _, n := range w.nodes {
			v := n.View()
			all = all && v.Up == v.Sessions && v.Sessions > 0
		}
		if all {
			w.agree(2*time.Second, "")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.Fatal("the sessions did not come Up")
}
