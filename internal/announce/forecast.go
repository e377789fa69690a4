package announce

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// NotCarried is the reason of a node that would offer a route in sessions none of which
// carries its family. Decide does not give it: the session decides that when it sends.
const NotCarried Reason = "NotCarried"

// Reasons are the reasons for which nodes do not announce an address, in the order of
// the checks: of two nodes the one with the later reason came further.
func Reasons() []Reason {
	return []Reason{
		AddressOutsidePools, NotAdvertised, NoEndpoints, EndpointsUnstable, NodeNotLive, NodeExcluded, NodeUnschedulable, AddressOfNode, NodeNotSelected, NoLinkUp, NoLocalEndpoints, NoPeer, NotCarried,
	}
}

// Forecast tells of every address which nodes may announce it, and for which
// reason the others may not. It agrees with Decide as each of the nodes, and takes a fraction of the time:
// nodes are looked at once for all addresses that are alike.
type Forecast struct {
	s        Snapshot
	yields   bool   // some node yields
	sends    []bool // by node: its speaker offers routes to its peers, if there is reason to
	sessions [][]Peering
	served   map[netip.Addr]map[string]bool // which nodes serve all Local Services on an address
	covering map[string][]int
	routes   map[string][]offering // by advertisements and family, by node

	offered   map[string]map[string][]string // by advertisements and family: what OfferedBy returns
	answering map[[2]int]bool                // by node and L2Advertisement

	holders map[netip.Addr][]holder // nil: not looked for yet
	layer2  map[string][]Reason     // by advertisements and subnets, by node
}

// offering is what a node offers for addresses that are alike, whether or not it serves them.
type offering struct {
	reason Reason // Announced, or that of the node's silence
	peers  []string
}

// Forecast returns the forecast of s. The function sends reports whether a node's speaker
// is there for its BGP peers, which one may be that answers for nothing.
func (s Snapshot) Forecast(sends func(Node) bool) *Forecast {
	o := &Forecast{s: s.sorted(), routes: map[string][]offering{}, layer2: map[string][]Reason{}, offered: map[string]map[string][]string{}, answering: map[[2]int]bool{}}
	for _, n := range o.s.Nodes {
		o.yields = o.yields || n.Yields
		at := o.s
		at.Self = n.Name
		held, _ := at.peerings()
		o.sessions, o.sends = append(o.sessions, held), append(o.sends, sends(n))
	}
	o.served = o.s.servedOn()
	o.covering = o.s.covering(len(s.BGP), func(i int) map[string]bool { return o.s.BGP[i].Pools })
	return o
}

// servedOn returns, for each address of Local Services, the nodes that serve all of those
// on the address.
func (s Snapshot) servedOn() map[netip.Addr]map[string]bool {
	out := map[netip.Addr]map[string]bool{}
	for i := range s.Services {
		svc := &s.Services[i]
		if !svc.Local {
			continue
		}
		for _, a := range svc.Addrs {
			here := map[string]bool{}
			others, known := out[a.Addr]
			for node, ready := range svc.ReadyOn(a.Addr) {
				if ready && (!known || others[node]) {
					here[node] = true
				}
			}
			out[a.Addr] = here
		}
	}
	return out
}

// Covered reports whether an L2Advertisement and whether a BGPAdvertisement covers an
// address of svc.
func (o *Forecast) Covered(svc *Service, a Address) (layer2, bgp bool) {
	return slices.ContainsFunc(o.s.L2, func(ad L2Advertisement) bool { return ad.Covers(a.Pool, svc.Labels) }), o.offerings(svc, a) != nil
}

// Sessions yields the nodes that offer a route for an address of svc, and the peers that
// they offer it to, in sessions that carry its family; also the nodes whose speakers are
// not there, which would. The order is always the same.
func (o *Forecast) Sessions(svc *Service, a Address) iter.Seq2[string, string] {
	return func(yield func(node, peer string) bool) {
		all, yielded := o.offerings(svc, a), o.yielded(svc, a)
		each := func(i int) bool {
			if yielded && o.s.Nodes[i].Yields {
				return true
			}
			for _, peer := range all[i].peers {
				if !yield(o.s.Nodes[i].Name, peer) {
					return false
				}
			}
			return true
		}
		on, local := o.served[a.Addr]
		if local { // usually on few nodes
			for _, node := range slices.Sorted(maps.Keys(on)) {
				i, there := o.s.index(node)
				if there && all != nil && !each(i) {
					return
				}
			}
			return
		}
		for i := range all {
			if !each(i) {
				return
			}
		}
	}
}

// BGP counts the nodes by the reason for which they offer no route for an address of svc; Announced: they
// offer one.
func (o *Forecast) BGP(svc *Service, a Address) map[Reason]int {
	out := map[Reason]int{}
	on, local := o.served[a.Addr]
	yielded := o.yielded(svc, a)
	for i, x := range o.offerings(svc, a) {
		if yielded && o.s.Nodes[i].Yields && slices.Contains(orderedAfterYields(), x.reason) {
			x.reason = NodeUnschedulable
		}
		reached := slices.Contains([]Reason{NoPeer, NotCarried, Announced}, x.reason)
		if local && reached && !on[o.s.Nodes[i].Name] {
			x.reason = NoLocalEndpoints
		}
		out[x.reason]++
	}
	return out
}

// orderedAfterYields are the reasons of checks that come after NodeUnschedulable.
func orderedAfterYields() []Reason {
	all := Reasons()
	return append(all[slices.Index(all, NodeUnschedulable)+1:], Announced)
}

