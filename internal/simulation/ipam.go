package simulation

import (
	"errors"
	"iter"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// Held is the rule of pools whose IPAM chooses: in the end it holds what Services show, under their UIDs, and
// nothing else for longer than the grace time; and it is never told to take what a Service shows.
const Held = "Held"

// cluster is how the IPAM knows this one.
const cluster = "c"

// ipamServer is the IPAM of the pool p1, in whatever name. Its fields beside held count the faults that are on.
type ipamServer struct {
	held             []ledger.Allocation
	down, slow, lies int
}

// ipamKinds returns what can be wrong with an IPAM.
func ipamKinds() map[string]faultKind {
	of := func(count func(*ipamServer) *int) faultKind {
		return faultKind{spares: true, lasts: true, controllers: true,
			begin: func(w *world, _ Fault, _ []*node) { *count(&w.ipam)++ },
			end:   func(w *world, _ Fault, _ []*node) { *count(&w.ipam)-- }}
	}
	return map[string]faultKind{
		"ipam-down": of(func(s *ipamServer) *int { return &s.down }),
		"ipam-slow": of(func(s *ipamServer) *int { return &s.slow }),
		"ipam-lies": of(func(s *ipamServer) *int { return &s.lies }),
	}
}

// externally reports whether an IPAM chooses the addresses of a pool.
func (w *world) externally(pool string) bool { return w.External && strings.HasPrefix(pool, "p1") }

func (w *world) externalSource() *v1beta1.PoolSource {
	return &v1beta1.PoolSource{Type: v1beta1.SourceExternal, External: &v1beta1.ExternalSource{Endpoint: "127.0.0.1:9000"}}
}

// register is the IPAM's ledger. It knows the ranges of pools as they are now.
func (w *world) register() *ledger.Ledger {
	ranges := map[string][]ipam.Range{}
	for _, o := range w.api.table[pools] {
		for _, r := range o.value.(poolValue).Spec.Addresses {
			first, last, _ := strings.Cut(string(r), "-")
			ranges[o.name] = append(ranges[o.name], ipam.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)})
		}
	}
	return ledger.New(ranges, w.ipam.held)
}

// callIPAM makes a call, as package client does.
func (c *controller) callIPAM(term int, call source.Call) {
	state, over := c.state, false
	answer := func(a source.Answer) {
		if over {
			return
		}
		over = true
		if c.log != nil {
			c.logf("    %s hears of %s %s %s: %s %s", c.id, call.Kind, call.UID, call.Addr, a.Given, a.Text)
		}
		if state.Asked(a, c.now) {
			c.wake()
		}
	}
	timeLeft := min(c.timeLeft(), call.To.Timeout)
	if timeLeft == 0 || c.lease.term != term {
		c.in(0, func() { answer(source.Answer{Call: call, Failure: source.Unsent}) })
		return
	}
	c.in(timeLeft, func() { answer(source.Answer{Call: call, Failure: source.Slow, Text: "did not answer in time"}) })
	there, back := c.within(time.Millisecond, 20*time.Millisecond), c.within(time.Millisecond, 20*time.Millisecond)
	if c.world.ipam.slow > 0 {
		there, back = there+c.within(0, 4*time.Second), back+c.within(0, 4*time.Second)
	}
	c.after(there, func() {
		a := source.Answer{Call: call, Failure: source.Unavailable, Text: "can't be reached"}
		if c.world.ipam.down == 0 && c.cut == 0 {
			a = c.serve(term, call)
		}
		c.after(back, func() { c.run(func() { answer(a) }) })
	})
}

// serve is what the IPAM makes of a call.
func (c *controller) serve(term int, call source.Call) source.Answer {
	out, register := source.Answer{Call: call}, c.register()
	switch call.Kind {
	case source.List:
		for _, x := range register.List(cluster) {
			out.Held = append(out.Held, source.Allocation{Key: source.Key{UID: x.UID, Family: ipam.FamilyOf(x.Addr)}, Pool: x.Pool, Addr: x.Addr})
		}
	case source.Release:
		if register.Release(cluster, call.UID, call.Addr) && c.lease.leading() == term && !c.superseded(c) {
			c.judgeRelease(call)
		}
	default:
		x, _, err := register.Allocate(ledger.Request{
			Cluster: cluster, Pool: call.Pool, Holder: ledger.Holder{UID: call.UID, Namespace: call.Service.Namespace, Name: call.Service.Name},
			Family: call.Family, Addr: call.Addr, Replaces: call.Replaces,
		})
		if out.Given, out.Of = x.Addr, x.Pool; err != nil {
			out.Given, out.Failure, out.Text = netip.Addr{}, source.Refused, err.Error()
			if errors.Is(err, ledger.ErrExhausted) {
				out.Failure = source.Exhausted
			}
		}
	}
	c.world.ipam.held = register.All()
	if c.world.ipam.lies > 0 {
		c.lie(&out)
	}
	return out
}

