package announce

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Key names a Service.
type Key = ipam.Key

// bgp decides the routes that s.Self offers to each of its peers.
func (s Snapshot) bgp(verdicts map[Key]Verdict) []Peering {
	self := s.self()
	var peerings []Peering
	for _, n := range s.Neighbors {
		if !n.Nodes.selects(self.Labels) {
			continue
		}
		peerings = append(peerings, Peering{Peer: n.Peer})
	}
	routes := make([]map[netip.Prefix]offered, len(peerings))
	for i := range routes {
		routes[i] = map[netip.Prefix]offered{}
	}
	for i := range s.Services {
		svc := &s.Services[i]
		best := AddressOutsidePools
		for _, a := range svc.Addrs {
			best = furthest(best, s.offer(self, svc, a, peerings, routes))
		}
		v := verdicts[svc.Key]
		v.BGP = best
		verdicts[svc.Key] = v
	}
	for i := range peerings {
		for _, prefix := range slices.SortedFunc(maps.Keys(routes[i]), comparePrefix) {
			peerings[i].Routes = append(peerings[i].Routes, routes[i][prefix].Route)
		}
	}
	return peerings
}

// offered is a route and the place of its advertisement in the order of names.
type offered struct {
	Route
	rank int
}

// offer enters the routes for one address, and returns Announced or why there
// are none.
func (s Snapshot) offer(self *Node, svc *Service, a Address, peerings []Peering, routes []map[netip.Prefix]offered) Reason {
	if a.Pool == "" {
		return AddressOutsidePools
	}
	best := NotAdvertised
	for i := range s.BGP {
		ad := &s.BGP[i]
		if !ad.Covers(a.Pool, svc.Labels) {
			continue
		}
		if why := ad.silent(self, svc); why != "" {
			best = furthest(best, why)
			continue
		}
		best = furthest(best, NoPeer)
		for j, p := range peerings {
			if ad.Peers == nil || ad.Peers[p.Peer.Name] {
				r := offered{ad.route(a.Addr), i}
				routes[j][r.Prefix] = merged(routes[j], r)
				best = Announced
			}
		}
	}
	return best
}

// silent runs the checks on node n; empty: it may announce.
func (ad *BGPAdvertisement) silent(n *Node, svc *Service) Reason {
	// Whether the node's speaker is live is not asked: it is the one that asks.
	switch {
	case n.Excluded != "":
		return NodeExcluded
	case !ad.Nodes.selects(n.Labels):
		return NodeNotSelected
	case svc.Local && !svc.ReadyOn[n.Name]:
		return NoLocalEndpoints
	}
	return ""
}

// furthest returns the reason that came further in the order of the checks.
func furthest(a, b Reason) Reason {
	order := []Reason{AddressOutsidePools, NotAdvertised, NodeExcluded, NodeNotSelected, NoLocalEndpoints, NoPeer, Announced}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

func (ad *BGPAdvertisement) route(a netip.Addr) Route {
	r := ad.Attributes
	length := ad.Length4
	if a.Is6() {
		length = ad.Length6
	}
	r.Prefix = netip.PrefixFrom(a, length).Masked()
	return r
}

// merged returns r together with what is offered for its prefix already: the
// communities of both; for the other attributes the smaller name decides.
func merged(routes map[netip.Prefix]offered, r offered) offered {
	old, ok := routes[r.Prefix]
	if !ok {
		return r
	}
	if old.rank < r.rank {
		old, r = r, old
	}
	r.Communities = union(old.Communities, r.Communities, cmp.Compare[uint32])
	r.Large = union(old.Large, r.Large, LargeCommunity.Compare)
	return r
}

// union returns the sorted union without touching a and b.
func union[T comparable](a, b []T, compare func(a, b T) int) []T {
	out := slices.Concat(a, b)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
