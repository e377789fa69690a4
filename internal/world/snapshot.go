package world

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Shown returns what the speakers decide from, as far as the objects tell. The
// Services have the addresses that their status shows. Self is not set.
func (t *Evaluation) Shown() announce.Snapshot {
	return t.snapshot(func(i int) []netip.Addr { return intent.Holds(t.Served[i]) })
}

// Granted is like Shown, but the Services have the addresses that the controller
// should assign.
func (t *Evaluation) Granted() announce.Snapshot {
	return t.snapshot(func(i int) []netip.Addr { return t.Grants[i].Addrs })
}

func (t *Evaluation) snapshot(addrs func(i int) []netip.Addr) announce.Snapshot {
	s := announce.Snapshot{L2: t.Checked.L2, BGP: t.Checked.BGP, Neighbors: t.Checked.Neighbors, Unusable: t.Checked.Unusable(), Nodes: announced.Nodes(t.Nodes, &t.Objects, t.Exclusion)}
	endpoints, where := t.endpoints(), intent.PlacementOf(t.Nodes)
	add := func(svc *corev1.Service, has []netip.Addr) {
		if has = slices.Concat(has, t.Checked.Externals(svc)); len(has) == 0 {
			return
		}
		out := t.Checked.Announced(svc, endpoints[intent.KeyOf(svc)], where)
		out.Unstable = announced.Unstable(svc)
		out.Addrs = nil
		for _, a := range has {
			out.Addrs = append(out.Addrs, t.Checked.AddressOf(svc, a))
		}
		s.Services = append(s.Services, out)
	}
	for i, svc := range t.Served {
		add(svc, addrs(i))
	}
	for _, svc := range t.externalOnly() {
		add(svc, nil)
	}
	for i := range t.Claims {
		if held, ok := intent.HeldClaim(&t.Claims[i]); ok {
			s.Claims = append(s.Claims, held)
		}
	}
	return s
}

// externalOnly returns the Services that are not ours, and have addresses announced that are in
// their spec.externalIPs.
func (t *Evaluation) externalOnly() []*corev1.Service {
	var out []*corev1.Service
	for i := range t.Services {
		if _, ours := t.Index(intent.KeyOf(&t.Services[i])); !ours && len(t.Checked.Externals(&t.Services[i])) > 0 {
			out = append(out, &t.Services[i])
		}
	}
	return out
}

// Problems returns the problems of all but Services and configuration.
func (w *Snapshot) Problems() []health.Problem {
	o := w.Objects
	o.Excluded = w.Exclusion.Reasons(w.Nodes)
	return o.Problems()
}

func (w *Snapshot) endpoints() map[ipam.Key][]*discoveryv1.EndpointSlice {
	all := make([]*discoveryv1.EndpointSlice, len(w.Endpoints))
	for i := range w.Endpoints {
		all[i] = &w.Endpoints[i]
	}
	return intent.ByService(all)
}

// backends returns what keeps traffic from the endpoints of each Service.
func (t *Evaluation) backends() announced.Backends {
	endpoints, where := t.endpoints(), intent.PlacementOf(t.Nodes)
	out := make(announced.Backends, len(t.Served))
	for _, svc := range slices.Concat(t.Served, t.externalOnly()) {
		key := intent.KeyOf(svc)
		out[key] = intent.BackendsOf(svc, endpoints[key], where)
	}
	return out
}

// Node returns the Node with that name, or nil.
func (w *Snapshot) Node(name string) *corev1.Node {
	for i := range w.Nodes {
		if w.Nodes[i].Name == name {
			return &w.Nodes[i]
		}
	}
	return nil
}

// Endpoint is an endpoint of an EndpointSlice.
type Endpoint = discoveryv1.Endpoint

// endpointsOf returns the endpoints of a Service, each once. A dual-stack Service has
// each endpoint in one slice a family.
func (w *Snapshot) endpointsOf(k ipam.Key) []Endpoint {
	var out []Endpoint
	seen := map[string]bool{}
	for i := range w.Endpoints {
		s := &w.Endpoints[i]
		if s.Namespace != k.Namespace || s.Labels[discoveryv1.LabelServiceName] != k.Name {
			continue
		}
		for _, e := range s.Endpoints {
			name := strings.Join(e.Addresses, ",")
			if e.TargetRef != nil {
				name = e.TargetRef.Kind + "/" + e.TargetRef.Name
			}
			if !seen[name] {
				seen[name] = true
				out = append(out, e)
			}
		}
	}
	return out
}

// ReadyOn counts the ready endpoints of a Service by node; "": endpoints that name no
// node.
func (w *Snapshot) ReadyOn(k ipam.Key) map[string]int {
	out := map[string]int{}
	for _, e := range w.endpointsOf(k) {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		node := ""
		if e.NodeName != nil {
			node = *e.NodeName
		}
		out[node]++
	}
	return out
}