// yielded reports whether a node that lives and does not yield offers a route for an address of svc.
func (o *Forecast) yielded(svc *Service, a Address) bool {
	if !o.yields {
		return false
	}
	on, local := o.served[a.Addr]
	for i, x := range o.offerings(svc, a) {
		if n := &o.s.Nodes[i]; n.Live && !n.Yields && x.reason == Announced && (!local || on[n.Name]) {
			return true
		}
	}
	return false
}

// offerings returns what each node offers for an address of svc, whether or not it serves it; nil:
// no BGPAdvertisement covers it.
func (o *Forecast) offerings(svc *Service, a Address) []offering {
	ads := o.adsOf(svc, a)
	if len(ads) == 0 {
		return nil
	}
	gone, family := svc.withdrawn(a.Addr), ipam.FamilyOf(a.Addr)
	if gone != "" {
		ads = slices.DeleteFunc(ads, func(i int) bool { return o.s.BGP[i].Withdraws })
	}
	if len(ads) == 0 {
		return slices.Repeat([]offering{{reason: gone}}, len(o.s.Nodes))
	}
	alike := fmt.Sprint(ads, family, a.Node)
	all, known := o.routes[alike]
	if !known {
		all = make([]offering, len(o.s.Nodes))
		for i := range o.s.Nodes {
			all[i] = o.offering(i, ads, a)
		}
		o.routes[alike] = all
	}
	return all
}

// offering returns what the i-th node offers by those advertisements for addresses like a.
func (o *Forecast) offering(i int, ads []int, a Address) offering {
	n, family := &o.s.Nodes[i], ipam.FamilyOf(a.Addr)
	out := offering{reason: NotAdvertised}
	for _, j := range ads {
		ad := &o.s.BGP[j]
		excluded := ad.excludes(n, a, true)
		if excluded != "" {
			out.reason = furthest(out.reason, excluded)
			continue
		}
		out.reason = furthest(out.reason, NoPeer)
		for _, p := range o.sessions[i] {
			if !ad.appliesTo(p) {
				continue
			}
			out.reason = Announced
			if p.Peer.Carries(family) && !slices.Contains(out.peers, p.Peer.Name) {
				out.peers = append(out.peers, p.Peer.Name)
			}
		}
	}
	switch {
	case !o.sends[i]:
		out.reason = NodeNotLive
	case out.reason == Announced && len(out.peers) == 0:
		out.reason = NotCarried
	}
	return out
}

// LinksText says why no link of a node announces an address of svc, for the first node by name
// whose reason is NoLinkUp; "": it is no node's.
func (o *Forecast) LinksText(svc *Service, a Address) string {
	for _, u := range o.sharing(a.Addr) {
		for i, reason := range o.excluded(u) {
			if n := &o.s.Nodes[i]; u.svc.Key == svc.Key && reason == NoLinkUp {
				return n.Name + ": " + LinksText(results([]holder{u}, n))
			}
		}
	}
	return ""
}

// Layer2 counts the nodes by the reason for which they can't answer for an address of svc on the local
// network; Announced: they may.
func (o *Forecast) Layer2(svc *Service, a Address) map[Reason]int {
	sharing := slices.Clone(o.sharing(a.Addr))
	// First its own reason, then those of others that share the address and take part.
	slices.SortStableFunc(sharing, func(u, v holder) int { return ipam.CompareBool(u.svc.Key != svc.Key, v.svc.Key != svc.Key) })
	out := map[Reason]int{}
	excluded := make([][]Reason, len(sharing))
	for j, u := range sharing {
		if j == 0 || len(u.ads) > 0 {
			excluded[j] = o.excluded(u)
		}
	}
	for i := range o.s.Nodes {
		out[o.s.mayAnswer(i, sharing, excluded)]++
	}
	return out
}

// sharing returns the holders of an address.
func (o *Forecast) sharing(a netip.Addr) []holder {
	if o.holders == nil {
		o.holders = map[netip.Addr][]holder{}
		for all := o.s.holders(); len(all) > 0; {
			of := first(all)
			o.holders[of[0].addr] = of
			all = all[len(of):]
		}
	}
	return o.holders[a]
}

// LocalSharers returns the other Services that share an address of svc, and whose traffic is Local.
func (o *Forecast) LocalSharers(svc *Service, a Address) (out []*Service) {
	for _, u := range o.sharing(a.Addr) {
		if u.svc.Key != svc.Key && u.svc.Local {
			out = append(out, u.svc)
		}
	}
	return out
}

// mayAnswer returns Announced if the i-th node may answer for all of these uses of an
// address, by what excludes it from each whatever its endpoints; else the reason.
func (s Snapshot) mayAnswer(i int, sharing []holder, excluded [][]Reason) Reason {
	for j, u := range sharing {
		switch {
		case excluded[j] == nil:
		case excluded[j][i] != "":
			return excluded[j][i]
		case u.svc.Local && !u.svc.ReadyOn(u.addr)[s.Nodes[i].Name]:
			return NoLocalEndpoints
		}
	}
	return Announced
}

// excluded returns the reason for which each node can't answer for a use of an address,
// whatever its endpoints; "": it may.
func (o *Forecast) excluded(u holder) []Reason {
	alike := fmt.Sprint(u.pool == "", u.node, u.gone)
	for _, ad := range u.ads {
		alike += " " + ad.Name
	}
	for _, p := range u.in {
		alike += " " + p.String()
	}
	all, known := o.layer2[alike]
	if !known {
		u.svc = &Service{}
		all = make([]Reason, len(o.s.Nodes))
		for i := range o.s.Nodes {
			all[i] = u.excludes(&o.s.Nodes[i])
		}
		o.layer2[alike] = all
	}
	return all
}
