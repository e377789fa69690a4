package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// addressFact says who announces an address, and how.
type addressFact struct {
	Address        string      `json:"address"`
	Pool           string      `json:"pool"`
	Advertisements []coverFact `json:"advertisements"`
	Layer2         []nodeFact  `json:"layer2,omitempty"`
	BGP            []offerFact `json:"bgp,omitempty"`
}

// coverFact says whether an advertisement is for the address.
type coverFact struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Covers bool   `json:"covers"`
	Detail string `json:"why,omitempty"` // why not
}

// nodeFact says how a node stands with an address on the local network.
type nodeFact struct {
	Node     string          `json:"node"`
	Decision announce.Reason `json:"decision"`
	Detail   string          `json:"why"`
}

// offerFact says what a node offers to a peer.
type offerFact struct {
	Node     string          `json:"node"`
	Peer     string          `json:"peer,omitempty"`
	Decision announce.Reason `json:"decision"`
	Route    string          `json:"route,omitempty"`
	Session  string          `json:"session,omitempty"` // the state of the session
	Detail   string          `json:"why,omitempty"`
}

func addressFactOf(t *world.Evaluation, s announce.Snapshot, svc *corev1.Service, a netip.Addr) addressFact {
	out := addressFact{Address: a.String(), Pool: t.Checked.PoolOf(a)}
	out.Advertisements = coverFacts(t, svc, out.Pool)
	covered := func(kind string) bool {
		return slices.ContainsFunc(out.Advertisements, func(c coverFact) bool { return c.Covers && c.Kind == kind })
	}
	if covered("L2Advertisement") {
		all := s.Candidates(a)
		for _, c := range all {
			out.Layer2 = append(out.Layer2, nodeFact{c.Node, c.Reason, whyNode(t, a, c, all)})
		}
	}
	if covered("BGPAdvertisement") {
		for _, n := range s.Nodes {
			out.BGP = append(out.BGP, offerFacts(t, s, svc, n, a)...)
		}
	}
	return out
}

