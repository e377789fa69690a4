package planner

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
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
