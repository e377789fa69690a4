package announce

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Key names a Service.
type Key = ipam.Key

// peerings returns the sessions that s.Self holds, without routes, and the peers to which it
// holds none because of an older peer.
func (s Snapshot) peerings() (held []Peering, superseded []Superseded) {
	self := s.self()
	byAge := slices.DeleteFunc(slices.Clone(s.Neighbors), func(n Neighbor) bool { return !n.Nodes.Selects(self.Labels) })
	slices.SortStableFunc(byAge, func(a, b Neighbor) int { return a.Created.Compare(b.Created) }) // they are sorted by name
	first := map[sessionKey]string{}
	for i := range byAge {
		p := byAge[i].On(self.Labels, self.Annotations)
		if p.Problem == "" {
			if by, taken := first[p.sessionKey()]; taken {
				superseded = append(superseded, Superseded{Peer: p.Name, By: by})
				continue
			}
			first[p.sessionKey()] = p.Name
		}
		if self.Addr.Is4() {
			p.NodeV4 = self.Addr
		}
		if p.NodeV6 = self.AddrV6; !p.RouterID.IsValid() {
			p.RouterID = p.NodeV4
		}
		held = append(held, Peering{Peer: p})
	}
	slices.SortFunc(held, func(a, b Peering) int { return cmp.Compare(a.Peer.Name, b.Peer.Name) })
	slices.SortFunc(superseded, func(a, b Superseded) int { return cmp.Compare(a.Peer, b.Peer) })
	return held, superseded
}

// offer is a prefix that an advertisement announces; the advertisement is its index by name.
type offer struct {
	prefix netip.Prefix
	by     int
}

func (o offer) compare(p offer) int {
	return cmp.Or(ComparePrefix(o.prefix, p.prefix), cmp.Compare(o.by, p.by))
}

// bgp decides the routes that s.Self advertises to each of its peers, and adds them to
// peerings. It returns the result for each Service, and the clashes of advertisements.
func (s Snapshot) bgp(peerings []Peering) (offered []Reason, _ []AttributeClash) {
	self := *s.self()
	leaving := s.Leaving && (self.Excluded != "" || self.Yields)
	if leaving {
		self.Excluded, self.Yields = "", false
	}
	var others *Forecast // which offer what this node would
	if self.Yields {
		others = s.Forecast(func(Node) bool { return true })
	}
	heard := make([]bool, len(s.BGP)) // whether it applies to some peer
	for i := range s.BGP {
		heard[i] = slices.ContainsFunc(peerings, s.BGP[i].appliesTo)
	}
	var all []offer
	if slices.Contains(heard, true) {
		all = make([]offer, 0, len(s.Services))
	}
	served := s.servedHere()
	covering := s.covering(len(s.BGP), func(i int) map[string]bool { return s.BGP[i].Pools })
	offered = make([]Reason, len(s.Services))
	for i := range s.Services {
		svc := &s.Services[i]
		offered[i] = AddressOutsidePools
		for _, a := range svc.Addrs {
			var best Reason
			before := len(all)
			best, all = s.offer(&self, svc, a, served, covering[a.Pool], heard, all)
			if others != nil && slices.Contains(orderedAfterYields(), best) && others.yielded(svc, a) {
				best, all = NodeUnschedulable, all[:before]
			}
			offered[i] = furthest(offered[i], best)
		}
	}
	slices.SortFunc(all, offer.compare)
	all = slices.Compact(all)
	clashes := map[AttributeClash]bool{}
	bandwidths := s.bandwidths(&self)
	made := map[string][]Route{} // by the advertisements that apply: peers with the same ones share a list
	for i, p := range peerings {
		who := s.applying(p)
		routes, known := made[who]
		if !known {
			routes = bandwidths.routes(all, who, leaving, clashes)
			made[who] = routes
		}
		peerings[i].Routes = routes
	}
	return offered, slices.SortedFunc(maps.Keys(clashes), func(a, b AttributeClash) int {
		return cmp.Or(cmp.Compare(a.Loser, b.Loser), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Winner, b.Winner))
	})
}

// appliesTo reports whether the advertisement selects a peer.
func (ad *BGPAdvertisement) appliesTo(p Peering) bool {
	return ad.Peers == nil || ad.Peers[p.Peer.Name]
}

// maxPeers is how many peers that can't be used Unusable names.
const maxPeers = 3

