package intent

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Placement finds the node of an address: a node's own, or one of a node's Pods
// (spec.podCIDRs). It is not safe for concurrent use. Nil knows no node.
type Placement struct {
	nodes []corev1.Node
	own   map[netip.Addr]string // nil: not asked yet, as most EndpointSlices name nodes
	pods  map[netip.Prefix]string
	bits  []int // lengths of those prefixes, the longest first
}

// PlacementOf returns the placement by these nodes. If two claim one address, the
// smaller name counts.
func PlacementOf(nodes []corev1.Node) *Placement { return &Placement{nodes: nodes} }

func (p *Placement) fill() {
	p.own, p.pods = map[netip.Addr]string{}, map[netip.Prefix]string{}
	for i := range p.nodes {
		n := &p.nodes[i]
		for _, a := range NodeAddresses(n) {
			enter(p.own, a, n.Name)
		}
		for _, text := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				continue
			}
			enter(p.pods, prefix.Masked(), n.Name)
			if !slices.Contains(p.bits, prefix.Bits()) {
				p.bits = append(p.bits, prefix.Bits())
			}
		}
	}
	slices.SortFunc(p.bits, func(a, b int) int { return b - a })
}

func enter[K comparable](to map[K]string, key K, name string) {
	if other, taken := to[key]; !taken || name < other {
		to[key] = name
	}
}

// node returns the node of an address; "": none is known.
func (p *Placement) node(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil || p == nil {
		return ""
	}
	if p.own == nil {
		p.fill()
	}
	if name, ok := p.own[a]; ok {
		return name
	}
	for _, bits := range p.bits {
		if prefix, err := a.Prefix(bits); err == nil {
			if name, ok := p.pods[prefix]; ok {
				return name
			}
		}
	}
	return ""
}

// endpoint is an endpoint to which traffic for some port of its Service goes.
type endpoint struct {
	node           string // "": not known
	named          bool   // it names its node; else that is known by its address
	ready, serving bool   // serving: also if it terminates
	count          int    // how many it stands for
}

// CountKey is the key, in an Endpoint's deprecated topology, of how many endpoints of one node
// and state it stands for. A speaker's cache keeps one of these.
const CountKey = "steelyard.dev/count"

// ciliumPlaceholder is the address that Cilium writes into the EndpointSlices of its
// Gateway and Ingress. Cilium takes their traffic itself, at any port.
const ciliumPlaceholder = "192.192.192.192"

// lists reports whether an EndpointSlice lists a port of a Service: one of the same name
// and protocol, as kube-proxy compares them.
func lists(s *discoveryv1.EndpointSlice, of *corev1.ServicePort) bool {
	protocol := cmp.Or(of.Protocol, corev1.ProtocolTCP) // the API's default
	for _, p := range s.Ports {
		name, has := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			has = *p.Protocol
		}
		if p.Port != nil && name == of.Name && has == protocol {
			return true
		}
	}
	return false
}

func listsAny(s *discoveryv1.EndpointSlice, svc *corev1.Service) bool {
	for i := range svc.Spec.Ports {
		if lists(s, &svc.Spec.Ports[i]) {
			return true
		}
	}
	return false
}

// placeholder reports whether the endpoints of s stand for what takes traffic at any port.
func placeholder(s *discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return slices.Contains(e.Addresses, ciliumPlaceholder) })
}

// isOf reports whether an EndpointSlice is of a family: kube-proxy sends what comes for an
// IPv4 address to IPv4 endpoints only.
func isOf(s *discoveryv1.EndpointSlice, f ipam.Family) bool {
	return string(s.AddressType) == f.String()
}

// endpointsIn yields the endpoints of an EndpointSlice.
func endpointsIn(s *discoveryv1.EndpointSlice, where *Placement) iter.Seq[endpoint] {
	return func(yield func(endpoint) bool) {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			x := endpoint{ready: e.Conditions.Ready == nil || *e.Conditions.Ready, count: 1} // as the API has it
			if n, err := strconv.Atoi(e.DeprecatedTopology[CountKey]); err == nil {
				x.count = n
			}
			x.serving = x.ready || e.Conditions.Serving != nil && *e.Conditions.Serving
			if e.NodeName != nil {
				x.node, x.named = *e.NodeName, true
			} else if len(e.Addresses) > 0 {
				x.node = where.node(e.Addresses[0])
			}
			if !yield(x) {
				return
			}
		}
	}
}

// serves reports whether an endpoint of s takes traffic.
func serves(s *discoveryv1.EndpointSlice) bool {
	for x := range endpointsIn(s, nil) {
		if x.serving {
			return true
		}
	}
	return false
}

