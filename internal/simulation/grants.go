package simulation

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// The rules of what controllers write, from what users are promised (the fields of the
// API, docs/design/controller.md): they look at what the API server stores only.
const (
	HoldersKeep = "Holders keep"
	KeptWaits   = "Kept waits"
)

const (
	// settled is after how long a controller has seen an edit.
	settled = 20 * time.Second
	// rounding is by how much a time that is kept to may differ from what was promised.
	rounding = 2 * time.Second
	// seenFor is how long a replica must have seen the holder of an address to know it.
	seenFor = 300 * time.Millisecond
)

// grants is what was seen of the Services, the pools, and who has what.
type grants struct {
	of          map[string]*tenant           // by the Service's name
	affected    map[netip.Addr]edits         // of its pool
	ranges      map[netip.Addr]string        // the pool that holds an address
	dropped     map[netip.Addr]dropped       // the pool of an address was deleted
	grace       map[netip.Addr]time.Duration // of the last pool of an address
	longest     map[netip.Addr]time.Duration // the grace of any pool that has had an address
	overwritten map[netip.Addr]bool          // another client has written it into a status
	promises    map[netip.Addr][]*promise
	blind       time.Time // until when a controller of another version may forget what is kept
	checked     map[string]int
}

// tenant is what was seen of a Service.
type tenant struct {
	svc     *corev1.Service
	given   map[netip.Addr]time.Time // when a controller last wrote that it has this
	edited  time.Time                // when a user last changed what it requests
	foreign bool                     // another client wrote the status that it shows
	back    []*promise               // it was created again, and has had nothing yet
}

// edits is when the pool of an address was last edited, and before.
type edits struct {
	last, before time.Time
	added        bool // the last one gave it a pool
}

// dropped is a pool that was deleted.
type dropped struct {
	pool string
	at   time.Time
}

// promise is an address that is kept for a Service.
type promise struct {
	name, namespace string
	addr            netip.Addr
	until           time.Time
	peak            int
	knownBy         map[*controller]bool
	reported        time.Time // when the status of a pool said so
}

func newGrants() *grants {
	return &grants{
		of: map[string]*tenant{}, affected: map[netip.Addr]edits{}, ranges: map[netip.Addr]string{}, dropped: map[netip.Addr]dropped{},
		grace: map[netip.Addr]time.Duration{}, longest: map[netip.Addr]time.Duration{}, overwritten: map[netip.Addr]bool{}, promises: map[netip.Addr][]*promise{}, checked: map[string]int{},
	}
}

// balanced reports whether svc is a load balancer of ours.
func balanced(svc *corev1.Service) bool {
	return svc != nil && svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil
}

// particular reports whether svc asks for more than an address.
func particular(svc *corev1.Service) bool {
	for _, key := range []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAllowSharedIP} {
		if svc.Annotations[key] != "" {
			return true
		}
	}
	return false
}

// change takes in that a Service becomes another version, comes, or goes (after is
// nil), and checks what a controller writes.
func (g *grants) change(w *world, name string, after *corev1.Service, by *controller) {
	t := g.of[name]
	if t != nil && (after == nil || after.UID != t.svc.UID) {
		g.leaves(w, name, t)
		delete(g.of, name)
		t = nil
	}
	if after == nil {
		return
	}
	if t == nil {
		t = &tenant{svc: after, given: map[netip.Addr]time.Time{}, edited: w.now}
		g.of[name] = t
		g.returns(w, name, t, after)
		return
	}
	before := t.svc
	if by != nil {
		g.judge(w, name, t, after, by)
		for _, a := range intent.Holds(after) {
			t.given[a] = w.now
		}
		if t.svc = after; !slices.Equal(intent.Holds(before), intent.Holds(after)) || len(after.ManagedFields) == 0 {
			t.foreign = false
		}
		return
	}
	g.edit(w, name, t, after)
	t.svc = after
}

// edit records a user's change of a Service.
func (g *grants) edit(w *world, name string, t *tenant, after *corev1.Service) {
	before := t.svc
	switch {
	case balanced(before) && !balanced(after):
		g.leaves(w, name, t)
		t.given, t.edited = map[netip.Addr]time.Time{}, w.now
	case !balanced(before) && balanced(after):
		t.edited = w.now
		g.returns(w, name, t, after)
	case before.DeletionTimestamp == nil && after.DeletionTimestamp != nil:
		t.edited = w.now
	}
	shows := intent.Holds(after)
	if !slices.Equal(intent.Holds(before), shows) && (balanced(before) && balanced(after) || len(shows) > 0) {
		t.foreign = true
		g.forget(name)
		for _, a := range shows {
			g.overwritten[a] = true
		}
	}
	if request(before) != request(after) {
		t.edited, t.back = w.now, nil
		g.forget(name)
	}
}