// UnusableText says why peers can't be used; "" if there are none.
func UnusableText(peers []UnusablePeer) string {
	var parts []string
	for i, p := range peers {
		if i == maxPeers {
			parts = append(parts, fmt.Sprintf("nor can %d more", len(peers)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("BGPPeer %q can't be used: %s", p.Name, p.Cause))
	}
	return strings.Join(parts, "; ")
}

// UnusableFor returns the peers that can't be used and that an advertisement selects which covers
// an address of that pool, of a Service with these labels: those for node n; nil: for any node.
func (s Snapshot) UnusableFor(pool string, labels map[string]string, n *Node) []UnusablePeer {
	var out []UnusablePeer
	for _, p := range s.Unusable {
		if (n == nil || p.Nodes.Selects(n.Labels)) && slices.ContainsFunc(s.BGP, func(ad BGPAdvertisement) bool {
			return ad.Covers(pool, labels) && ad.appliesTo(Peering{Peer: Peer{Name: p.Name}})
		}) {
			out = append(out, p)
		}
	}
	return out
}

// applying returns a byte for each advertisement: 1 if it selects a peer, or 0.
func (s Snapshot) applying(p Peering) string {
	who := make([]byte, len(s.BGP))
	for i := range s.BGP {
		who[i] = '0'
		if s.BGP[i].appliesTo(p) {
			who[i] = '1'
		}
	}
	return string(who)
}

// routes makes routes of the offers of the advertisements that apply, as applying returns them.
func (b bandwidths) routes(all []offer, who string, leaving bool, clashes map[AttributeClash]bool) []Route {
	var out []Route
	var by []int // the advertisements that offer the next prefix
	for i, o := range all {
		if who[o.by] == '1' {
			by = append(by, o.by)
		}
		if last := i == len(all)-1; len(by) > 0 && (last || all[i+1].prefix != o.prefix) {
			if out == nil {
				out = make([]Route, 0, len(all)-i)
			}
			route := b.merge(o.prefix, by, clashes)
			route.Leaving = leaving
			out, by = append(out, route), by[:0]
		}
	}
	return out
}

// servedHere returns the addresses of Services with traffic policy Local, and whether s.Self
// has endpoints of all of those on the address: a route attracts the traffic of each.
func (s Snapshot) servedHere() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for i := range s.Services {
		svc := &s.Services[i]
		if !svc.Local {
			continue
		}
		for _, a := range svc.Addrs {
			others, known := out[a.Addr]
			out[a.Addr] = svc.routes(s.Self, a.Addr) && (others || !known)
		}
	}
	return out
}

// offer adds the prefixes for one address, and returns Announced or why there are none.
func (s Snapshot) offer(self *Node, svc *Service, a Address, served map[netip.Addr]bool, covering []int, heard []bool, all []offer) (Reason, []offer) {
	if a.Pool == "" {
		return AddressOutsidePools, all
	}
	best := NotAdvertised
	here, local := served[a.Addr]
	for _, i := range covering {
		ad := &s.BGP[i]
		if !ad.Covers(a.Pool, svc.Labels) {
			continue
		}
		reason := ad.excludes(self, a, here || !local)
		if ad.Withdraws {
			reason = cmp.Or(svc.withdrawn(a.Addr), reason)
		}
		if reason != "" {
			best = furthest(best, reason)
			continue
		}
		best = furthest(best, NoPeer)
		if heard[i] {
			all, best = append(all, offer{ad.prefix(a, local), i}), Announced
		}
	}
	return best, all
}

// excludes returns why node n may not announce a; "": it may.
func (ad *BGPAdvertisement) excludes(n *Node, a Address, served bool) Reason {
	// The node's speaker is alive: it is the one that decides.
	switch {
	case n.Excluded != "":
		return NodeExcluded
	case othersOwn(a.Node, n):
		return AddressOfNode
	case !ad.Nodes.Selects(n.Labels):
		return NodeNotSelected
	case !served:
		return NoLocalEndpoints
	}
	return ""
}

// furthest returns the reason that is later in the order of the checks.
func furthest(a, b Reason) Reason {
	order := []Reason{AddressOutsidePools, NotAdvertised, NoEndpoints, EndpointsUnstable, NodeExcluded, NodeUnschedulable, AddressOfNode, NodeNotSelected, NoLocalEndpoints, NoPeer, Announced}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// prefix returns the prefix that is announced for an address: that of the advertisement's
// length. It is the address alone if the longer prefix has addresses from outside the pool, or
// if a Service on the address has traffic policy Local: other addresses may have endpoints on
// other nodes.
func (ad *BGPAdvertisement) prefix(a Address, local bool) netip.Prefix {
	length := ad.Length4
	if a.Addr.Is6() {
		length = ad.Length6
	}
	if local || length < a.Bits {
		length = a.Addr.BitLen()
	}
	return netip.PrefixFrom(a.Addr, length).Masked()
}

// merge returns the route of a prefix that several advertisements announce. It has the
// communities of all. Of each other attribute it has the value from the advertisement with the
// smallest name that sets it.
func (b bandwidths) merge(prefix netip.Prefix, ads []int, clashes map[AttributeClash]bool) Route {
	r := b.attributes(ads[0], prefix)
	r.Prefix = prefix
	if len(ads) == 1 {
		return r
	}
	for _, i := range ads[1:] {
		a := b.attributes(i, prefix)
		r.LocalPref, r.Prepend, r.Bandwidth = cmp.Or(r.LocalPref, a.LocalPref), cmp.Or(r.Prepend, a.Prepend), cmp.Or(r.Bandwidth, a.Bandwidth)
		if !r.HasMED {
			r.MED, r.HasMED = a.MED, a.HasMED
		}
		r.Communities = union(r.Communities, a.Communities, cmp.Compare[uint32])
		r.Large = union(r.Large, a.Large, LargeCommunity.Compare)
	}
	for _, f := range attributes() {
		winner := ""
		for _, i := range ads {
			name, a := b.ads[i].Name, b.attributes(i, prefix)
			switch {
			case !f.set(a):
			case winner == "":
				winner = name
			case !f.same(a, r):
				clashes[AttributeClash{Loser: name, Winner: winner, Field: f.field}] = true
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
		{"linkBandwidth", func(r Route) bool { return r.Bandwidth != 0 }, func(a, b Route) bool { return a.Bandwidth == b.Bandwidth }},
	}
}

// Contradicts returns the fields of a BGPAdvertisement that r and q set to different values.
func (r Route) Contradicts(q Route) []string {
	var out []string
	for _, f := range attributes() {
		if f.set(r) && f.set(q) && !f.same(r, q) {
			out = append(out, f.field)
		}
	}
	return out
}

// union returns the sorted union of a and b, and does not change them.
func union[T comparable](a, b []T, compare func(a, b T) int) []T {
	out := slices.Concat(a, b)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

// ComparePrefix orders prefixes by address, then by length, as Peering.Routes are.
func ComparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
