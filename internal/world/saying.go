package world

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Saying is what all nodes together say of one Service.
type Saying struct {
	Owner map[netip.Addr]string // who answers on the local network; "": nobody
	// How many nodes have which reason: of layer 2 for the address of the
	// Service that is worst off, and of BGP.
	Layer2 map[announce.Reason]int
	BGP    map[announce.Reason]int
	Offers []string // the nodes that offer a route to at least one peer, sorted
}

// Announced reports whether somebody announces a.
func (s *Saying) Announced(a netip.Addr) bool { return s.Owner[a] != "" || len(s.Offers) > 0 }

// Sayings are what all nodes say.
type Sayings struct {
	Of     map[ipam.Key]*Saying
	Claims map[string]int     // how many addresses each node answers for
	Routes map[PeerOnNode]int // how many routes each node offers to each of its peers
}

// PeerOnNode is one node's session to one peer.
type PeerOnNode struct{ Node, Peer string }

// Say decides as every node of s in turn. Of the plans, which can be large, it
// keeps what Sayings hold.
func Say(s announce.Snapshot) Sayings {
	out := Sayings{Of: make(map[ipam.Key]*Saying, len(s.Services)), Claims: map[string]int{}, Routes: map[PeerOnNode]int{}}
	for _, svc := range s.Services {
		out.Of[svc.Key] = &Saying{Owner: map[netip.Addr]string{}, Layer2: map[announce.Reason]int{}, BGP: map[announce.Reason]int{}}
	}
	for _, n := range s.Nodes {
		s.Self = n.Name
		plan := announce.Decide(s)
		out.Claims[n.Name] = len(plan.Claims)
		for _, p := range plan.Peerings {
			out.Routes[PeerOnNode{n.Name, p.Peer.Name}] = len(p.Routes)
		}
		for key, v := range plan.Verdicts {
			of := out.Of[key]
			of.enter(v)
			byBGP := v.BGP
			if !n.Live && byBGP != announce.NotAdvertised && byBGP != announce.AddressOutsidePools {
				byBGP = announce.NodeNotLive // which Decide does not ask, for who decides is there
			}
			of.BGP[byBGP]++
			if byBGP == announce.Announced {
				of.Offers = append(of.Offers, n.Name)
			}
		}
	}
	for _, of := range out.Of {
		slices.Sort(of.Offers)
	}
	return out
}

// enter takes in what one node says on the local network.
func (s *Saying) enter(v announce.Verdict) {
	worst := announce.Reason("")
	for _, a := range slices.SortedFunc(maps.Keys(v.Layer2), netip.Addr.Compare) {
		o := v.Layer2[a]
		s.Owner[a] = o.Owner
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
