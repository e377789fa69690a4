package static

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// announcements are when an address that is new is announced by ARP, after the first of them.
var announcements = []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

// A world is some nodes in virtual time: what decides is real (Registry, failover, announce), the wire
// and what package membership finds on it are modeled.

const (
	tick = 50 * time.Millisecond
	// detection is after what silence members are found dead.
	detection = 450 * time.Millisecond
	// answerTime is how long a probe takes.
	answerTime = 300 * time.Millisecond
)

var (
	vip   = netip.MustParseAddr("192.0.2.10")
	start = time.Unix(1e9, 0)
)

type world struct {
	t     *testing.T
	now   time.Time
	c     Config
	nodes []*machine
	lines []string
	moved int // how often another node came to answer
	owner string
	// harmed is when something last happened that may have the address move.
	harmed, quiet time.Time
	double        time.Duration // for how long two that reach each other have answered
	silent        time.Duration // for how long none has, though one could
}

type machine struct {
	name     string
	mac      [6]byte
	running  bool // its speaker
	ready    bool // its API server
	cut      bool // its cable
	side     int  // of a partition
	stopped  time.Time
	registry *Registry
	state    *failover.State
	out      failover.Output
	others   map[string]Received
	heard    map[string]time.Time // when each member was last heard
	probes   map[netip.Addr]failover.Probe
	conflict map[string]failover.Conflict
	rounds   uint64    // the generation of its claim
	since    time.Time // when it was new
}

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, now: start, c: Config{Addrs: []netip.Addr{vip}}}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		w.c.Nodes = append(w.c.Nodes, Node{name, netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)})})
		w.nodes = append(w.nodes, &machine{name: name, mac: [6]byte{2, 0, 0, 0, 0, byte(i + 1)}, ready: true})
		w.run(w.nodes[i])
	}
	return w
}

// run starts a speaker.
func (w *world) run(m *machine) {
	m.running, m.out, m.others, m.heard = true, failover.Output{}, map[string]Received{}, map[string]time.Time{}
	m.probes, m.conflict = map[netip.Addr]failover.Probe{}, map[string]failover.Conflict{}
	m.registry = NewRegistry(m.name, w.now)
	m.state = failover.New(failover.Options{Node: m.name, Heartbeat: Heartbeat, Misses: Misses})
}

func (w *world) reach(a, b *machine) bool { return !a.cut && !b.cut && a.side == b.side }

// answers reports whether a node answers for the address: also one whose speaker restarts, by its backups.
func (m *machine) answers() bool { return m.running && len(m.out.Plan.Claims) > 0 }

func (w *world) logf(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf("%6.2f ", w.now.Sub(start).Seconds())+fmt.Sprintf(format, args...))
}

// view is what membership finds.
func (w *world) view(m *machine) membership.View {
	v := membership.View{Standing: map[string]membership.Standing{m.name: membership.Alive}, Down: map[string]time.Time{}, NeverMet: map[string]bool{}}
	for _, o := range w.nodes {
		if o == m {
			continue
		}
		v.Sessions++
		at, ever := m.heard[o.name]
		switch {
		case w.now.Sub(at) < detection:
			v.Up++
			v.Standing[o.name], v.Reachable = membership.Alive, true
		case !ever:
			v.Standing[o.name], v.NeverMet[o.name] = membership.Unknown, true
		case at.Before(o.stopped.Add(tick)) && w.reach(m, o) && w.now.Sub(o.stopped) < membership.Hold:
			v.Standing[o.name], v.Down[o.name] = membership.Restarting, at
		default:
			v.Standing[o.name], v.Down[o.name] = membership.Dead, at
		}
	}
	v.Isolated = m.cut // then no gateway answers either
	return v
}

func (w *world) step() {
	w.now = w.now.Add(tick)
	for _, m := range w.nodes {
		if m.running {
			w.pass(m)
		}
	}
	w.check()
}