// served reports whether an endpoint of a family takes traffic for some port of svc, on
// whichever node.
func served(svc *corev1.Service, f ipam.Family, all []*discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool {
		return isOf(s, f) && (listsAny(s, svc) || placeholder(s)) && serves(s)
	})
}

// counting returns the endpoints of one family, for one of svc's ports, that count for a
// node. Those that name no node count only where none that serves names one: kube-proxy
// sends to no such endpoint while externalTrafficPolicy is Local.
func counting(svc *corev1.Service, f ipam.Family, all []*discoveryv1.EndpointSlice, where *Placement) []endpoint {
	var named, placed []endpoint
	serve := false
	for _, s := range all {
		if !isOf(s, f) || !listsAny(s, svc) {
			continue
		}
		for x := range endpointsIn(s, where) {
			switch {
			case x.named:
				named, serve = append(named, x), serve || x.serving
			case x.node != "":
				placed = append(placed, x)
			}
		}
	}
	if serve {
		return named
	}
	return placed
}

// servingNodes returns the nodes with an endpoint that counts and is ready. If there is
// none at all, it returns those with one that is terminating and still serves: kube-proxy
// sends to such ones too, but only while there are no others.
func servingNodes(svc *corev1.Service, f ipam.Family, all []*discoveryv1.EndpointSlice, where *Placement) map[string]bool {
	ready, serving := map[string]bool{}, map[string]bool{}
	for _, x := range counting(svc, f, all, where) {
		switch {
		case x.ready:
			ready[x.node] = true
		case x.serving:
			serving[x.node] = true
		}
	}
	if len(ready) == 0 {
		return serving
	}
	return ready
}

// readyCount returns how many ready endpoints that count each node has.
func readyCount(svc *corev1.Service, f ipam.Family, all []*discoveryv1.EndpointSlice, where *Placement) map[string]int {
	out := map[string]int{}
	for _, x := range counting(svc, f, all, where) {
		if x.ready {
			out[x.node] += x.count
		}
	}
	return out
}

// Backends is what keeps traffic from the endpoints of a Service, by family.
type Backends struct{ V4, V6 Backend }

// Of returns what is of a family.
func (b Backends) Of(f ipam.Family) Backend {
	if f == ipam.IPv6 {
		return b.V6
	}
	return b.V4
}

// Backend is what keeps traffic from the endpoints of one family.
type Backend struct {
	Serves   bool     // an endpoint serves, whatever its ports
	Ports    int      // how many the Service has
	Unserved []string // those of them that no endpoint which serves has, in words
	Unnamed  bool     // no endpoint that serves names its node
	Unplaced bool     // an endpoint serves that names no node, and no node is known by its address
}

// BackendsOf returns what keeps traffic from the endpoints of svc.
func BackendsOf(svc *corev1.Service, all []*discoveryv1.EndpointSlice, where *Placement) Backends {
	return Backends{V4: backendOf(svc, ipam.IPv4, all, where), V6: backendOf(svc, ipam.IPv6, all, where)}
}

func backendOf(svc *corev1.Service, f ipam.Family, all []*discoveryv1.EndpointSlice, where *Placement) (out Backend) {
	served := make([]bool, len(svc.Spec.Ports))
	out.Ports = len(served)
	for _, s := range all {
		if !isOf(s, f) || !serves(s) {
			continue
		}
		out.Unnamed = out.Unnamed || !out.Serves
		out.Serves = true
		for x := range endpointsIn(s, where) {
			out.Unplaced = out.Unplaced || x.serving && x.node == ""
			out.Unnamed = out.Unnamed && !(x.serving && x.named)
		}
		for i := range served {
			served[i] = served[i] || lists(s, &svc.Spec.Ports[i]) || placeholder(s)
		}
	}
	for i := range served {
		if !served[i] {
			out.Unserved = append(out.Unserved, portText(&svc.Spec.Ports[i]))
		}
	}
	return out
}

// portText names a port of a Service for people.
func portText(p *corev1.ServicePort) string {
	text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
	if p.Name != "" {
		text = printable.Quote(p.Name)
	}
	if target := p.TargetPort.String(); target != "0" && target != "" {
		text += fmt.Sprintf(" (targetPort %s)", printable.Word(target))
	}
	return text
}

// EndpointsOn reports whether svc has, on one node, an endpoint that counts and is ready,
// and one that serves though it may be terminating.
func EndpointsOn(node string, svc *corev1.Service, all []*discoveryv1.EndpointSlice, where *Placement) (ready, serving bool) {
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		for _, x := range counting(svc, f, all, where) {
			if x.node == node {
				ready, serving = ready || x.ready, serving || x.serving
			}
		}
	}
	return ready, serving
}
