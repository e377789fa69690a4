package main

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// announceable returns the Services with addresses, sorted by name, and how long to wait before
// reading them again if nothing changes; 0: for ever.
func (r *reconciler) announceable(s *snapshot, config *intent.Config) (_ []announce.Service, again time.Duration) {
	services := r.known.update(cluster.All[*corev1.Service](r.services), r.class, config)
	var of map[ipam.Key][]*discoveryv1.EndpointSlice
	var where *intent.Placement
	r.withdraws.Store(config.Withdraws)
	if config.Withdraws || slices.ContainsFunc(services, (*knownService).local) { // other Services' endpoints do not matter
		of, where = intent.ByService(cluster.All[*discoveryv1.EndpointSlice](r.endpoints)), intent.PlacementOf(s.nodes)
	}
	here := map[ipam.Key]kubeproxy.Endpoint{} // of those whose endpoints matter
	serves := map[ipam.Key]bool{}             // of those whose addresses may be withdrawn
	out := make([]announce.Service, 0, len(services))
	for _, k := range services {
		if len(k.addrs) == 0 { // of spec.externalIPs nothing is announced
			k.always = false
			continue
		}
		announced := config.AnnouncedAt(k.svc, k.addrs, of[k.key], where)
		before := k.always
		k.always = !announced.Local && !config.Withdraws
		switch {
		case k.always:
		case announced.Local:
			ready, serving := intent.EndpointsOn(r.node, k.svc, of[k.key], where)
			here[k.key] = kubeproxy.Endpoint{Port: uint16(k.svc.Spec.HealthCheckNodePort), Ready: ready, Serving: serving, Before: before}
		default:
			is := !announced.NoEndpoints4 || !announced.NoEndpoints6
			serves[k.key] = is
			here[k.key] = kubeproxy.Endpoint{Dial: intent.Dial(k.svc), Ready: is, Serving: is, Anywhere: true, Before: before}
		}
		out = append(out, announced)
	}
	states, again := r.arrivals.Follow(s.Now, here)
	held, later := r.damper.Follow(s.Now, serves)
	for i := 0; i < len(out) && len(states)+len(held) > 0; i++ {
		out[i].EndpointState, out[i].Unstable = states[out[i].Key], held[out[i].Key]
	}
	return out, wait.Soonest(again, later)
}

// readNodes reads the Nodes, the Speakers, and the MACs of the nodes' links. Other nodes' links come from their
// Speaker objects, this node's from the kernel.
func (r *reconciler) readNodes(s *snapshot) {
	nodes, speakers := cluster.Values[corev1.Node](r.nodes.List()), cluster.Values[v1beta1.Speaker](r.speakers.List())
	links, macs := r.linksOf(speakers)
	unready := map[string]bool{}
	s.nodes, s.MACs, s.Speakers, s.Isolated = nodes, macs, make(map[string]bool, len(speakers)), map[string]bool{}
	for i := range speakers {
		s.Speakers[speakers[i].Name] = true
		if meta.IsStatusConditionTrue(speakers[i].Status.Conditions, v1beta1.ConditionIsolated) {
			s.Isolated[speakers[i].Name] = true
		}
		unready[speakers[i].Name] = meta.IsStatusConditionTrue(speakers[i].Status.Conditions, v1beta1.ConditionNotForwarding)
	}
	unready[r.node] = !r.forwards.Ready()
	s.Cluster.Nodes = make([]announce.Node, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		s.Cluster.Nodes[i] = announce.Node{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations, Links: links[n.Name], Excluded: r.routes.Rule.Reason(n), Yields: r.routes.Rule.Yields(n), Unready: unready[n.Name], Addr: intent.NodeAddress(n), AddrV6: intent.NodeAddressV6(n)}
		if n.Name == r.node {
			r.arrivals.SetNodeAddresses(intent.NodeAddresses(n))
			s.excluded = r.routes.Rule.Explain(n)
			s.drains = r.routes.Remaining(n, nodes, s.Now)
			s.Cluster.Leaving = s.drains > 0
		}
	}
}

// linksOf returns the links of each node, and the node of each MAC. This node's links are
// current; the others' are as their speakers last reported.
func (r *reconciler) linksOf(speakers []v1beta1.Speaker) (links map[string][]announce.Link, macs map[[6]byte]string) {
	links, macs = map[string][]announce.Link{}, map[[6]byte]string{}
	for i := range speakers {
		of := intent.Links(&speakers[i])
		for _, l := range of {
			if l.MAC != [6]byte{} {
				macs[l.MAC] = speakers[i].Name
			}
		}
		links[speakers[i].Name] = of
	}
	links[r.node] = r.ownLinks()
	return links, macs
}

// ownLinks returns this node's links, as the kernel has them.
func (c *core) ownLinks() (out []announce.Link) {
	for _, l := range c.links.Links() {
		out = append(out, announce.Link{Name: l.Name, Up: l.Up, MAC: [6]byte(l.MAC), Prefixes: l.Prefixes, Unnumbered: l.Unnumbered})
	}
	return out
}

// readClaims reads the L2Claims.
func (r *reconciler) readClaims(s *snapshot) {
	claims := cluster.Claims(r.cachedClaims, r.claimOverlay, s.Now)
	s.Claims = make([]failover.Claim, 0, len(claims))
	for _, c := range claims {
		if held, ok := intent.HeldClaim(c); ok {
			s.Claims = append(s.Claims, failover.Claim{HeldClaim: held, Answering: c.Status.Node})
		}
	}
}

// service returns a Service from the cache; nil if it has none with that key.
func (r *reconciler) service(k ipam.Key) (*corev1.Service, error) {
	o, _, err := r.services.GetByKey(k.String())
	svc, _ := o.(*corev1.Service)
	return svc, err
}
