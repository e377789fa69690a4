package world

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Saying is what all nodes together say of one Service.
type Saying struct {
	Owner map[netip.Addr]string // who answers on the local network; "": nobody
	// How many nodes have which reason: of layer 2 for the address of the
	// Service that is worst off, and of BGP.
	Layer2 map[announce.Reason]int
	BGP    map[announce.Reason]int
	Offers map[netip.Addr][]string // the nodes that offer it to a peer whose session carries its family, sorted
}

// NotCarried is the reason of a node that holds sessions to peers which an address
// is advertised to, none of which carries routes of its family.
const NotCarried announce.Reason = "NotCarried"

// Announced reports whether somebody announces a.
func (s *Saying) Announced(a netip.Addr) bool { return s.Owner[a] != "" || len(s.Offers[a]) > 0 }

// Offering returns the nodes that offer any address, sorted.
func (s *Saying) Offering() []string {
	var out []string
	for _, nodes := range s.Offers {
		out = append(out, nodes...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Sayings are what all nodes say.
type Sayings struct {
	Of     map[ipam.Key]*Saying
	Claims map[string]int     // how many addresses each node answers for
	Routes map[PeerOnNode]int // how many routes each node offers to each of its peers, of families that the session carries
}

// PeerOnNode is one node's session to one peer.
type PeerOnNode struct{ Node, Peer string }

// Say decides as every node of s in turn. Of the plans, which can be large, it
// keeps what Sayings hold.
func (t *Thought) Say(s announce.Snapshot) Sayings {
	out := Sayings{Of: make(map[ipam.Key]*Saying, len(s.Services)), Claims: map[string]int{}, Routes: map[PeerOnNode]int{}}
	for _, svc := range s.Services {
		out.Of[svc.Key] = &Saying{
			Owner: map[netip.Addr]string{}, Layer2: map[announce.Reason]int{}, BGP: map[announce.Reason]int{}, Offers: map[netip.Addr][]string{},
		}
	}
	for _, n := range s.Nodes {
		s.Self = n.Name
		plan := announce.Decide(s)
		out.Claims[n.Name] = len(plan.Claims)
		carried := map[netip.Prefix]bool{}
		for _, p := range plan.Peerings {
			routes := Carried(p)
			out.Routes[PeerOnNode{n.Name, p.Peer.Name}] = len(routes)
			for _, r := range routes {
				carried[r.Prefix] = true
			}
		}
		for i := range s.Services {
			key := s.Services[i].Key
			of, v := out.Of[key], plan.Verdicts[key]
			of.enter(v)
			byBGP := v.BGP
			if !t.SendsRoutes(n) && byBGP != announce.NotAdvertised && byBGP != announce.AddressOutsidePools {
				byBGP = announce.NodeNotLive // which Decide does not ask, for who decides is there
			}
			if byBGP == announce.Announced && of.offer(n.Name, s.Services[i], carried, s.BGP) == 0 {
				byBGP = NotCarried
			}
			of.BGP[byBGP]++
		}
	}
	for _, of := range out.Of {
		for _, nodes := range of.Offers {
			slices.Sort(nodes)
		}
	}
	return out
}

// SendsRoutes reports whether the speaker of n sends routes to its BGP peers, as far
// as is known. A speaker that is isolated sends them still: it has given up its
// addresses on the local network alone.
func (w *World) SendsRoutes(n announce.Node) bool {
	return n.Live || w.Presence(n.Name).State == health.Isolated
}

// Carried returns the routes of p that its session carries.
func Carried(p announce.Peering) []announce.Route {
	return slices.DeleteFunc(slices.Clone(p.Routes), func(r announce.Route) bool { return !p.Peer.Carries(ipam.FamilyOf(r.Prefix.Addr())) })
}

// offer enters a node for the addresses of svc which lie in a prefix that some
// session of the node carries, and counts them.
func (s *Saying) offer(node string, svc announce.Service, carried map[netip.Prefix]bool, ads []announce.BGPAdvertisement) (n int) {
	for _, a := range svc.Addrs {
		if slices.ContainsFunc(ads, func(ad announce.BGPAdvertisement) bool {
			length := ad.Length4
			if a.Addr.Is6() {
				length = ad.Length6
			}
			return ad.Covers(a.Pool, svc.Labels) && carried[netip.PrefixFrom(a.Addr, length).Masked()]
		}) {
			s.Offers[a.Addr] = append(s.Offers[a.Addr], node)
			n++
		}
	}
	return n
}

// enter takes in what one node says on the local network.
func (s *Saying) enter(v announce.Verdict) {
	worst := announce.Reason("")
	for _, o := range v.Layer2 {
		s.Owner[o.Addr] = o.Owner
		if worst == "" || o.Owner == "" {
			worst = o.Reason
		}
	}
	if worst != "" {
		s.Layer2[worst]++
	}
}

// Silence says in words why nobody announces an address of a Service, from what
// its nodes say; the most frequent reason first.
func (s *Saying) Silence() string {
	var parts []string
	if !only(s.Layer2, announce.NotAdvertised) {
		parts = append(parts, "layer 2: "+counted(s.Layer2))
	}
	if !only(s.BGP, announce.NotAdvertised) {
		parts = append(parts, "BGP: "+counted(s.BGP))
	}
	if len(parts) == 0 {
		return "no L2Advertisement or BGPAdvertisement covers it"
	}
	return strings.Join(parts, "; ")
}

// only reports whether all nodes have one of these reasons.
func only(of map[announce.Reason]int, reasons ...announce.Reason) bool {
	for r := range of {
		if !slices.Contains(reasons, r) {
			return false
		}
	}
	return true
}

// counted tells how many nodes have which reason.
func counted(of map[announce.Reason]int) string {
	reasons := slices.Sorted(maps.Keys(of))
	slices.SortStableFunc(reasons, func(a, b announce.Reason) int { return of[b] - of[a] })
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		parts[i] = string(r)
		if len(reasons) > 1 || of[r] > 1 {
			parts[i] += " on " + nodeCount(of[r])
		}
	}
	return strings.Join(parts, ", ")
}

// nodeCount counts nodes in words.
func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return strconv.Itoa(n) + " nodes"
}
