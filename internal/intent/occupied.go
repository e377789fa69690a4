package intent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Others are the objects that tell which addresses something other than a Service of ours has.
// The zero Others tells of none.
type Others struct {
	Nodes      []corev1.Node
	Speakers   []v1beta1.Speaker
	ClusterIPs []netip.Prefix // the ranges that Services have their ClusterIPs of; none: not known, each Service's counts
	Conflicts  []Conflict     // what foreign hosts have
	Reserved   *Reserved      // what is reserved for Services
}

// reportedMost bounds how many addresses, and how many subnets, of one node count: a speaker's
// report may be that of a thief.
const reportedMost = 64

// Occupied returns which addresses of the pools something other than a Service of ours has.
// Services are those of all types and classes; those of class are ours.
func (c Config) Occupied(others Others, services []*corev1.Service, class string) *ipam.Occupied {
	o := &occupancy{config: c, out: &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}, Known: map[string]bool{}}}
	for i := range others.Nodes {
		o.node(&others.Nodes[i])
	}
	for i := range others.Speakers {
		o.speaker(&others.Speakers[i])
	}
	for a, by := range o.out.Addrs {
		by.Alone = len(others.Nodes) == 1
		o.out.Addrs[a] = by
	}
	for i := range others.Speakers {
		o.network(&others.Speakers[i])
	}
	for _, n := range c.Neighbors {
		if o.holds(n.Peer.Addr) {
			o.add(n.Peer.Addr, fmt.Sprintf("the address of BGPPeer %q", n.Peer.Name))
		}
	}
	for _, p := range others.ClusterIPs {
		o.span(p, "in "+p.String()+", the cluster's range of ClusterIPs")
	}
	for _, svc := range services {
		o.service(svc, Ours(svc, class), len(others.ClusterIPs) == 0)
	}
	for _, svc := range services { // after all that else has an address
		for _, a := range slices.DeleteFunc(externalIPs(svc), func(a netip.Addr) bool { return !o.holds(a) }) {
			o.external(a, "in spec.externalIPs of Service "+KeyOf(svc).String())
		}
	}
	for _, x := range others.Conflicts {
		if _, known := o.out.Of(x.Addr); !known && o.holds(x.Addr) {
			o.out.Addrs[x.Addr] = ipam.Occupant{Name: fmt.Sprintf("an address of host %s, seen on link %s of node %s", x.Host, x.Link, x.Node), Foreign: true}
		}
	}
	o.reserved(others.Reserved)
	slices.SortFunc(o.out.Ranges, func(r, s ipam.OccupiedRange) int {
		return cmp.Or(r.First.Compare(s.First), r.Last.Compare(s.Last), cmp.Compare(r.By.Name, s.By.Name))
	})
	return o.out
}

// occupancy is an Occupied in the making.
type occupancy struct {
	config Config
	out    *ipam.Occupied
}

// add enters an address of a pool that no Service may have. It counts before a node's own address; of two
// the smaller name stays, so that no order of the objects matters.
func (o *occupancy) add(a netip.Addr, name string) {
	if by, known := o.out.Addrs[a]; !known || by.Node != "" || name < by.Name {
		o.out.Addrs[a] = ipam.Occupant{Name: name}
	}
}

// own enters an address of a pool that is a node's.
func (o *occupancy) own(a netip.Addr, node, name string) {
	if by, known := o.out.Addrs[a]; !known || by.Node != "" && name > by.Name {
		o.out.Addrs[a] = ipam.Occupant{Name: name, Node: node}
	}
}

// external enters an address of a pool that a Service has in spec.externalIPs. A node's own stays
// the node's, and no Service gets it.
func (o *occupancy) external(a netip.Addr, name string) {
	switch by, known := o.out.Of(a); {
	case !known, by.External && name < by.Name:
		o.out.Addrs[a] = ipam.Occupant{Name: name, External: true}
	case by.Node != "":
		o.out.Addrs[a] = ipam.Occupant{Name: by.Name + ", and " + name}
	}
}

// span enters a whole range.
func (o *occupancy) span(p netip.Prefix, name string) {
	r := ipam.RangeOf(p)
	for i := range o.config.Pools {
		if _, meets := ipam.Overlap(o.config.Pools[i].Ranges, []ipam.Range{r}); meets {
			o.out.Ranges = append(o.out.Ranges, ipam.OccupiedRange{Range: r, By: ipam.Occupant{Name: name}})
			return
		}
	}
}

// holds reports whether a pool holds a.
func (o *occupancy) holds(a netip.Addr) bool { return o.config.poolOf(a) != nil }

// held reads an address; ok is false if no pool holds it, as is so for most: what has it
// need not be put in words.
func (o *occupancy) held(text string) (a netip.Addr, ok bool) {
	a, err := parseAddr(text)
	return a, err == nil && o.holds(a)
}

