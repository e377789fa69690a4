package planner

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// reserve takes in what is reserved, and for whom. With another configuration configure does. It
// reports whether there was a change.
func (t *Planner) reserve(s Snapshot) (changes bool) {
	if t.reserved == s.Reserved {
		return false
	}
	t.reserved = s.Reserved
	for _, x := range t.byAge {
		if t.config == s.Config {
			x.request.Reserved = t.reserved.Of(t.config.ReservationsFor(x.Object))
		}
	}
	return true
}

// choosing is what is known when the addresses are chosen of reservations that name a size of a pool.
func (s *State) choosing(in Input, snap Snapshot) intent.Choosing {
	if !in.Config.Sizes() { // usually
		return intent.Choosing{}
	}
	out := intent.Choosing{
		Before: s.planner.reserved.Chosen(in.Objects.Reservations), Users: map[netip.Addr][]*corev1.Service{}, Kept: s.memory.addrs(in),
		Occupied: in.Config.Occupied(in.Others, in.Services, s.planner.Finalizer.Class),
	}
	has := func(svc *corev1.Service, addrs []netip.Addr) {
		for _, a := range addrs {
			if !slices.Contains(out.Users[a], svc) {
				out.Users[a] = append(out.Users[a], svc)
			}
		}
	}
	there := make(map[types.UID]*corev1.Service, len(snap.Services))
	for _, svc := range snap.Services {
		there[svc.UID] = svc
		has(svc, intent.Holds(svc))
	}
	for _, x := range s.planner.byAge {
		if svc := there[x.Object.UID]; svc != nil {
			has(svc, x.grant.Addrs)
			continue
		}
		for _, o := range x.had() { // it is gone since the last pass, and may come back
			out.Kept[o.Addr] = out.Kept[o.Addr] || s.memory.grace(in.Config, o) > 0
		}
	}
	return out
}

// limit works out what quotas come to, and gives each Service those of its namespace.
func (t *Planner) limit() {
	before := t.quotas
	if t.quotas = t.config.BindQuotas(t.namespaces, t.reserved); t.quotas == before { // nil: usually
		return
	}
	for _, x := range t.byAge {
		x.request.Quotas = t.quotas.Of(x.Object.Namespace)
	}
}

// users returns a function that returns the Services which have a reserved address by the plan.
func (p Plan) users() func(netip.Addr) []*corev1.Service {
	of := map[netip.Addr][]*corev1.Service{}
	if p.reserved != nil {
		for i, g := range p.Grants {
			for _, a := range g.Addrs {
				if p.reserved.By(a) != "" {
					of[a] = append(of[a], p.Services[i].Object)
				}
			}
		}
	}
	return func(a netip.Addr) []*corev1.Service { return of[a] }
}
