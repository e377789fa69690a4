package announce

import (
	"net/netip"
	"slices"
)

// Candidate is one node's result for one address on the local network, in more detail than
// Decide needs: it explains the decision to people.
type Candidate struct {
	Node    string
	Reason  Reason       // Announced: it is the owner; NotOwner: it could be; else why it can't
	Service Key          // the Service whose check gave the reason; the address may be shared
	Weight  int          // the sum of the preferences for the node; the greatest comes first
	Holds   bool         // the L2Claim names it
	Links   []LinkResult // for Service if the reason excludes the node, else for any Service that shares the address
}

// LinkResult is the result for an address on a link.
type LinkResult struct {
	Name   string
	Reason LinkReason
}

// LinkReason is why an address is announced on a link, or is not.
type LinkReason string

// The reasons, in the order of the checks.
const (
	LinkNotSelected LinkReason = "LinkNotSelected" // by no advertisement that selects the node
	LinkNotInSubnet LinkReason = "LinkNotInSubnet" // some node's link is in the address's subnet, and this one is not
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
		c := Candidate{Node: n.Name, Reason: NotOwner, Holds: n.Name == held.Node, Service: holders[0].svc.Key}
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
		for _, l := range sortedBy(n.Links, byName) {
			c.Links = append(c.Links, LinkResult{l.Name, standing(shown, n, l)})
		}
		out[i] = c
	}
	return out
}

// standing returns the result of a link of n for holders.
func standing(holders []holder, n *Node, l Link) LinkReason {
	switch {
	case !slices.ContainsFunc(holders, func(u holder) bool { return u.selected(n, l) }):
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
