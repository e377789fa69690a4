package main

import (
	"context"
	"net/netip"
	"slices"
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
	// speakers are the nodes that have a Speaker object.
	speakers map[string]bool
	macs     map[[6]byte]string   // of all speakers' links: the node
	rivals   map[netip.Addr]rival // of addresses that this node answers for
	// leaves is how long this node, which is excluded, still offers its routes.
	leaves time.Duration
	// departs is when the soonest of the endpoints that go is to be looked at again.
	departs time.Duration
}

func (r *reconciler) look(ctx context.Context) (s sight, err error) {
	s.Self = r.node
	read, err := r.configuration.Read(ctx)
	if err != nil {
		return s, err
	}
	config := read.Config
	s.L2, s.BGP, s.Neighbors = config.L2, config.BGP, config.Neighbors
	s.Services, s.departs = r.announceable(config)
	if err = r.nodes(ctx, &s); err != nil {
		return s, err
	}
	now := time.Now()
	r.contradicted(now, s.rivals)
	if err = r.heldClaims(ctx, &s); err != nil {
		return s, err
	}
	overruled(r.node, r.plan.Load(), s.named, r.overruled, now)
	remember(s.rivals, r.overruled, now)
	heard(s.rivals, s.Nodes)
	return s, nil
}

// announceable returns the Services with addresses, and when to look at them again if
// nothing happens before; 0: never.
func (r *reconciler) announceable(config *intent.Config) (_ []announce.Service, again time.Duration) {
	services := slices.DeleteFunc(cluster.All[*corev1.Service](r.services), func(svc *corev1.Service) bool {
		return !intent.Ours(svc, r.class) || len(svc.Status.LoadBalancer.Ingress) == 0
	})
	var of map[ipam.Key][]*discoveryv1.EndpointSlice
	if slices.ContainsFunc(services, intent.Local) { // the others' are not asked for
		of = intent.ByService(cluster.All[*discoveryv1.EndpointSlice](r.endpoints))
	}
	here := make(map[ipam.Key]spot, len(services))
	out := make([]announce.Service, 0, len(services))
	for _, svc := range services {
		announced := config.Announced(svc, of[intent.KeyOf(svc)])
		here[announced.Key] = spot{ready: true, serving: true} // kube-proxy sends elsewhere, too
		if announced.Local {
			ready, serving := intent.EndpointsOn(r.node, of[announced.Key])
			here[announced.Key] = spot{port: uint16(svc.Spec.HealthCheckNodePort), ready: ready, serving: serving}
		}
		out = append(out, announced)
	}
	turns, again := r.turns.look(time.Now(), here)
	for i := range out {
		out[i].Turn = turns[out[i].Key]
	}
	return out, again
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
	s.macs, s.rivals, s.speakers = macs, rivalsOf(r.node, r.links.Rivals(), macs), make(map[string]bool, len(speakers.Items))
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
			r.turns.at(n)
			s.leaves = r.left(n, time.Now())
			s.Leaving = s.leaves > 0
		}
	}
	return nil
}

// linksOf returns the links of each node, and whose each MAC is. This node's own
// are as they are now, the others' as their speakers last told.
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
	links[r.node] = nil
	for _, l := range r.links.Links() {
		links[r.node] = append(links[r.node], announce.Link{Name: l.Name, Up: l.Up, MAC: [6]byte(l.MAC), Prefixes: l.Prefixes})
	}
	return links, macs
}

// heldClaims takes over what the L2Claims say, but for those that are not true any more.
func (r *reconciler) heldClaims(ctx context.Context, s *sight) error {
	claims, err := readClaims(ctx, r.reader, r.claims)
	if err != nil {
		return err
	}
	s.named, s.answers = map[netip.Addr]string{}, map[netip.Addr]string{}
	for _, c := range claims {
		held, ok := intent.HeldClaim(c)
		if !ok {
			continue
		}
		s.named[held.Addr], s.answers[held.Addr] = held.Node, c.Status.Node
		held.Node = r.holder(held.Addr, held.Node, s.rivals[held.Addr])
		s.Claims = append(s.Claims, held)
	}
	return nil
}

// holder returns who counts as the holder of an address whose L2Claim names a
// node: this one, if it has taken the address over and could not yet say so, for
// while the API server is away a former holder that comes back does not get it
// back, unless it never stopped answering. And this node leaves an address to a
// rival, if it can't ask whose it is. The zero rival is none.
func (r *reconciler) holder(a netip.Addr, named string, v rival) string {
	if t, taken := r.taken[a]; taken && t.from == named && v.node != t.from {
		named = r.node
	}
	if v.node != "" && named == r.node && !r.beat.connected() && v.cedes(r.node, a) {
		return v.node
	}
	return named
}