func (w *world) pass(m *machine) {
	v := w.view(m)
	link := announce.Link{Name: "eth0", Up: !m.cut, MAC: m.mac, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	m.registry.Observe(w.now, w.c, m.others, Local{Ready: m.ready, Isolated: v.Isolated, Links: []announce.Link{link}})
	if m.registry.Known(w.now, w.c) {
		f := m.registry.Facts(w.now, w.c)
		f.Members, f.Probes = v, m.probes
		for _, c := range m.conflict {
			if w.now.Sub(c.Last) < failover.ConflictMemory {
				f.Conflicts = append(f.Conflicts, c)
			}
		}
		before := m.answers()
		m.out = m.state.Step(f)
		if m.out.Resync {
			m.registry.Restart(w.now)
		}
		m.registry.Record(w.now, w.c, m.out)
		w.probe(m)
		if m.answers() != before {
			w.logf("%s answers: %v", m.name, m.answers())
		}
		if m.answers() {
			if g := m.out.Plan.Claims[0].Generation; !before || m.rounds != g {
				m.rounds, m.since = g, w.now
			}
			if slices.Contains(announcements, w.now.Sub(m.since)) {
				w.announce(m)
			}
		}
	}
	w.report(m)
}

// announce has the others hear that a node has the address.
func (w *world) announce(m *machine) {
	for _, o := range w.nodes {
		if o != m && o.answers() && w.reach(m, o) {
			c, known := o.conflict[m.name]
			if !known || w.now.Sub(c.Last) >= failover.ConflictMemory {
				c = failover.Conflict{Addr: vip, MAC: m.mac, First: w.now}
			}
			c.Last = w.now
			o.conflict[m.name] = c
		}
	}
}

// probe answers what a node asks.
func (w *world) probe(m *machine) {
	for a := range m.probes {
		if _, asks := m.out.Probe[a]; !asks {
			delete(m.probes, a)
		}
	}
	for a, request := range m.out.Probe {
		p, asked := m.probes[a]
		if !asked || !p.Done.IsZero() && w.now.Sub(p.Done) >= time.Second || p.Asked.Before(request.After) {
			m.probes[a] = failover.Probe{Asked: w.now, Links: request.Links, Reply: membership.Unanswered}
			continue
		}
		for _, o := range w.nodes {
			if o != m && o.answers() && w.reach(m, o) {
				p.Reply, p.MAC, p.Answered = membership.Answered, o.mac, w.now
			}
		}
		if p.Done.IsZero() && w.now.Sub(p.Asked) >= answerTime {
			p.Done = w.now
		}
		m.probes[a] = p
	}
}

// report delivers a node's report, and has it heard.
func (w *world) report(m *machine) {
	text, err := m.registry.Report(w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	var x Report
	if err := json.Unmarshal(text, &x); err != nil {
		w.t.Fatal(err)
	}
	for _, o := range w.nodes {
		if o == m || !o.running || !w.reach(m, o) {
			continue
		}
		o.others[m.name] = Received{x, w.now}
		if m.out.Join {
			o.heard[m.name] = w.now
		}
	}
}

// check holds the world to what users are promised.
func (w *world) check() {
	var answering []*machine
	able := 0 // that reach most, and could answer
	for _, m := range w.nodes {
		if m.answers() {
			answering = append(answering, m)
			if !m.ready {
				w.fail("%s answers, and its API server does not", m.name)
			}
		}
		n := 0
		for _, o := range w.nodes {
			if o.running && w.reach(m, o) || o == m {
				n++
			}
		}
		if m.running && m.ready && !m.cut && 2*n > len(w.nodes) {
			able++
		}
	}
	w.double, w.silent = w.double+tick, w.silent+tick
	if len(answering) < 2 || !w.reach(answering[0], answering[1]) {
		w.double = 0
	}
	if len(answering) > 0 || able == 0 || w.holds() {
		w.silent = 0
	}
	limit := time.Second
	if w.now.Sub(w.quiet) < 5*time.Second || slices.ContainsFunc(answering, func(m *machine) bool { return m.registry.since.IsZero() }) {
		limit = 5 * time.Second // as with Services while the network is disturbed, or the API server away
	}
	switch {
	case w.double > limit:
		w.fail("%s and %s have answered for %v", answering[0].name, answering[1].name, w.double)
	case w.silent > 4*time.Second:
		w.fail("no node has answered for %v, and %d could", w.silent, able)
	}
	if len(answering) == 1 && answering[0].name != w.owner {
		w.logf("owner %s", answering[0].name)
		if w.owner != "" && w.now.Sub(w.harmed) > 6*time.Second {
			w.fail("the address moved from %s to %s, and nothing had happened to it", w.owner, answering[0].name)
		}
		w.owner, w.moved = answering[0].name, w.moved+1
	}
}

// holds reports whether the owner's speaker restarts: its backups answer.
func (w *world) holds() bool {
	return slices.ContainsFunc(w.nodes, func(m *machine) bool {
		return m.name == w.owner && !m.answers() && w.now.Sub(m.stopped) < membership.Hold
	})
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.logf(format, args...)
	w.t.Fatalf("%s", strings.Join(w.lines, "\n"))
}

// do does something to the nodes, and lets time pass.
func (w *world) do(what string, after time.Duration, f func()) {
	w.t.Helper()
	w.logf("%s", what)
	if f != nil {
		f()
		w.quiet = w.now
	}
	for end := w.now.Add(after); w.now.Before(end); {
		w.step()
	}
}

// harm does the same of something that may have the address move.
func (w *world) harm(what string, after time.Duration, f func()) {
	w.t.Helper()
	w.harmed = w.now
	w.do(what, after, f)
	w.harmed = w.now
}

func (w *world) at(name string) *machine {
	return w.nodes[slices.IndexFunc(w.nodes, func(m *machine) bool { return m.name == name })]
}

// wants checks who answers.
func (w *world) wants(names ...string) {
	w.t.Helper()
	var got []string
	for _, m := range w.nodes {
		if m.answers() {
			got = append(got, m.name)
		}
	}
	if !slices.Equal(got, names) {
		w.fail("%v answer, want %v", got, names)
	}
}