// request returns what a Service asks for.
func request(svc *corev1.Service) string {
	out := ""
	for _, key := range []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAllowSharedIP} {
		out += svc.Annotations[key] + " "
	}
	for _, p := range svc.Spec.Ports {
		out += string(p.Protocol) + " " + string(rune(p.Port))
	}
	return out
}

// judge checks what a controller writes to a Service.
func (g *grants) judge(w *world, name string, t *tenant, after *corev1.Service, by *controller) {
	if w.superseded(by) {
		return
	}
	had, has := intent.Holds(t.svc), intent.Holds(after)
	gains := 0
	for _, a := range has {
		if slices.Contains(had, a) {
			continue
		}
		gains++
		for _, other := range sortedKeys(g.of) {
			if x := g.of[other]; other != name && !x.foreign && slices.Contains(intent.Holds(x.svc), a) && !w.mayShare(t, x) {
				w.violate(OneGrant, "%s writes %s to %s while %s shows it", by.id, a, name, other)
			}
		}
		g.judgeKept(w, name, a, by)
	}
	if gains > 0 {
		g.judgeBack(w, name, t, has, by)
	}
	for _, a := range had {
		if g.checked["keeps"]++; !slices.Contains(has, a) && !g.explains(w, t, a) {
			w.violate(HoldersKeep, "%s takes %s from %s, which no user has edited", by.id, a, name)
		}
	}
}

// superseded reports whether a controller takes itself for the leader, and can't know
// better, since its machine's clock stood still. What it does wrong it must only undo.
func (w *world) superseded(c *controller) bool {
	o := w.api.get(locks, lockName)
	return c.paused > 0 && (o == nil || o.value.(leaseValue).holder != c.id)
}

// mayShare reports whether two Services may have one address. Who has just been edited
// may still.
func (w *world) mayShare(t, x *tenant) bool {
	if w.now.Sub(t.edited) < settled || w.now.Sub(x.edited) < settled {
		if key := v1beta1.AnnotationAllowSharedIP; t.svc.Annotations[key] != "" || x.svc.Annotations[key] != "" {
			return true
		}
	}
	return shareable(t.svc, x.svc)
}

// shareable is the rule: one key, one namespace, other ports.
func shareable(a, b *corev1.Service) bool {
	key := a.Annotations[v1beta1.AnnotationAllowSharedIP]
	return key != "" && key == b.Annotations[v1beta1.AnnotationAllowSharedIP] && a.Namespace == b.Namespace && a.Spec.Ports[0].Port != b.Spec.Ports[0].Port
}

// explains reports whether there is a reason for a Service to lose an address.
func (g *grants) explains(w *world, t *tenant, a netip.Addr) bool {
	given, known := t.given[a]
	switch {
	case !known || t.foreign || g.overwritten[a] || t.edited.After(given) || t.svc.DeletionTimestamp != nil:
		return true
	case g.yields(t, a):
		return true
	case g.graced(w, a):
		return false
	}
	return g.affected[a].explain(w.now, given) || g.ranges[a] == ""
}

// explain reports whether edits of the pool of an address may have cost a Service the address that
// it was given.
func (e edits) explain(now, given time.Time) bool {
	lost := e.last // by a pool
	if e.added {
		lost = e.before
	}
	switch {
	case given.Sub(lost) < settled && now.Sub(given) < settled:
		return true // the controller that gave it may not have seen that, and has as long to see it
	case e.added && given.After(e.last) && now.Sub(e.before) > settled:
		return false // a controller knew the pool already
	}
	return now.Sub(e.last) < settled || e.last.After(given)
}

// yields reports whether a Service may have to give way to another that shows the same
// address, may not share it, and was not edited since.
func (g *grants) yields(t *tenant, a netip.Addr) bool {
	for _, x := range g.of {
		if x != t && slices.Contains(intent.Holds(x.svc), a) && !shareable(t.svc, x.svc) && (x.foreign || !x.edited.After(x.given[a])) {
			return true
		}
	}
	return false
}

// graced reports whether an address is kept for its holder though its pool was deleted.
func (g *grants) graced(w *world, a netip.Addr) bool {
	d, gone := g.dropped[a]
	return gone && w.now.Sub(d.at) < g.grace[a]-rounding && !w.now.Before(g.blind)
}

