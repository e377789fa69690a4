package simulation

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Run lets a History take its course, and returns the first rule that is broken;
// nil: none is.
func Run(h History) *Violation { return h.run(mutation{}, nil) }

// Trace does the same, and returns what happened.
func Trace(h History) (*Violation, []string) {
	var log []string
	v := h.run(mutation{}, &log)
	return v, log
}

// mutation breaks what the speakers do, to see whether the rules find it. The zero
// mutation changes nothing.
type mutation struct {
	name    string
	seed    uint64 // of the first history known to show it
	history string // the same, if it is in testdata
	needs   string // kinds of faults of which one must be there for it to show
	steady  bool   // the process does not notice that it stood still
	before  func(s *speaker, f *failover.Facts)
	after   func(s *speaker, f *failover.Facts, o *failover.Output)

	controller mistakes
}

func (m mutation) facts(s *speaker, f *failover.Facts) {
	if m.before != nil {
		m.before(s, f)
	}
}

func (m mutation) output(s *speaker, f *failover.Facts, o *failover.Output) {
	if m.after != nil {
		m.after(s, f, o)
	}
}

func (h History) run(m mutation, log *[]string) *Violation {
	w := newWorld(h)
	w.mutation, w.log = m, log
	start := epoch.Add(warmUp)
	for _, f := range h.Faults {
		w.queue.push(start.Add(f.At), moment{do: func() { w.strike(f) }})
	}
	for _, s := range h.Expected {
		w.queue.push(start.Add(s.At), moment{do: func() { w.expect(s) }})
	}
	rested := start.Add(h.end() + settling)
	if h.External {
		rested = rested.Add(listing)
	}
	w.run(rested)
	w.api.writes, w.rules.announced, w.rules.probed = 0, 0, 0
	w.run(rested.Add(resting))
	w.atRest()
	return w.rules.broken
}

func newWorld(h History) *world {
	w := &world{History: h, now: epoch, rnd: rand.New(rand.NewPCG(h.Seed, 0)), addrsOf: -1, taken: map[string]*v1beta1.IPAddressPool{}, byAddr: map[netip.Addr]*node{}}
	w.ManyLeases = w.ManyLeases || h.Nodes > lease.Largest
	for i := range h.Nodes {
		w.nodes = append(w.nodes, newNode(i, h))
	}
	for _, n := range w.nodes {
		w.byAddr[n.addr] = n
	}
	w.lan = newLAN(w.nodes, h.Subnets)
	all := announce.L2Advertisement{Name: "all"}
	if h.Prefers > 0 {
		preferred := strconv.Itoa(h.Prefers)
		all.Prefer = []announce.Preference{{Weight: 1, Nodes: func(labels map[string]string) bool { return labels["place"] == preferred }}}
	}
	w.advertised = []announce.L2Advertisement{all}
	w.rules = rules{addrs: map[netip.Addr]*watched{}, states: make([]state, h.Nodes)}
	for _, n := range w.nodes {
		w.enroll(n)
	}
	if h.Controllers > 0 {
		w.settle()
	} else {
		w.endow()
	}
	for _, n := range w.nodes {
		w.after(w.within(0, 300*time.Millisecond), func() { w.start(n) })
	}
	return w
}

// endow makes Services that have their addresses.
func (w *world) endow() {
	for i := range w.Services {
		svc := &corev1.Service{}
		svc.Namespace, svc.Name, svc.Spec.Type = "default", fmt.Sprint("s", i+1), corev1.ServiceTypeLoadBalancer
		addr := fmt.Sprintf("10.0.%d.%d", i%w.Subnets, 201+i)
		if w.Rack {
			addr = fmt.Sprintf("192.0.2.%d", 181+i)
		}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
		w.write(services, svc.Name, serviceValue{svc})
	}
}

// strike begins a fault, and has it end.
func (w *world) strike(f Fault) {
	kind, _ := kindOf(f.Kind)
	var all []*node
	if kind.initial() == 'n' {
		for _, place := range f.Nodes {
			all = append(all, w.nodes[place])
		}
	}
	if kind.edits && w.api.away > 0 {
		return // the API server takes no edits
	}
	touched := all
	switch f.Kind {
	case "split", "switch", "crashes", "restarts":
		touched = w.nodes
	case "others":
		touched = slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n == all[0] })
	}
	note := func() {
		e := event{w.now, kind.weight, touched, kind.spares && !(f.Kind == "restart" && f.For > 9*time.Second), kind.still}
		w.rules.events = append(w.rules.events, e)
		w.rules.fresh = true
	}
	note()
	w.logf("%s", f)
	kind.begin(w, f, all)
	w.after(f.For, func() {
		note()
		w.logf("%s ends", f)
		kind.end(w, f, all)
	})
}

