package main

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// plan is all that must be true.
type plan struct {
	config    *intent.Config
	pools     ipam.Pools
	services  []*service   // by age
	grants    []ipam.Grant // of the services
	attempts  map[types.UID]attempt
	contests  map[types.UID]contest
	finalizer finalizer
}

// service is a Service and what follows from it. It belongs to one version of
// one Service; what else follows from the configuration and the labels of its
// Namespace is forgotten when these change.
type service struct {
	svc     *corev1.Service
	request ipam.Request
	round   uint64

	judged  bool         // early, allowed and change hold
	early   bool         // its Namespace is not known yet, so that it can't be known who serves it
	allowed map[int]bool // which pools serve it, by their place, of those that were asked
	leaves  bool         // it is being deleted, and is given nothing any more
	grant   ipam.Grant   // the last answer
	change  *change      // to be written; nil: nothing is
	contest contest      // that change takes into account
}

// thinker turns snapshots into plans. It remembers what it worked out for each
// Service, to save time only: a new one comes to the same plan. The zero
// thinker is ready for use.
type thinker struct {
	dialect    intent.Dialect
	finalizer  finalizer
	namespaces map[string]map[string]string
	config     *intent.Config
	pools      ipam.Pools

	known map[*corev1.Service]*service
	desk  ipam.Desk
	asked []*ipam.Request // memory for the requests of one pass
	byKey map[ipam.Key]*service
	byAge []*service
	round uint64
	left  []client.ObjectKey // Services that are gone, or not ours any more, for the reporter
}

// think returns the plan for a snapshot. The plan holds until the next call.
func (t *thinker) think(s snapshot) plan {
	t.configure(s)
	arrived, gone := t.attend(s.services)
	if s.review != nil {
		s.contests = s.review(arrived, gone)
	}
	clear(t.asked) // or else it would keep what is gone
	t.asked = slices.Grow(t.asked[:0], len(t.byAge))[:len(t.byAge)]
	for i, x := range t.byAge {
		t.asked[i] = &x.request
		a, tried := s.attempts[x.svc.UID]
		c := s.contest(x.svc)
		if !tried && c.times == 0 && !x.early && !x.leaves {
			continue
		}
		r := x.request
		if has, instead := a.holds(); instead {
			r.Has = has
		} else {
			r.Stuck = s.now.Before(a.notBefore)
			r.Has = c.holds(r.Has, r.Stuck || c.waits(s.now))
			r.Stuck = r.Stuck || c.waits(s.now)
		}
		r.Stuck = r.Stuck || x.early || x.leaves
		t.asked[i] = &r
	}
	p := plan{config: t.config, pools: t.pools, services: t.byAge, grants: t.desk.Assign(t.pools, t.asked), attempts: s.attempts, contests: s.contests, finalizer: t.finalizer}
	for i, x := range t.byAge {
		if g, c := p.grants[i], s.contest(x.svc); !x.judged || !sameGrant(x.grant, g) || !c.same(x.contest) {
			x.judged, x.grant, x.contest, x.change = true, g, c, nil
			if c, differs := p.changeFor(i); differs && !x.early {
				x.change = &c
			}
		}
	}
	return p
}

// configure takes in the configuration and the namespaces. What is known of
// Services that a change does not concern stays known.
func (t *thinker) configure(s snapshot) {
	concerns := func(*service) bool { return true }
	if t.config == s.Config {
		changed := differing(t.namespaces, s.namespaces)
		if len(changed) == 0 {
			return
		}
		concerns = func(x *service) bool { return changed[x.svc.Namespace] }
	} else {
		t.config = s.Config
		t.pools = t.config.Pools.Bind(func(k ipam.Key, pool int) bool {
			x := t.byKey[k]
			return x != nil && t.serves(x, pool)
		})
	}
	t.namespaces = s.namespaces
	for _, x := range t.byAge {
		if concerns(x) {
			t.forget(x)
		}
	}
}

