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

// peerings returns the sessions that s.Self holds, without routes, and the
// peers that must go without.
func (s Snapshot) peerings() (held []Peering, shadowed []Shadow) {
	labels := s.self().Labels
	byAge := slices.DeleteFunc(slices.Clone(s.Neighbors), func(n Neighbor) bool { return !n.Nodes.selects(labels) })
	slices.SortStableFunc(byAge, func(a, b Neighbor) int { return a.Created.Compare(b.Created) }) // they are sorted by name
	first := map[spot]string{}
	for _, n := range byAge {
		if by, taken := first[n.Peer.spot()]; taken {
			shadowed = append(shadowed, Shadow{Peer: n.Peer.Name, By: by})
			continue
		}
		first[n.Peer.spot()] = n.Peer.Name
		held = append(held, Peering{Peer: n.Peer})
	}
	slices.SortFunc(held, func(a, b Peering) int { return cmp.Compare(a.Peer.Name, b.Peer.Name) })
	slices.SortFunc(shadowed, func(a, b Shadow) int { return cmp.Compare(a.Peer, b.Peer) })
	return held, shadowed
}

// offers are the advertisements of each prefix, by their places in the order of
// names.
type offers map[netip.Prefix][]int

// bgp decides the routes that s.Self offers to each of its peers, and enters
// them. It returns where advertisements contradict each other.
func (s Snapshot) bgp(peerings []Peering, verdicts map[Key]Verdict) []Conflict {
	self := *s.self()
	leaving := s.Leaving && self.Excluded != ""
	if leaving {
		self.Excluded = ""
	}
	all := make([]offers, len(peerings))
	for i := range all {
		all[i] = offers{}
	}
	for i := range s.Services {
		svc := &s.Services[i]
		best := AddressOutsidePools
		for _, a := range svc.Addrs {
			best = furthest(best, s.offer(&self, svc, a, peerings, all))
		}
		v := verdicts[svc.Key]
		v.BGP = best
		verdicts[svc.Key] = v
	}
	conflicts := map[Conflict]bool{}
	for i := range peerings {
		for _, prefix := range slices.SortedFunc(maps.Keys(all[i]), comparePrefix) {
			route := s.merge(prefix, all[i][prefix], conflicts)
			route.Leaving = leaving
			peerings[i].Routes = append(peerings[i].Routes, route)
		}
	}
	return slices.SortedFunc(maps.Keys(conflicts), func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Loser, b.Loser), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Winner, b.Winner))
	})
}

// offer enters the routes for one address, and returns Announced or why there
// are none.
func (s Snapshot) offer(self *Node, svc *Service, a Address, peerings []Peering, all []offers) Reason {
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
				prefix := ad.prefix(a.Addr)
				if at, there := slices.BinarySearch(all[j][prefix], i); !there {
					all[j][prefix] = slices.Insert(all[j][prefix], at, i)
				}
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
	case !svc.routes(n.Name):
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

func (ad *BGPAdvertisement) prefix(a netip.Addr) netip.Prefix {
	length := ad.Length4
	if a.Is6() {
		length = ad.Length6
	}
	return netip.PrefixFrom(a, length).Masked()
}

// merge returns the route that several advertisements make of one prefix: with
// the communities of all; for each other attribute the smallest name that sets
// it decides.
func (s Snapshot) merge(prefix netip.Prefix, ads []int, conflicts map[Conflict]bool) Route {
	r := s.BGP[ads[0]].Attributes
	r.Prefix = prefix
	if len(ads) == 1 {
		return r
	}
	for _, i := range ads[1:] {
		a := s.BGP[i].Attributes
		r.LocalPref, r.Prepend = cmp.Or(r.LocalPref, a.LocalPref), cmp.Or(r.Prepend, a.Prepend)
		if !r.HasMED {
			r.MED, r.HasMED = a.MED, a.HasMED
		}
		r.Communities = union(r.Communities, a.Communities, cmp.Compare[uint32])
		r.Large = union(r.Large, a.Large, LargeCommunity.Compare)
	}
	for _, f := range attributes() {
		winner := ""
		for _, i := range ads {
			ad := &s.BGP[i]
			switch {
			case !f.set(ad.Attributes):
			case winner == "":
				winner = ad.Name
			case !f.same(ad.Attributes, r):
				conflicts[Conflict{Loser: ad.Name, Winner: winner, Field: f.field}] = true
			}
		}
	}
	return r
}

// attribute is a path attribute that an advertisement sets or leaves alone.
type attribute struct {
	field string // of BGPAdvertisement
	set   func(Route) bool
	same  func(a, b Route) bool
}

func attributes() []attribute {
	return []attribute{
		{"localPref", func(r Route) bool { return r.LocalPref != 0 }, func(a, b Route) bool { return a.LocalPref == b.LocalPref }},
		{"med", func(r Route) bool { return r.HasMED }, func(a, b Route) bool { return a.MED == b.MED }},
		{"asPathPrepend", func(r Route) bool { return r.Prepend != 0 }, func(a, b Route) bool { return a.Prepend == b.Prepend }},
	}
}

// Contradicts names the fields of a BGPAdvertisement that r and q both set, to
// different values.
func (r Route) Contradicts(q Route) []string {
	var out []string
	for _, f := range attributes() {
		if f.set(r) && f.set(q) && !f.same(r, q) {
			out = append(out, f.field)
		}
	}
	return out
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