func names(all []*node) []string {
	var out []string
	for _, n := range all {
		out = append(out, n.name)
	}
	return out
}

func (w *world) logf(format string, args ...any) {
	if w.log != nil {
		*w.log = append(*w.log, fmt.Sprintf("%9.3f ", (w.now.Sub(epoch)-warmUp).Seconds())+fmt.Sprintf(format, args...))
	}
}

// announced returns a Service as the decision about announcing sees it.
func announced(v serviceValue) announce.Service {
	out := announce.Service{Key: intent.KeyOf(v.Service), Labels: v.Labels}
	for _, a := range intent.Holds(v.Service) {
		out.Addrs = append(out.Addrs, announce.Address{Addr: a, Pool: "lan"})
	}
	return out
}

// granted returns the addresses that Services have.
func (w *world) granted() []netip.Addr {
	of := w.api.changes[services] + w.api.changes[pools] + w.api.changes[ads]
	if w.addrsOf == of {
		return w.addrs
	}
	w.addrsOf, w.addrs = of, w.addrs[:0]
	if w.Controllers > 0 {
		w.addrs = append(w.addrs, w.grants.expected(w)...)
	} else {
		for _, o := range w.api.table[services] {
			w.addrs = append(w.addrs, intent.Holds(o.value.(serviceValue).Service)...)
		}
	}
	slices.SortFunc(w.addrs, netip.Addr.Compare)
	w.addrs = slices.Compact(w.addrs)
	return w.addrs
}

// judgeWrite checks that no version of the world has one address on two Services.
func (w *world) judgeWrite(o *object) {
	if o.kind != services || o.value == nil || w.Controllers > 0 {
		return
	}
	for _, a := range intent.Holds(o.value.(serviceValue).Service) {
		for _, other := range w.api.table[services] {
			if other.name != o.name && slices.Contains(intent.Holds(other.value.(serviceValue).Service), a) {
				w.violate(OneGrant, "%s is written to %s while %s shows it", a, o.name, other.name)
			}
		}
	}
}

// atRest checks that all is as it should be, and that nothing happens any more.
func (w *world) atRest() {
	if w.Controllers > 0 {
		w.grantsAtRest()
		w.ipamAtRest()
	}
	for _, a := range w.granted() {
		w.addressAtRest(a)
	}
	for _, n := range w.nodes {
		if n.speaker != nil {
			w.speakerAtRest(n.speaker)
		}
	}
	if w.api.writes > 0 || w.rules.announced > 0 || w.rules.probed > 0 {
		w.violate(Rest, "%d writes, %d announcements and %d probes for nothing", w.api.writes, w.rules.announced, w.rules.probed)
	}
}

// addressAtRest checks that an address has one owner if it has a candidate, and that its
// L2Claim names the owner.
func (w *world) addressAtRest(a netip.Addr) {
	able, _ := w.candidates(subnetOf(a))
	if able.IsZero() {
		return
	}
	all := w.owners(a)
	if len(all) != 1 {
		w.violate(Rest, "%v answer for %s", names(all), a)
		return
	}
	owner, o := all[0].name, w.api.get(claims, intent.ClaimName(a))
	if o == nil || o.value.(claimValue).owner != owner || o.value.(claimValue).answering != owner {
		w.violate(Rest, "%s answers for %s, and its L2Claim does not say so: %+v", owner, a, o)
	}
}

// speakerAtRest checks that a speaker hears all its neighbors, and is in phase Synced.
func (w *world) speakerAtRest(s *speaker) {
	for _, v := range []membership.View{s.first.view(), s.second.view()} {
		if v.Up < v.Sessions {
			w.violate(Rest, "%s has %d sessions, and sees %d Up", s.node.name, v.Sessions, v.Up)
		}
	}
	if s.plan != nil && s.plan.Phase != failover.Synced && w.api.away == 0 {
		w.violate(Rest, "%s is %s", s.node.name, s.plan.Phase)
	}
}