// repool takes in the pools as they are now.
func (g *grants) repool(w *world) {
	ranges, grace := map[netip.Addr]string{}, map[netip.Addr]time.Duration{}
	there := map[string]bool{}
	for _, o := range w.api.table[pools] {
		p := o.value.(poolValue)
		there[o.name] = true
		for _, k := range p.Status.Kept {
			g.reported(w, k.Address, k.Service)
		}
		for a, d := range p.graces() {
			if ranges[a] == "" { // of two the older one has it; that is not looked at
				ranges[a], grace[a] = o.name, d
			}
			g.longest[a] = max(g.longest[a], d)
		}
	}
	for a, pool := range g.ranges {
		if ranges[a] == pool && grace[a] == g.grace[a] {
			continue
		}
		if ranges[a] == "" && !there[pool] {
			if w.now.Sub(g.affected[a].last) >= settled {
				g.dropped[a] = dropped{pool, w.now}
			}
		}
		g.disturb(w, a, false)
	}
	maps.DeleteFunc(g.dropped, func(_ netip.Addr, d dropped) bool { return there[d.pool] })
	for a := range ranges {
		if g.ranges[a] == "" {
			delete(g.dropped, a)
			g.disturb(w, a, true)
		}
		g.grace[a] = grace[a]
	}
	g.ranges = ranges
}

// disturb notes that a pool of an address was edited.
func (g *grants) disturb(w *world, a netip.Addr, added bool) {
	g.affected[a] = edits{w.now, g.affected[a].last, added}
	delete(g.promises, a)
	for _, t := range g.of {
		t.back = slices.DeleteFunc(t.back, func(p *promise) bool { return p.addr == a })
	}
}

// expected returns the addresses that speakers are to announce.
func (g *grants) expected(w *world) []netip.Addr {
	var out []netip.Addr
	if w.api.get(ads, "all") == nil {
		return nil
	}
	for _, t := range g.of {
		for _, a := range intent.Holds(t.svc) {
			if b := a.As4(); b[0] == 10 && int(b[2]) < w.Subnets && !t.foreign && !g.overwritten[a] && g.ranges[a] != "" && t.svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
				out = append(out, a)
			}
		}
	}
	return out
}

// overlaps reports whether another pool has addresses of one: the younger gives nothing.
func (w *world) overlaps(pool string) bool {
	return w.api.get(pools, pool+"x") != nil || w.api.get(pools, strings.TrimSuffix(pool, "x")) != nil && strings.HasSuffix(pool, "x")
}

// grantsAtRest checks that each Service that can have an address has one, and none has another's.
func (w *world) grantsAtRest() {
	all := w.grants.of
	for _, name := range sortedKeys(all) {
		for _, a := range intent.Holds(all[name].svc) {
			w.holdersAtRest(name, a)
		}
	}
	free := w.freeAddresses()
	for _, name := range sortedKeys(all) {
		if t := all[name]; balanced(t.svc) && !particular(t.svc) && t.svc.DeletionTimestamp == nil && len(intent.Holds(t.svc)) == 0 && free > 0 {
			w.violate(Rest, "%s has no address, though %d are free", name, free)
		}
	}
}

// holdersAtRest checks that no other Service shows an address of one, unless they share it.
func (w *world) holdersAtRest(name string, a netip.Addr) {
	all := w.grants.of
	for _, other := range sortedKeys(all) {
		if x := all[other]; other != name && slices.Contains(intent.Holds(x.svc), a) && !shareable(all[name].svc, x.svc) {
			w.violate(OneGrant, "%s and %s both show %s in the end", name, other, a)
		}
	}
}

// freeAddresses counts the addresses that any Service could get.
func (w *world) freeAddresses() int {
	taken := map[netip.Addr]bool{}
	for _, t := range w.grants.of {
		for _, a := range intent.Holds(t.svc) {
			taken[a] = true
		}
	}
	for _, o := range w.api.table[pools] {
		for _, k := range o.value.(poolValue).Status.Kept {
			taken[netip.MustParseAddr(k.Address)] = true
		}
	}
	for _, x := range w.ipam.held {
		taken[x.Addr] = true // perhaps of one that is gone, until its grace time ends
	}
	free := 0
	for a, pool := range w.grants.ranges {
		if !taken[a] && !w.overlaps(pool) {
			free++
		}
	}
	return free
}
