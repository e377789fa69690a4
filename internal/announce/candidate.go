package announce

import (
	"net/netip"
	"slices"
)

// Candidate says how one node stands with one address on the local network, in
// more words than Decide needs: for people who ask why.
type Candidate struct {
	Node    string
	Reason  Reason       // Announced: it is the owner; NotOwner: it could be; else why it can't
	Service Key          // whose check gave the reason; the address may be shared
	Weight  int          // what the preferences for the node add up to; more comes first
	Holds   bool         // the L2Claim names it
	Links   []LinkResult // for that Service, if there is such a reason, or else for any that shares it
}

// LinkResult says why an address may be announced on a link or not.
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

// Candidates says how each node stands with addr, sorted by name. It agrees
// with Decide. Without a Service that has the address there are none.
func (s Snapshot) Candidates(addr netip.Addr) []Candidate {
	s = s.sorted()
	holders := slices.DeleteFunc(s.holders(), func(u holder) bool { return u.addr != addr })
	if len(holders) == 0 {
		return nil
	}
	if advertised := slices.DeleteFunc(slices.Clone(holders), func(u holder) bool { return len(u.ads) == 0 }); len(advertised) > 0 {
		holders = advertised // the others take no part
	}
	held, _ := s.held(addr)
	owner := s.owner(addr, holders, held.Node)
	out := make([]Candidate, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		c := Candidate{Node: n.Name, Reason: NotOwner, Holds: n.Name == held.Node, Service: holders[0].svc.Key}
		told := holders // those that the links are looked at for
		for i, u := range holders {
			c.Weight += u.weight(n)
			if why := u.excludes(n); why != "" && c.Reason == NotOwner {
				c.Reason, c.Service, told = why, u.svc.Key, holders[i:i+1]
			}
		}
		if n.Name == owner {
			c.Reason = Announced
		}
		for _, l := range sortedBy(n.Links, byName) {
			c.Links = append(c.Links, LinkResult{l.Name, standing(told, n, l)})
		}
		out[i] = c
	}
	return out
}

// standing says whether a link of n serves any of uses.
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

// About returns the part of s on which depends what is said of addrs: Services
// that have none of them, and no other address of a prefix that they are
// announced in, are left out.
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