// node enters what a Node object tells.
func (o *occupancy) node(n *corev1.Node) {
	o.out.Known[n.Name] = false
	for _, a := range n.Status.Addresses[:min(reportedMost, len(n.Status.Addresses))] {
		if addr, ok := o.held(a.Address); ok && (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) {
			o.own(addr, n.Name, "the address of node "+n.Name)
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			o.span(p.Masked(), "in "+p.Masked().String()+", the range of Pods of node "+n.Name)
		}
	}
}

// speaker enters the addresses that a node's own links have.
func (o *occupancy) speaker(s *v1beta1.Speaker) {
	if _, there := o.out.Known[s.Name]; !there || s.Status.Host == nil {
		return
	}
	o.out.Known[s.Name] = true
	for _, a := range s.Status.Host.Addresses[:min(reportedMost, len(s.Status.Host.Addresses))] {
		if addr, ok := o.held(a.Address); ok {
			o.own(addr, s.Name, fmt.Sprintf("an address of node %s on its link %s", s.Name, a.Link))
		}
	}
}

// network enters what belongs to a node's subnets and routes.
func (o *occupancy) network(s *v1beta1.Speaker) {
	if h := s.Status.Host; h != nil {
		for _, text := range h.Gateways {
			if a, ok := o.held(text); ok {
				o.add(a, "a default gateway of node "+s.Name)
			}
		}
	}
	n := 0
	for _, l := range Links(s) {
		for _, p := range l.Prefixes {
			if n++; n > reportedMost {
				return
			}
			o.subnet(p, s.Name)
		}
	}
}

// subnet enters the network and broadcast addresses of an IPv4 subnet, and an IPv6 subnet's
// router anycast address (RFC 4291 section 2.6.1). Subnets of two addresses have none (RFC 3021,
// RFC 6164).
func (o *occupancy) subnet(p netip.Prefix, node string) {
	if p.Addr().BitLen()-p.Bits() < 2 {
		return
	}
	enter := func(a netip.Addr, what string) {
		if o.holds(a) {
			o.add(a, fmt.Sprintf("the %s address of %s, a subnet of node %s", what, p, node))
		}
	}
	r := ipam.RangeOf(p)
	if p.Addr().Is4() {
		enter(r.First, "network")
		enter(r.Last, "broadcast")
		return
	}
	enter(r.First, "routers' anycast")
}

// service enters what a Service has that is not an address of ours.
func (o *occupancy) service(svc *corev1.Service, ours, clusterIPs bool) {
	if clusterIPs {
		for _, text := range svc.Spec.ClusterIPs {
			if a, ok := o.held(text); ok {
				o.add(a, "the ClusterIP of Service "+KeyOf(svc).String())
			}
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && !ours {
		for _, a := range slices.DeleteFunc(Holds(svc), func(a netip.Addr) bool { return !o.holds(a) }) {
			o.add(a, "an address of Service "+KeyOf(svc).String()+", which another load balancer serves")
		}
	}
}

// SameOthers reports whether two versions of an object tell the same of addresses that others have.
func SameOthers(before, after any) bool {
	switch a := after.(type) {
	case *corev1.Node:
		b, ok := before.(*corev1.Node)
		return ok && slices.Equal(a.Status.Addresses, b.Status.Addresses) && slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs)
	case *v1beta1.Speaker:
		b, ok := before.(*v1beta1.Speaker)
		return ok && equal(network(a), network(b))
	}
	return false
}

// Occupies reports whether an event of a Service that is not ours may change which addresses
// others have. Its ClusterIP is seen in time.
func Occupies(before, after any) bool {
	has := func(o any) (externalIPs []string, shown []corev1.LoadBalancerIngress) {
		svc, ok := o.(*corev1.Service)
		switch {
		case !ok || svc == nil:
			return nil, nil
		case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
			return svc.Spec.ExternalIPs, nil
		}
		return svc.Spec.ExternalIPs, svc.Status.LoadBalancer.Ingress
	}
	external, shown := has(before)
	later, shownLater := has(after)
	return !slices.Equal(external, later) || !equal(shown, shownLater) || len(later) > 0 && !sameLabels(before, after)
}

// sameLabels reports whether two objects have the same labels.
func sameLabels(before, after any) bool {
	b, ok := before.(*corev1.Service)
	a, also := after.(*corev1.Service)
	return ok && also && maps.Equal(a.Labels, b.Labels)
}

// network returns the parts of a Speaker that Occupied reads.
func network(s *v1beta1.Speaker) *v1beta1.SpeakerStatus {
	out := &v1beta1.SpeakerStatus{Links: slices.Clone(s.Status.Links), Host: &v1beta1.SpeakerHost{}}
	for i := range out.Links {
		out.Links[i].Up = false
	}
	if h := s.Status.Host; h != nil {
		out.Host.Addresses, out.Host.Gateways = h.Addresses, h.Gateways
	}
	return out
}
