package planner

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// reserve takes in what is reserved, and for whom. With another configuration configure does.
func (t *Planner) reserve(s Snapshot) {
	if t.reserved == s.Reserved {
		return
	}
	t.reserved = s.Reserved
	for _, x := range t.byAge {
		if t.config == s.Config {
			x.request.Reserved = t.reserved.Of(t.config.ReservationsFor(x.Object))
		}
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
