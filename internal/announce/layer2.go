package announce

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/netip"
	"path"
	"slices"
)

// Match reports whether the interface is selected.
func (l Links) Match(name string) bool {
	matches := func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return pattern == name || err == nil && ok
	}
	return (len(l.Only) == 0 || slices.ContainsFunc(l.Only, matches)) && !slices.ContainsFunc(l.Except, matches)
}

// use is one Service's use of one address, and the advertisements that cover it.
type use struct {
	svc  *Service
	pool string
	ads  []*L2Advertisement
}

// layer2 decides who owns each address, enters it in the verdicts, and returns
// the claims of s.Self.
func (s Snapshot) layer2(verdicts map[Key]Verdict) []Claim {
	uses := map[netip.Addr][]use{}
	for i := range s.Services {
		svc := &s.Services[i]
		for _, a := range svc.Addrs {
			u := use{svc: svc, pool: a.Pool}
			for j := range s.L2 {
				if s.L2[j].Covers(a.Pool, svc.Labels) {
					u.ads = append(u.ads, &s.L2[j])
				}
			}
			uses[a.Addr] = append(uses[a.Addr], u)
		}
	}
	held := make(map[netip.Addr]HeldClaim, len(s.Claims))
	for _, c := range slices.Backward(s.Claims) {
		held[c.Addr] = c // of two claims on one address the first counts
	}
	self := s.self()
	var claims []Claim
	for _, addr := range slices.SortedFunc(maps.Keys(uses), netip.Addr.Compare) {
		before, ok := held[addr]
		owner := s.owner(addr, uses[addr], before.Node)
		for _, u := range uses[addr] {
			reason := u.silent(self)
			if reason == "" && owner == s.Self {
				reason = Announced
			} else if reason == "" {
				reason = NotOwner
			}
			verdicts[u.svc.Key].Layer2[addr] = Ownership{Owner: owner, Reason: reason}
		}
		if owner == s.Self && owner != "" {
			claims = append(claims, Claim{Addr: addr, Links: linksOf(uses[addr], self), New: !ok || before.Untried})
		}
	}
	return claims
}

// owner returns the node that answers for addr: the one that held it, while it
// is a candidate and none is strictly preferred; else, of the most preferred
// candidates, the winner by rendezvous hash. So an address stays where it is
// when a node comes back, and nodes agree without talking. A shared address
// goes to a node that may announce all of its Services.
func (s Snapshot) owner(addr netip.Addr, uses []use, held string) string {
	best, top := "", -1
	var score uint64
	for i := range s.Nodes {
		n := &s.Nodes[i]
		weight, ok := 0, true
		for _, u := range uses {
			// A use that nobody advertises takes no part: it would silence the others.
			if len(u.ads) > 0 {
				ok = ok && u.silent(n) == ""
				weight += u.weight(n)
			}
		}
		if !ok || !slices.ContainsFunc(uses, func(u use) bool { return len(u.ads) > 0 }) || weight < top {
			continue
		}
		h := rendezvous(n.Name, addr)
		// Names are unique and sorted, so equal hashes go to the first name.
		if weight > top || n.Name == held || best != held && h > score {
			best, top, score = n.Name, weight, h
		}
	}
	return best
}

// silent runs the checks on node n; the first that fails says why n does not
// announce the address. Empty: it may.
func (u use) silent(n *Node) Reason {
	checks := []struct {
		reason Reason
		fails  bool
	}{
		{AddressOutsidePools, u.pool == ""},
		{NotAdvertised, len(u.ads) == 0},
		{NodeNotLive, !n.Live},
		{NodeExcluded, n.Excluded != ""},
		{NodeNotSelected, len(u.selecting(n)) == 0},
		{NoLinkUp, !slices.ContainsFunc(n.Links, func(l Link) bool { return l.Up && u.announcedOn(n, l.Name) })},
		{NoLocalEndpoints, u.svc.Local && !u.svc.ReadyOn[n.Name]},
	}
	for _, c := range checks {
		if c.fails {
			return c.reason
		}
	}
	return ""
}

// selecting returns the advertisements that select n.
func (u use) selecting(n *Node) []*L2Advertisement {
	var out []*L2Advertisement
	for _, ad := range u.ads {
		if ad.Nodes.selects(n.Labels) {
			out = append(out, ad)
		}
	}
	return out
}

func (u use) announcedOn(n *Node, link string) bool {
	return slices.ContainsFunc(u.selecting(n), func(ad *L2Advertisement) bool { return ad.Links.Match(link) })
}

func (u use) weight(n *Node) int {
	sum := 0
	for _, ad := range u.selecting(n) {
		for _, p := range ad.Prefer {
			if p.Nodes.selects(n.Labels) {
				sum += p.Weight
			}
		}
	}
	return sum
}

// linksOf unites the links of all advertisements that select n. When they name
// different ones, the union is told as the names of n's own links.
func linksOf(uses []use, n *Node) Links {
	var all []Links
	for _, u := range uses {
		for _, ad := range u.selecting(n) {
			all = append(all, ad.Links)
		}
	}
	for _, l := range all {
		if len(l.Only) == 0 && len(l.Except) == 0 {
			return Links{}
		}
	}
	var names []string
	for _, link := range n.Links {
		if slices.ContainsFunc(all, func(l Links) bool { return l.Match(link.Name) }) {
			names = append(names, link.Name)
		}
	}
	slices.Sort(names)
	return Links{Only: names}
}

// rendezvous gives each pair of node and address a number of its own
// (highest-random-weight hashing): a node that leaves moves only its own.
func rendezvous(node string, addr netip.Addr) uint64 {
	b := addr.As16()
	sum := sha256.Sum256(append(b[:], node...))
	return binary.BigEndian.Uint64(sum[:])
}
