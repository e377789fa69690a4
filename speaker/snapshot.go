package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// sight is all that the decision depends on, and what else a pass needs.
type sight struct {
	announce.Snapshot
	named   map[netip.Addr]string // the node that each L2Claim names
	answers map[netip.Addr]string // the node that each says it answers
	macs    []net.HardwareAddr    // of all speakers' links
	// speakers are the nodes that have a Speaker object.
	speakers map[string]bool
	// leaves is how long this node, which is excluded, still offers its routes.
	leaves time.Duration
}

func (r *reconciler) look(ctx context.Context) (s sight, err error) {
	s.Self = r.node
	objects, err := cluster.Configuration(ctx, r.reader, r.namespace)
	if err != nil {
		return s, err
	}
	config := intent.Parse(objects)
	s.L2, s.BGP, s.Neighbors = config.L2, config.BGP, config.Neighbors
	if s.Services, err = r.services(ctx, config); err != nil {
		return s, err
	}
	if err = r.nodes(ctx, &s); err != nil {
		return s, err
	}
	return s, r.heldClaims(ctx, &s)
}

func (r *reconciler) services(ctx context.Context, config intent.Config) ([]announce.Service, error) {
	services, err := cluster.Services(ctx, r.cache)
	if err != nil {
		return nil, err
	}
	var slices discoveryv1.EndpointSliceList
	if err := cluster.List(ctx, r.reader, &slices); err != nil {
		return nil, err
	}
	of := map[ipam.Key][]*discoveryv1.EndpointSlice{}
	for i := range slices.Items {
		s := &slices.Items[i]
		key := ipam.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		of[key] = append(of[key], s)
	}
	var out []announce.Service
	for _, svc := range services {
		if intent.Ours(svc, r.class) && len(svc.Status.LoadBalancer.Ingress) > 0 {
			out = append(out, config.Announced(svc, of[intent.KeyOf(svc)]))
		}
	}
	return out, nil
}

// nodes enters every Node, and the MACs of their links; what its links can do
// stands in its Speaker object, but this node's own links are looked at directly.
func (r *reconciler) nodes(ctx context.Context, s *sight) error {
	var nodes corev1.NodeList
	if err := cluster.List(ctx, r.reader, &nodes); err != nil {
		return err
	}
	var speakers v1beta1.SpeakerList
	if err := cluster.List(ctx, r.reader, &speakers); err != nil {
		return err
	}
	links, macs := r.linksOf(speakers.Items)
	s.macs, s.speakers = macs, make(map[string]bool, len(speakers.Items))
	for i := range speakers.Items {
		s.speakers[speakers.Items[i].Name] = true
	}
	p, err := r.presence(ctx)
	if err != nil {
		return err
	}
	if err := r.gather(ctx, p, nodes.Items); err != nil {
		return err
	}
	s.Nodes = make([]announce.Node, len(nodes.Items))
	for i := range nodes.Items {
		n := &nodes.Items[i]
		s.Nodes[i] = announce.Node{
			Name: n.Name, Labels: n.Labels, Links: links[n.Name],
			Live:     n.Name == r.node || p.there(n.Name),
			Excluded: intent.Excluded(n), StandIns: p.Watchers[n.Name],
		}
		if n.Name == r.node {
			s.leaves = r.left(n, time.Now())
			s.Leaving = s.leaves > 0
		}
	}
	return nil
}

// linksOf returns the links of each node, and the MACs of all. This node's own
// are as they are now, the others' as their speakers last told.
func (r *reconciler) linksOf(speakers []v1beta1.Speaker) (links map[string][]announce.Link, macs []net.HardwareAddr) {
	links = map[string][]announce.Link{}
	for _, s := range speakers {
		for _, l := range s.Status.Links {
			link := announce.Link{Name: l.Name, Up: l.Up}
			if mac, err := net.ParseMAC(l.MAC); err == nil && len(mac) == len(link.MAC) {
				link.MAC = [6]byte(mac)
				macs = append(macs, mac)
			}
			for _, p := range l.Prefixes {
				if prefix, err := netip.ParsePrefix(p); err == nil {
					link.Prefixes = append(link.Prefixes, prefix)
				}
			}
			links[s.Name] = append(links[s.Name], link)
		}
	}
	links[r.node] = nil
	for _, l := range r.links.Links() {
		links[r.node] = append(links[r.node], announce.Link{Name: l.Name, Up: l.Up, MAC: [6]byte(l.MAC), Prefixes: l.Prefixes})
	}
	return links, macs
}

// heldClaims takes over what the L2Claims say, but for those of which this node
// has taken the address over and could not yet say so: while the API server is
// away, a former holder that comes back does not get it back.
func (r *reconciler) heldClaims(ctx context.Context, s *sight) error {
	claims, err := readClaims(ctx, r.reader, r.claims)
	if err != nil {
		return err
	}
	s.named, s.answers = map[netip.Addr]string{}, map[netip.Addr]string{}
	for _, c := range claims {
		a, err := netip.ParseAddr(string(c.Spec.Address))
		if err != nil {
			continue
		}
		s.named[a], s.answers[a] = c.Spec.Node, c.Status.Node
		node := c.Spec.Node
		if from, taken := r.taken[a]; taken && from == node {
			node = r.node
		}
		s.Claims = append(s.Claims, announce.HeldClaim{Addr: a, Node: node, Untried: untried(c)})
	}
	return nil
}
