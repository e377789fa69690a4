package simulation

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// addresses yields those of a range.
func addresses(r v1beta1.AddressRange) iter.Seq[netip.Addr] {
	first, last, _ := strings.Cut(string(r), "-")
	end := netip.MustParseAddr(last)
	return func(yield func(netip.Addr) bool) {
		for a := netip.MustParseAddr(first); a.Compare(end) <= 0; a = a.Next() {
			if !yield(a) {
				return
			}
		}
	}
}

// leaves takes in that a Service is deleted, or no load balancer of ours any more: what
// it has is kept for it, if it is known that it had it.
func (g *grants) leaves(w *world, name string, t *tenant) {
	if !balanced(t.svc) || t.foreign || particular(t.svc) {
		return
	}
	for _, a := range intent.Holds(t.svc) {
		if !g.keeps(w, t, a) || g.shared(name, a) {
			continue
		}
		p := &promise{name: name, namespace: t.svc.Namespace, addr: a, until: w.now.Add(g.grace[a] - rounding), peak: g.wanted(t.svc.Namespace), knownBy: map[*controller]bool{}}
		for _, r := range w.replicas {
			if c := r.process; c != nil && c.knew(w, name, a) {
				p.knownBy[c] = true
			}
		}
		g.promises[a] = append(g.promises[a], p)
		w.expectReported(p)
	}
}

// keeps reports whether an address of a Service that leaves is kept for it: a controller
// gave it, nothing was edited since, and its pool has a grace time.
func (g *grants) keeps(w *world, t *tenant, a netip.Addr) bool {
	given, known := t.given[a]
	return known && !g.overwritten[a] && !t.edited.After(given) && g.ranges[a] != "" && g.grace[a] > 0 && w.now.Sub(g.affected[a].last) >= settled
}

// shared reports whether another Service shows an address of one.
func (g *grants) shared(name string, a netip.Addr) bool {
	for other, x := range g.of {
		if other != name && slices.Contains(intent.Holds(x.svc), a) {
			return true
		}
	}
	return false
}

// expectReported counts a promise as reported a while later, if there is a leader that knows
// of it, and that has the time to write it down.
func (w *world) expectReported(p *promise) {
	for _, r := range w.replicas {
		c := r.process
		if c == nil || !p.knownBy[c] || !c.ready() || c.client.frozen > 0 {
			continue
		}
		term := c.caughtUp
		w.after(4*time.Second, func() {
			if w.prompt(c) && !c.dead && c.lease.leading() == term && p.reported.IsZero() {
				p.reported = w.now
			}
		})
	}
}

// ready reports whether a controller leads, and its cache shows what others wrote before.
func (c *controller) ready() bool {
	term := c.lease.leading()
	return term != 0 && c.caughtUp == term
}

// prompt reports whether nothing delays what a controller reads and writes.
func (w *world) prompt(c *controller) bool {
	return w.api.away == 0 && w.api.loses == 0 && w.api.slow == 0 && c.behind == 0 && c.client.frozen == 0 && c.cut == 0
}

// knew reports whether a controller has seen for a while who has an address.
func (c *controller) knew(w *world, name string, a netip.Addr) bool {
	o := w.api.get(services, name)
	if c.cache == nil || o == nil || c.old {
		return false
	}
	until := w.now
	if c.client.frozen > 0 {
		until = c.since
	}
	since, known := c.seen[seenKey(o, a)]
	return known && until.Sub(since) > seenFor
}

// wanted counts the addresses that the Services of a namespace want.
func (g *grants) wanted(namespace string) int {
	n := 0
	for _, t := range g.of {
		if t.svc.Namespace == namespace && balanced(t.svc) {
			n++
		}
	}
	return n
}

// returns records that a Service is created again: it gets back what is kept for it, unless
// it asks for something else.
func (g *grants) returns(w *world, name string, t *tenant, svc *corev1.Service) {
	t.back = nil
	if !balanced(svc) {
		return
	}
	if particular(svc) || len(intent.Holds(svc)) > 0 {
		g.forget(name)
		return
	}
	for _, all := range g.promises {
		for _, p := range all {
			if p.name == name && w.now.Before(p.until) {
				t.back = append(t.back, p)
			}
		}
	}
}

// forget drops what is kept for a Service, which does not want that any more.
func (g *grants) forget(name string) {
	for a, all := range g.promises {
		g.promises[a] = slices.DeleteFunc(all, func(p *promise) bool { return p.name == name })
	}
}

// reported notes that the status of a pool says what is kept.
func (g *grants) reported(w *world, addr, service string) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return
	}
	for _, p := range g.promises[a] {
		if p.name == service && p.reported.IsZero() {
			p.reported = w.now
		}
	}
}

// binds reports whether a controller must know of a promise.
func (g *grants) binds(w *world, p *promise, by *controller) bool {
	if !w.now.Before(p.until) || w.now.Before(g.blind) {
		return false
	}
	firm := g.wanted(p.namespace)
	for _, all := range g.promises {
		for _, x := range all {
			if x.namespace == p.namespace && w.now.Before(x.until.Add(2*rounding)) {
				firm++
			}
		}
	}
	if firm > 2*p.peak-1 { // more than a namespace may lock
		return false
	}
	return p.knownBy[by] || !p.reported.IsZero() && by.began.After(p.reported)
}

// judgeKept checks that an address which a Service is given is not kept for another.
func (g *grants) judgeKept(w *world, name string, a netip.Addr, by *controller) {
	for _, p := range g.promises[a] {
		if g.checked["kept"]++; p.name != name && g.binds(w, p, by) {
			w.violate(KeptWaits, "%s writes %s to %s while it is kept for %s until %s", by.id, a, name, p.name, p.until.Sub(epoch)-warmUp)
		}
	}
	g.promises[a] = slices.DeleteFunc(g.promises[a], func(p *promise) bool { return true })
}

// judgeBack checks that a Service that was created again gets back what was kept for it.
func (g *grants) judgeBack(w *world, name string, t *tenant, has []netip.Addr, by *controller) {
	back := t.back
	t.back = nil
	for _, p := range back {
		if !g.binds(w, p, by) || w.now.Sub(g.affected[p.addr].last) < settled {
			continue
		}
		if g.checked["back"]++; len(back) == 1 && !slices.Contains(has, p.addr) {
			w.violate(KeptWaits, "%s gives %s %v, and %s was kept for it", by.id, name, has, p.addr)
		}
	}
}