// differing returns the namespaces that came, went or have other labels.
func differing(before, after map[string]map[string]string) map[string]bool {
	out := map[string]bool{}
	for name, labels := range after {
		if old, there := before[name]; !there || !maps.Equal(old, labels) {
			out[name] = true
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			out[name] = true
		}
	}
	return out
}

// forget has all that follows for x from more than itself worked out anew.
func (t *thinker) forget(x *service) {
	_, known := t.namespaces[x.svc.Namespace]
	x.early, x.judged, x.allowed = !known, false, nil
}

// serves reports whether a pool, given by its place, serves x. There may be many
// pools, and a Service that has its address asks one of them.
func (t *thinker) serves(x *service, pool int) bool {
	yes, known := x.allowed[pool]
	if !known {
		yes = t.config.Pools.Serves(pool, intent.Subject{
			Namespace: x.svc.Namespace, NamespaceLabels: t.namespaces[x.svc.Namespace], Labels: x.svc.Labels,
		})
		if x.allowed == nil {
			x.allowed = map[int]bool{}
		}
		x.allowed[pool] = yes
	}
	return yes
}

// reset forgets what Services showed: others may have written to them since.
func (t *thinker) reset() { t.known, t.byKey, t.byAge = nil, nil, nil }

// attend brings what is known of the Services up to date, and returns what was not
// seen before, and which ones are gone or not ours any more.
func (t *thinker) attend(services []*corev1.Service) (arrived []arrival, gone []types.UID) {
	if t.known == nil {
		t.known, t.byKey = map[*corev1.Service]*service{}, map[ipam.Key]*service{}
	}
	t.round++
	var fresh []*service
	for _, svc := range services {
		x := t.known[svc]
		if x == nil {
			x = t.service(svc)
			t.known[svc] = x
			fresh = append(fresh, x)
			arrived = append(arrived, arrival{svc, false, nil}.after(t.byKey[x.request.Service]))
		}
		x.round = t.round
	}
	if len(fresh) == 0 && len(services) == len(t.byAge) {
		return nil, nil
	}
	entered, old := fresh, t.byAge
	var dropped []*service
	slices.SortFunc(fresh, older)
	t.byAge = make([]*service, 0, len(services))
	for _, x := range old {
		if x.round != t.round {
			delete(t.known, x.svc)
			delete(t.byKey, x.request.Service)
			dropped = append(dropped, x)
			continue
		}
		for len(fresh) > 0 && older(fresh[0], x) < 0 {
			t.byAge, fresh = append(t.byAge, fresh[0]), fresh[1:]
		}
		t.byAge = append(t.byAge, x)
	}
	t.byAge = append(t.byAge, fresh...)
	for _, x := range entered {
		t.byKey[x.request.Service] = x
		t.forget(x)
	}
	for _, x := range dropped {
		now := t.byKey[x.request.Service]
		if now == nil {
			t.left = append(t.left, client.ObjectKeyFromObject(x.svc))
		}
		if now == nil || now.svc.UID != x.svc.UID {
			gone = append(gone, x.svc.UID)
		}
	}
	return arrived, gone
}

// service returns what follows from one version of a Service alone.
func (t *thinker) service(svc *corev1.Service) *service {
	x := &service{svc: svc, request: t.dialect.Request(svc), leaves: t.finalizer.lets(svc)}
	if x.leaves {
		x.request.Has, x.request.Stuck = nil, true
	}
	return x
}

func older(a, b *service) int { return ipam.Older(&a.request, &b.request) }

func sameGrant(a, b ipam.Grant) bool {
	return a.Reason == b.Reason && a.Message == b.Message && a.Moved == b.Moved &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Pools, b.Pools)
}

// holders returns the addresses that Services have by the plan.
func (p plan) holders() map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(p.services))
	for _, g := range p.grants {
		for _, a := range g.Addrs {
			out[a] = true
		}
	}
	return out
}
