package world

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Announcement is who announces one Service, and why other nodes do not.
type Announcement struct {
	Owner map[netip.Addr]string // the node that answers on the local network; "": none
	// How many nodes have which reason: for layer 2 that of the Service's worst
	// address, and for BGP.
	Layer2 map[announce.Reason]int
	BGP    map[announce.Reason]int
	Offers map[netip.Addr][]string // the nodes that advertise it to a peer whose session carries its family, sorted
}

// Announced reports whether any node announces a.
func (s *Announcement) Announced(a netip.Addr) bool { return s.Owner[a] != "" || len(s.Offers[a]) > 0 }

// Offering returns the nodes that advertise any of the addresses by BGP, sorted.
func (s *Announcement) Offering() []string {
	var out []string
	for _, nodes := range s.Offers {
		out = append(out, nodes...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Announcements is what all nodes announce.
type Announcements struct {
	Of     map[ipam.Key]*Announcement
	Claims map[string]int     // how many addresses each node answers for
	Routes map[PeerOnNode]int // how many routes each node advertises to each peer, of the families that the session carries
}

// PeerOnNode names the session of a node to a peer.
type PeerOnNode struct{ Node, Peer string }

// Announcements runs the speakers' decision for every node of s in turn. The plans
// can be large, so it keeps only what Announcements holds.
func (t *Evaluation) Announcements(s announce.Snapshot) Announcements {
	out := Announcements{Of: make(map[ipam.Key]*Announcement, len(s.Services)), Claims: map[string]int{}, Routes: map[PeerOnNode]int{}}
	for _, svc := range s.Services {
		out.Of[svc.Key] = &Announcement{
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
			of, v := out.Of[key], plan.Of(key)
			of.enter(v)
			byBGP := v.BGP
			if !t.SendsRoutes(n) && byBGP != announce.NotAdvertised && byBGP != announce.AddressOutsidePools {
				byBGP = announce.NodeNotLive // Decide takes Self to be alive
			}
			if byBGP == announce.Announced && of.offer(n.Name, s.Services[i], carried, s.BGP) == 0 {
				byBGP = announce.NotCarried
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

// SendsRoutes reports whether the speaker of n advertises routes to its BGP peers, as
// far as is known. An isolated speaker does: it stops answering on the local network
// only.
func (w *Snapshot) SendsRoutes(n announce.Node) bool {
	return n.Live || w.Presence(n.Name).State == health.Isolated
}

// Carried returns the routes of p that its session carries.
func Carried(p announce.Peering) []announce.Route {
	return slices.DeleteFunc(slices.Clone(p.Routes), func(r announce.Route) bool { return !p.Peer.Carries(ipam.FamilyOf(r.Prefix.Addr())) })
}

// offer records that node advertises the addresses of svc that lie in a prefix which
// one of its sessions carries. It returns how many these are.
func (s *Announcement) offer(node string, svc announce.Service, carried map[netip.Prefix]bool, ads []announce.BGPAdvertisement) (n int) {
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

// enter records what one node decides about layer 2.
func (s *Announcement) enter(v announce.Result) {
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

// WhyNotAnnounced explains why no node announces an address of the Service: the
// reasons of the nodes, the most frequent first.
func (s *Announcement) WhyNotAnnounced() string { return announced.Counts(s.Layer2, s.BGP) }
