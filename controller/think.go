package main

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// plan is all that must be true.
type plan struct {
	config    intent.Config
	pools     ipam.Pools
	services  []*service   // by age
	grants    []ipam.Grant // of the services
	finalizer finalizer
}

// service is a Service and what follows from it. It belongs to one version of
// one Service, but for its verdicts, which hold for an epoch of the thinker.
type service struct {
	svc     *corev1.Service
	request ipam.Request
	round   uint64

	epoch   uint64
	early   bool       // its Namespace is not known yet, so that it can't be known who serves it
	leaves  bool       // it is being deleted, and is given nothing any more
	allowed []bool     // which pools serve it, by their index
	grant   ipam.Grant // the last answer
	change  *change    // to be written; nil: nothing is
}

// thinker turns snapshots into plans. It remembers what it worked out for each
// Service, to save time only: a new one comes to the same plan. The zero
// thinker is ready for use.
type thinker struct {
	dialect    intent.Dialect
	finalizer  finalizer
	objects    intent.Objects
	namespaces map[string]map[string]string
	config     intent.Config
	pools      ipam.Pools
	epoch      uint64 // of the configuration and the namespaces

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
	t.attend(s.services)
	clear(t.asked) // or else it would keep what is gone
	t.asked = slices.Grow(t.asked[:0], len(t.byAge))[:len(t.byAge)]
	for i, x := range t.byAge {
		t.asked[i] = &x.request
		a, tried := s.attempts[x.svc.UID]
		if !tried && !x.early && !x.leaves {
			continue
		}
		r := x.request
		if has, instead := a.holds(); instead {
			r.Has = has
		} else {
			r.Stuck = s.now.Before(a.notBefore)
		}
		r.Stuck = r.Stuck || x.early || x.leaves
		t.asked[i] = &r
	}
	p := plan{config: t.config, pools: t.pools, services: t.byAge, grants: t.desk.Assign(t.pools, t.asked), finalizer: t.finalizer}
	for i, x := range t.byAge {
		if g := p.grants[i]; x.epoch != t.epoch || !sameGrant(x.grant, g) {
			x.epoch, x.grant, x.change = t.epoch, g, nil
			if c, differs := p.changeFor(i); differs && !x.early {
				x.change = &c
			}
		}
	}
	return p
}

// configure takes in the configuration, and begins an epoch if it has changed.
func (t *thinker) configure(s snapshot) {
	same := t.epoch > 0 && sameObjects(t.objects, s.objects) &&
		maps.EqualFunc(t.namespaces, s.namespaces, func(a, b map[string]string) bool { return maps.Equal(a, b) })
	t.objects, t.namespaces = s.objects, s.namespaces
	if same {
		return
	}
	t.epoch++
	t.config = intent.Parse(s.objects)
	t.pools = t.config.Pools.Bind(func(k ipam.Key, pool int) bool {
		x := t.byKey[k]
		return x != nil && x.allowed[pool]
	})
	for _, x := range t.byAge {
		t.allow(x)
	}
}

// allow works out which pools serve x.
func (t *thinker) allow(x *service) {
	_, known := t.namespaces[x.svc.Namespace]
	x.early = !known
	x.allowed = t.config.Pools.Serving(intent.Subject{
		Namespace: x.svc.Namespace, NamespaceLabels: t.namespaces[x.svc.Namespace], Labels: x.svc.Labels,
	})
}

// attend brings what is known of the Services up to date.
func (t *thinker) attend(services []*corev1.Service) {
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
		}
		x.round = t.round
	}
	if len(fresh) == 0 && len(services) == len(t.byAge) {
		return
	}
	old := t.byAge
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
	for _, x := range t.byAge {
		if x.epoch == 0 {
			t.byKey[x.request.Service] = x
			t.allow(x)
		}
	}
	for _, x := range dropped {
		if t.byKey[x.request.Service] == nil {
			t.left = append(t.left, client.ObjectKeyFromObject(x.svc))
		}
	}
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

// sameObjects reports whether two configurations say the same, whatever the
// order of their objects. What is in a status does not count.
func sameObjects(a, b intent.Objects) bool {
	return sameKind(a.Pools, b.Pools) && sameKind(a.L2, b.L2) && sameKind(a.BGP, b.BGP) &&
		sameKind(a.Peers, b.Peers) && sameKind(a.Profiles, b.Profiles) && sameKind(a.Communities, b.Communities) &&
		maps.EqualFunc(a.Secrets, b.Secrets, func(x, y *corev1.Secret) bool { return x.UID == y.UID && x.ResourceVersion == y.ResourceVersion })
}

func sameKind[T any, P interface {
	*T
	metav1.Object
}](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	before := make(map[types.UID]P, len(a))
	for i := range a {
		before[P(&a[i]).GetUID()] = &a[i]
	}
	for i := range b {
		y := P(&b[i])
		x := before[y.GetUID()]
		if x == nil || x.GetGeneration() != y.GetGeneration() || !maps.Equal(x.GetLabels(), y.GetLabels()) {
			return false
		}
	}
	return true
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