// lie makes something else of an answer, now and then.
func (w *world) lie(a *source.Answer) {
	wrong := netip.MustParseAddr([]string{"10.0.0.201", "10.0.0.202", "10.0.0.203", "10.0.0.211", "192.0.2.1"}[w.rnd.IntN(5)])
	switch {
	case w.rnd.IntN(3) > 0:
	case a.Kind == source.Allocate && a.Failure == 0:
		a.Given = wrong
	case a.Kind == source.List && w.rnd.IntN(2) == 0:
		a.Held = nil
	case a.Kind == source.List && len(a.Held) > 0:
		a.Held[0].Addr = wrong
	}
}

// judgeRelease checks that the IPAM is not told to take what a Service shows.
func (w *world) judgeRelease(call source.Call) {
	for name, t := range w.grants.of {
		for _, a := range intent.Holds(t.svc) {
			if a == call.Addr && string(t.svc.UID) == call.UID && !t.foreign && balanced(t.svc) && w.externally(w.grants.ranges[a]) {
				w.violate(Held, "%s of %s is given back, which shows it", a, name)
			}
		}
	}
}

// graces returns for how long the IPAM may hold addresses: of pools that overlap any may have them, and what is
// in no pool any more is kept as long as a former one said. What it is said to hold for a Service that is gone,
// and is kept for none, it holds as long as its pool says now.
func (w *world) graces() map[netip.Addr]time.Duration {
	out := maps.Clone(w.grants.longest)
	maps.DeleteFunc(out, func(a netip.Addr, _ time.Duration) bool { return w.grants.ranges[a] != "" })
	for _, o := range w.api.table[pools] {
		p := o.value.(poolValue)
		for a, d := range p.graces() {
			out[a] = max(out[a], d)
		}
		if d, _ := time.ParseDuration(string(p.Spec.GraceTime)); w.externally(p.Name) {
			for _, x := range w.ipam.held {
				out[x.Addr] = max(out[x.Addr], d)
			}
		}
	}
	return out
}

// graces returns the addresses of a pool, and for how long each is kept.
func (p poolValue) graces() iter.Seq2[netip.Addr, time.Duration] {
	d, _ := time.ParseDuration(string(p.Spec.GraceTime))
	return func(yield func(netip.Addr, time.Duration) bool) {
		for _, r := range p.Spec.Addresses {
			for a := range addresses(r) {
				if !yield(a, d) {
					return
				}
			}
		}
	}
}

// ipamAtRest checks what the IPAM holds in the end.
func (w *world) ipamAtRest() {
	shown := map[netip.Addr]*tenant{}
	for _, name := range sortedKeys(w.grants.of) {
		t := w.grants.of[name]
		for _, a := range intent.Holds(t.svc) {
			shown[a] = t
		}
	}
	holders, grace := map[netip.Addr]ledger.Allocation{}, w.graces()
	for _, x := range w.ipam.held {
		holders[x.Addr] = x
		t := shown[x.Addr]
		if t == nil && grace[x.Addr] < settled {
			w.violate(Held, "the IPAM holds %s for %s, and no Service shows it", x.Addr, x.Name)
		}
	}
	for _, name := range sortedKeys(w.grants.of) {
		t := w.grants.of[name]
		for _, a := range intent.Holds(t.svc) {
			pool := w.grants.ranges[a]
			if x := holders[a]; balanced(t.svc) && !t.foreign && !w.grants.overwritten[a] && w.externally(pool) && !w.overlaps(pool) && x.UID != string(t.svc.UID) && !w.grants.shared(name, a) {
				w.violate(Held, "%s shows %s of %s, which the IPAM holds for %q", name, a, pool, x.Name)
			}
		}
	}
}
