package announce

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Candidate is one node's result for one address on the local network, in more detail than
// Decide needs: it explains the decision to people.
type Candidate struct {
	Node    string
	Reason  Reason       // Announced: it is the owner; NotOwner: it could be; else why it can't
	Service Key          // the Service whose check gave the reason; the address may be shared
	Weight  int          // the sum of the preferences for the node; the greatest comes first
	Yields  bool         // it is unschedulable: another node comes first, whatever the weights
	Unready bool         // kube-proxy does not forward there: likewise, but for what it holds
	Holds   bool         // the L2Claim names it
	Links   []LinkResult // for Service if the reason excludes the node, else for any Service that shares the address
}

// LinkResult is the result for an address on a link.
type LinkResult struct {
	Name   string
	Reason LinkReason
	// Subnet, if the reason is LinkNotInSubnet, is that of the address, and Inside a link that
	// is in it: of the same node by its name, else with its node.
	Subnet netip.Prefix
	Inside string
}

// LinkReason is why an address is announced on a link, or is not.
type LinkReason string

// The reasons, in the order of the checks.
const (
	LinkUnnumbered  LinkReason = "LinkUnnumbered"  // selected, but not by its exact name, and it has no address
	LinkNotSelected LinkReason = "LinkNotSelected" // by no advertisement that selects the node
	LinkNotInSubnet LinkReason = "LinkNotInSubnet" // some other link that is selected is in the address's subnet
	LinkDown        LinkReason = "LinkDown"
	LinkUsable      LinkReason = "LinkUsable"
)

// Candidates returns the result of each node for addr, sorted by name. It agrees with Decide.
// If no Service has the address it returns none.
func (s Snapshot) Candidates(addr netip.Addr) []Candidate {
	s = s.sorted()
	holders := slices.DeleteFunc(s.holders(), func(u holder) bool { return u.addr != addr })
	if len(holders) == 0 {
		return nil
	}
	if advertised := slices.DeleteFunc(slices.Clone(holders), func(u holder) bool { return len(u.ads) == 0 }); len(advertised) > 0 {
		holders = advertised // the others do not matter
	}
	held, _ := s.held(addr)
	owner := s.owner(addr, holders, held, new(candidates))
	out := make([]Candidate, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		c := Candidate{Node: n.Name, Reason: NotOwner, Yields: n.Yields, Unready: n.Unready, Holds: n.Name == held.Node, Service: holders[0].svc.Key}
		shown := holders // those for which the links are checked
		for i, u := range holders {
			c.Weight += u.weight(n)
			if reason := u.excludes(n); reason != "" && c.Reason == NotOwner {
				c.Reason, c.Service, shown = reason, u.svc.Key, holders[i:i+1]
			}
		}
		if n.Name == owner {
			c.Reason = Announced
		}
		c.Links = results(shown, n)
		out[i] = c
	}
	return out
}

// results returns the results of the links of n for holders, by name.
func results(holders []holder, n *Node) []LinkResult {
	var out []LinkResult
	for _, l := range sortedBy(n.Links, byName) {
		r := LinkResult{Name: l.Name, Reason: standing(holders, n, l)}
		if r.Reason == LinkNotInSubnet {
			i := slices.IndexFunc(holders, func(u holder) bool { return u.selected(n, l) && u.local() })
			r.Subnet, r.Inside = holders[i].inside(n)
		}
		out = append(out, r)
	}
	return out
}

// inside returns a subnet of the address, and a link in it: one of n, or of another node.
func (u holder) inside(n *Node) (netip.Prefix, string) {
	for _, in := range u.in {
		for _, other := range slices.Concat([]*Node{n}, in.nodes) {
			for _, l := range sortedBy(other.Links, byName) {
				switch {
				case !u.selected(other, l) || !slices.Contains(l.Prefixes, in.Prefix):
				case other == n:
					return in.Prefix, l.Name
				default:
					return in.Prefix, l.Name + " of " + other.Name
				}
			}
		}
	}
	return netip.Prefix{}, ""
}

// LinksText says why an address is not announced on links.
func LinksText(links []LinkResult) string {
	if len(links) == 0 {
		return "it has no link that can speak layer 2"
	}
	var parts []string
	for _, l := range links {
		switch l.Reason {
		case LinkDown:
			parts = append(parts, l.Name+" is down")
		case LinkNotInSubnet:
			parts = append(parts, fmt.Sprintf("%s is not in %s, %s is", l.Name, l.Subnet, l.Inside))
		case LinkNotSelected:
			parts = append(parts, l.Name+" is not selected by an advertisement")
		case LinkUnnumbered:
			parts = append(parts, l.Name+" has no address, and interfaces does not have its exact name")
		}
	}
	return strings.Join(parts, ", ")
}

// standing returns the result of a link of n for holders.
func standing(holders []holder, n *Node, l Link) LinkReason {
	numbered := l
	numbered.Unnumbered = false
	selects := func(l Link) bool {
		return slices.ContainsFunc(holders, func(u holder) bool { return u.selected(n, l) })
	}
	switch {
	case !selects(l) && selects(numbered):
		return LinkUnnumbered
	case !selects(l):
		return LinkNotSelected
	case !slices.ContainsFunc(holders, func(u holder) bool { return u.announcedOn(n, l) }):
		return LinkNotInSubnet
	case !l.Up:
		return LinkDown
	}
	return LinkUsable
}

// About returns the part of s on which the results for addrs depend. It omits Services that
// have none of them, and no other address in a prefix that they are announced in.
func (s Snapshot) About(addrs []netip.Addr) Snapshot {
	var near []netip.Prefix
	for _, a := range addrs {
		near = append(near, netip.PrefixFrom(a, a.BitLen()))
		for i := range s.BGP {
			near = append(near, s.BGP[i].prefix(Address{Addr: a}, false))
		}
	}
	s.Services = slices.DeleteFunc(slices.Clone(s.Services), func(svc Service) bool {
		return !slices.ContainsFunc(svc.Addrs, func(a Address) bool {
			return slices.ContainsFunc(near, func(p netip.Prefix) bool { return p.Contains(a.Addr) })
		})
	})
	return s
}
