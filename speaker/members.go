package main

import (
	"net/netip"
	"slices"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// setMembership sets the members that the group monitors, and keeps the kernel's neighbor entries
// for them on all links.
func (r *reconciler) setMembership(s snapshot, out failover.Output) {
	if r.membershipPort == 0 || !out.Join {
		return
	}
	config := membership.Config{
		Keys: s.keys, Interval: r.membershipInterval, Multiplier: uint8(r.membershipMultiplier), Port: uint16(r.membershipPort), Isolation: r.isolation,
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		w, watched := out.Watched[n.Name]
		if addr := intent.NodeAddress(n); watched && addr.IsValid() {
			config.Members = append(config.Members, membership.Member{Name: n.Name, Addr: addr, Silent: w.LeaseExpired, Subnet: subnetOf(s.Cluster.Nodes[i].Links, addr)})
		}
	}
	config.Segments = segments(r.links.Links(), s.Cluster.Nodes, config.Members)
	r.group.Set(config)
	var addrs []netip.Addr
	for _, m := range config.Members {
		addrs = append(addrs, m.Addr)
	}
	for _, v := range s.Members.Segments {
		addrs = append(addrs, v.Addrs...)
	}
	r.neighbors.Set(addrs)
}

// restarts reports whether the other speakers wait for this one when it stops, so that its
// node keeps its addresses: it tells them so, or it has not told them anything since it started,
// and they wait still for the process before it.
func (r *reconciler) restarts() bool {
	d := r.plan.Load()
	return r.group.Reachable() || r.membershipPort != 0 && (d == nil || !d.Join)
}

// subnetOf returns the subnet, among those of a node's links, that addr is in; the zero
// Prefix if none is known.
func subnetOf(links []announce.Link, addr netip.Addr) netip.Prefix {
	for _, l := range links {
		for _, p := range l.Prefixes {
			if p.Contains(addr) {
				return p
			}
		}
	}
	return netip.Prefix{}
}

// segments returns the subnets on this node's links in which other members also have a
// link. It omits those in which all of them have their node address: these are monitored
// anyway. On a link with both families IPv4 is enough. Of several links in one subnet the
// one that is up counts.
func segments(own []layer2.Link, nodes []announce.Node, members []membership.Member) []membership.Segment {
	has := map[string][]announce.Link{}
	for _, n := range nodes {
		has[n.Name] = n.Links
	}
	var out []membership.Segment
	for _, l := range own {
		for _, p := range l.Prefixes {
			at := slices.IndexFunc(l.Addrs, p.Contains)
			if at < 0 || p.Addr().Is6() && slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
				continue
			}
			s, beside := membership.Segment{Prefix: p, Addr: l.Addrs[at], Up: l.Up}, false
			for _, m := range members {
				if slices.ContainsFunc(has[m.Name], func(l announce.Link) bool { return slices.Contains(l.Prefixes, p) }) {
					s.Members, beside = append(s.Members, m.Name), beside || !p.Contains(m.Addr)
				}
			}
			same := slices.IndexFunc(out, func(o membership.Segment) bool { return o.Prefix == p })
			switch {
			case !beside || len(s.Members) < 2:
			case same < 0:
				out = append(out, s)
			case !out[same].Up:
				out[same] = s
			}
		}
	}
	return out
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
