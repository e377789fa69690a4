package main

import (
	"net/netip"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// setMembership sets the members that the group monitors, and keeps the kernel's neighbor entries
// for them on all links.
func (c *core) setMembership(s snapshot, out failover.Output) {
	if c.membershipPort == 0 || !out.Join {
		return
	}
	config := membership.Config{
		Keys: s.keys, Interval: c.membershipInterval, Multiplier: uint8(c.membershipMultiplier), Port: uint16(c.membershipPort), Isolation: c.isolation,
	}
	for i := range s.Cluster.Nodes {
		n := &s.Cluster.Nodes[i]
		w, watched := out.Watched[n.Name]
		if (watched || s.fixed) && n.Addr.IsValid() {
			config.Members = append(config.Members, membership.Member{Name: n.Name, Addr: n.Addr, Silent: w.LeaseExpired || !watched, Subnet: failover.SubnetOf(n.Links, n.Addr)})
		}
	}
	var own []failover.OwnLink
	for _, l := range c.links.Links() {
		own = append(own, failover.OwnLink{Up: l.Up, Prefixes: l.Prefixes, Addrs: l.Addrs})
	}
	config.Segments = failover.Segments(own, s.Cluster.Nodes, config.Members)
	c.group.Set(config)
	var addrs []netip.Addr
	for _, m := range config.Members {
		addrs = append(addrs, m.Addr)
	}
	for _, v := range s.Members.Segments {
		addrs = append(addrs, v.Addrs...)
	}
	c.neighbors.Set(addrs)
}

// restarts reports whether the other speakers wait for this one when it stops, so that its
// node keeps its addresses: it tells them so, or it has not told them anything since it started,
// and they wait still for the process before it.
func (r *reconciler) restarts() bool {
	d := r.plan.Load()
	return r.group.Reachable() || r.membershipPort != 0 && (d == nil || !d.Join)
}

// peers returns the nodes with a Speaker object, and whether each is reachable; large: they
// monitor one another, and are too many to watch all Leases.
func peers(speakers toolscache.Store, view membership.View, wire bool) (out []lease.Peer, large bool) {
	for _, s := range cluster.All[*v1beta1.Speaker](speakers) {
		out = append(out, lease.Peer{Node: s.Name, Heard: view.Heard(s.Name), Called: view.Callers[s.Name]})
	}
	return out, wire && len(out) > lease.Largest
}

// formerForwarder returns which program forwarded on a node before, by the Speakers.
func formerForwarder(speakers toolscache.Store, node string) string {
	reported := map[string]string{}
	for _, s := range cluster.All[*v1beta1.Speaker](speakers) {
		if s.Status.Host != nil {
			reported[s.Name] = s.Status.Host.Forwarder
		}
	}
	return kubeproxy.Former(node, reported)
}