// coverFacts says of each advertisement whether it is for an address of that
// pool of svc.
func coverFacts(t *world.Evaluation, svc *corev1.Service, pool string) []coverFact {
	selections := map[intent.Ref]*announce.Selection{} // of the advertisements that are in force
	for i := range t.Checked.L2 {
		ad := &t.Checked.L2[i]
		selections[intent.Ref{Kind: "L2Advertisement", Name: ad.Name}] = &ad.Selection
	}
	for i := range t.Checked.BGP {
		ad := &t.Checked.BGP[i]
		selections[intent.Ref{Kind: "BGPAdvertisement", Name: ad.Name}] = &ad.Selection
	}
	var out []coverFact
	enter := func(kind, name string) {
		ref := intent.Ref{Kind: kind, Name: name}
		c, result := coverFact{Kind: kind, Name: name}, t.Checked.Validations[ref]
		switch s := selections[ref]; {
		case s == nil:
			var detail []string
			for _, f := range result.Faults() {
				detail = append(detail, f.Message)
			}
			c.Detail = "it is not in force: " + strings.Join(detail, "; ")
		case s.Covers(pool, svc.Labels):
			c.Covers = true
		case pool == "":
			c.Detail = "no IPAddressPool holds the address"
		case s.Pools != nil && !s.Pools[pool]:
			c.Detail = strings.TrimSuffix(fmt.Sprintf("it is not for IPAddressPool %q; %s", pool, result.Refs.Message), "; ")
		default:
			c.Detail = "its serviceSelectors do not match the Service's labels"
		}
		out = append(out, c)
	}
	for i := range t.Config.L2 {
		enter("L2Advertisement", t.Config.L2[i].Name)
	}
	for i := range t.Config.BGP {
		enter("BGPAdvertisement", t.Config.BGP[i].Name)
	}
	slices.SortFunc(out, func(a, b coverFact) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// whyNode puts a node's standing in words; all are those of the address.
func whyNode(t *world.Evaluation, a netip.Addr, c announce.Candidate, all []announce.Candidate) string {
	switch c.Reason {
	case announce.Announced:
		return whyOwner(t, a, c, all)
	case announce.NotOwner:
		owner := ownerOf(all)
		switch {
		case owner == nil:
			return "it could"
		case c.Yields && !owner.Yields:
			return fmt.Sprintf("it could; it is unschedulable, and gives way to %s (--unschedulable=drain)", owner.Node)
		case c.Unready && !owner.Unready:
			return fmt.Sprintf("it could; kube-proxy there does not forward yet, and %s has the address meanwhile", owner.Node)
		case owner.Weight > c.Weight:
			return fmt.Sprintf("it could; %s is preferred (weight %d, here %d)", owner.Node, owner.Weight, c.Weight)
		case owner.Holds:
			return fmt.Sprintf("it could; %s holds the address and keeps it", owner.Node)
		}
		return fmt.Sprintf("it could; the lot (rendezvous hash) fell on %s", owner.Node)
	case announce.NoLinkUp:
		return announce.LinksText(c.Links)
	case announce.NodeNotSelected:
		return "the nodeSelectors of the advertisements do not match its labels"
	case announce.NoLocalEndpoints:
		return fmt.Sprintf("no ready endpoint of %s there, and its externalTrafficPolicy is Local", c.Service)
	}
	return whySilent(t, c.Node, c.Reason)
}

// whySilent puts reasons in words that are the same for layer 2 and BGP.
func whySilent(t *world.Evaluation, node string, reason announce.Reason) string {
	switch reason {
	case announce.NodeNotLive:
		return t.Absent(node)
	case announce.NodeExcluded:
		if n := t.Node(node); n != nil {
			return t.Exclusion.Explain(n)
		}
	case announce.NoEndpoints:
		return "no endpoint of the Service serves, and withdrawWithoutEndpoints is set"
	case announce.EndpointsUnstable:
		return "its endpoints come and go, and withdrawWithoutEndpoints is set"
	case announce.NodeUnschedulable:
		return "it is unschedulable, and another node offers the route (--unschedulable=drain)"
	case announce.AddressOfNode:
		return "the address is another node's own"
	case announce.NodeNotSelected:
		return "the nodeSelectors of the advertisements do not match its labels"
	case announce.NoLocalEndpoints:
		return "no ready endpoint there, and externalTrafficPolicy is Local"
	case announce.NoPeer:
		return "no BGPPeer that the advertisements select is for this node"
	}
	return ""
}

func ownerOf(all []announce.Candidate) *announce.Candidate {
	for i := range all {
		if all[i].Reason == announce.Announced {
			return &all[i]
		}
	}
	return nil
}

// whyOwner says why a node owns the address, and what it says of that itself.
func whyOwner(t *world.Evaluation, a netip.Addr, c announce.Candidate, all []announce.Candidate) string {
	others, preferred := 0, true
	for _, o := range all {
		if o.Reason == announce.NotOwner {
			others++
			preferred = preferred && o.Weight < c.Weight
		}
	}
	detail := "the lot (rendezvous hash) fell on it"
	switch {
	case others == 0:
		detail = "no other node can"
	case preferred:
		detail = fmt.Sprintf("it is preferred (weight %d)", c.Weight)
	case c.Holds:
		detail = "it holds the address and keeps it"
	}
	claim := t.Claim(a)
	if claim == nil || claim.Status.Node != c.Node {
		return detail
	}
	for _, l := range claim.Status.Links {
		detail += fmt.Sprintf("; answers on %s with %s", l.Name, l.MAC)
	}
	if claim.Status.Since != nil {
		detail += " for " + duration.HumanDuration(t.Now.Sub(claim.Status.Since.Time))
	}
	return detail
}

// offerFacts says what node n offers of an address to each of its peers.
func offerFacts(t *world.Evaluation, s announce.Snapshot, svc *corev1.Service, n announce.Node, a netip.Addr) []offerFact {
	s.Self = n.Name
	plan := announce.Decide(s)
	reason := plan.Of(intent.KeyOf(svc)).BGP
	sends := t.SendsRoutes(n)
	if !sends {
		reason = announce.NodeNotLive
	}
	if reason != announce.Announced {
		detail := whySilent(t, n.Name, reason)
		if reason == announce.NoPeer {
			detail = cmp.Or(announce.UnusableText(s.UnusableFor(t.Checked.PoolOf(a), svc.Labels, &n)), detail)
		}
		if p := covering(plan, a); sends && p.IsValid() {
			detail = strings.TrimPrefix(detail+"; ", "; ") + fmt.Sprintf("it offers %s for others, which brings it this address's traffic while no node offers %s", p, netip.PrefixFrom(a, a.BitLen()))
		}
		return []offerFact{{Node: n.Name, Decision: reason, Detail: detail}}
	}
	var out []offerFact
	for _, p := range plan.Peerings {
		f := offerFact{Node: n.Name, Peer: p.Peer.Name, Decision: announce.NoPeer, Detail: "no advertisement of the address is for this peer"}
		i := longest(p, a)
		switch family := ipam.FamilyOf(a); {
		case i >= 0 && !p.Peer.Carries(family):
			f.Decision, f.Detail = announce.NotCarried, fmt.Sprintf("the session carries no %s: dualStackAddressFamily is false", family)
		case i >= 0:
			f.Decision, f.Route, f.Detail = announce.Announced, p.Routes[i].String(), ""
		}
		if s := t.Session(n.Name, p.Peer.Name); s != nil {
			f.Session = s.Status.State
			f.Detail = cmp.Or(f.Detail, s.Status.LastError)
		} else {
			f.Session = "not told of"
		}
		out = append(out, f)
	}
	for _, x := range plan.Superseded {
		out = append(out, offerFact{Node: n.Name, Peer: x.Peer, Decision: announce.NoPeer, Detail: fmt.Sprintf("the older BGPPeer %s is for the same router", x.By)})
	}
	return out
}

// longest returns the place of the route that a router takes to a, of those that it is
// offered; -1: there is none.
func longest(p announce.Peering, a netip.Addr) int {
	out := -1
	for i, r := range p.Routes { // by address, then by length
		if r.Prefix.Contains(a) {
			out = i
		}
	}
	return out
}

// covering returns the longest prefix around a that the node offers to any router.
func covering(plan announce.Plan, a netip.Addr) (out netip.Prefix) {
	for _, p := range plan.Peerings {
		if i := longest(p, a); i >= 0 && p.Routes[i].Prefix.Bits() > out.Bits() {
			out = p.Routes[i].Prefix
		}
	}
	return out
}
