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
	routes := make([]map[netip.Prefix]Route, len(peerings))
	for i := range routes {
		routes[i] = map[netip.Prefix]Route{}
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
		peerings[i].Routes = slices.SortedFunc(maps.Values(routes[i]), func(a, b Route) int { return comparePrefix(a.Prefix, b.Prefix) })
	}
	return peerings
}

// offer enters the routes for one address, and returns Announced or why there
// are none.
func (s Snapshot) offer(self *Node, svc *Service, a Address, peerings []Peering, routes []map[netip.Prefix]Route) Reason {
	if a.Pool == "" {
		return AddressOutsidePools
	}
	best := NotAdvertised
	for i := range s.BGP {
		ad := &s.BGP[i]
		if !ad.covers(svc, a) {
			continue
		}
		if why := ad.silent(self, svc); why != "" {
			best = furthest(best, why)
			continue
		}
		best = furthest(best, NoPeer)
		for j, p := range peerings {
			if ad.Peers == nil || ad.Peers[p.Peer.Name] {
				r := ad.route(a.Addr)
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

// merged returns r with what another advertisement of the same prefix adds:
// its communities. For the other attributes the smaller name decides, which is
// the one already there.
func merged(routes map[netip.Prefix]Route, r Route) Route {
	old, ok := routes[r.Prefix]
	if !ok {
		return r
	}
	old.Communities = union(old.Communities, r.Communities, cmp.Compare[uint32])
	old.Large = union(old.Large, r.Large, LargeCommunity.Compare)
	return old
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
