package announce

import (
	"cmp"
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
	svc   *Service
	pool  string
	ads   []*L2Advertisement
	local bool // some node has a link in the address's subnet
	addr  netip.Addr
}

// layer2 decides who owns each address, enters it in the verdicts, and returns
// the claims of s.Self, its own and those in the place of others.
func (s Snapshot) layer2(verdicts map[Key]Verdict) (claims, standIns []Claim) {
	uses, held := s.uses(), s.held()
	self := s.self()
	for _, addr := range slices.SortedFunc(maps.Keys(uses), netip.Addr.Compare) {
		before, ok := held[addr]
		owner := s.owner(addr, uses[addr], before.Node)
		for _, u := range uses[addr] {
			reason := u.silent(self)
			switch {
			case reason != "":
			case owner == s.Self:
				reason = Announced
			case owner == "":
				reason = silenced(uses[addr], self)
			default:
				reason = NotOwner
			}
			v := verdicts[u.svc.Key]
			if n := len(v.Layer2); n == 0 || v.Layer2[n-1].Addr != addr { // else it has the address twice
				v.Layer2 = append(v.Layer2, Ownership{addr, owner, reason})
				verdicts[u.svc.Key] = v
			}
		}
		switch {
		case owner == "":
		case owner == s.Self:
			claims = append(claims, Claim{Addr: addr, Links: linksOf(uses[addr], self), New: !ok || before.Untried})
		default:
			if as := s.disguises(s.node(owner), uses[addr]); len(as) > 0 {
				standIns = append(standIns, Claim{Addr: addr, As: as})
			}
		}
	}
	return claims, standIns
}

// uses returns who uses each address.
func (s Snapshot) uses() map[netip.Addr][]use {
	uses, subnets := map[netip.Addr][]use{}, s.subnets()
	for i := range s.Services {
		svc := &s.Services[i]
		for _, a := range svc.Addrs {
			u := use{svc: svc, pool: a.Pool, addr: a.Addr, local: slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(a.Addr) })}
			for j := range s.L2 {
				if s.L2[j].Covers(a.Pool, svc.Labels) {
					u.ads = append(u.ads, &s.L2[j])
				}
			}
			uses[a.Addr] = append(uses[a.Addr], u)
		}
	}
	return uses
}

// held returns who owns each address until now.
func (s Snapshot) held() map[netip.Addr]HeldClaim {
	held := make(map[netip.Addr]HeldClaim, len(s.Claims))
	for _, c := range slices.Backward(s.Claims) {
		held[c.Addr] = c // of two claims on one address the first counts
	}
	return held
}

// subnets returns the subnets of all nodes' links.
func (s Snapshot) subnets() []netip.Prefix {
	all := map[netip.Prefix]bool{}
	for _, n := range s.Nodes {
		for _, l := range n.Links {
			for _, p := range l.Prefixes {
				all[p] = true
			}
		}
	}
	return slices.Collect(maps.Keys(all))
}

// disguises returns on which links s.Self answers in the place of an owner that
// restarts, and with which MACs: where both have a link in one subnet. It is
// nil if the owner answers itself, or another node can stand in for it before
// this one.
func (s Snapshot) disguises(owner *Node, uses []use) []Disguise {
	links := linksOf(uses, owner)
	theirs := sortedBy(owner.Links, byName)
	for _, name := range owner.StandIns {
		n := s.node(name)
		if !n.Live {
			continue
		}
		var as []Disguise
		for _, l := range sortedBy(n.Links, byName) {
			i := slices.IndexFunc(theirs, func(o Link) bool { return o.Up && links.Match(o.Name) && l.sharesSubnet(o) })
			if l.Up && i >= 0 {
				as = append(as, Disguise{l.Name, theirs[i].MAC})
			}
		}
		if len(as) == 0 {
			continue
		}
		if name == s.Self {
			return as
		}
		return nil
	}
	return nil
}

func byName(a, b Link) int { return cmp.Compare(a.Name, b.Name) }

func (l Link) sharesSubnet(o Link) bool {
	return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return slices.Contains(o.Prefixes, p) })
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
		weight, ok := standingOf(uses, n)
		if !ok || weight < top {
			continue
		}
		h := Rank(n.Name, addr)
		// Names are unique and sorted, so equal hashes go to the first name.
		if weight > top || n.Name == held || best != held && h > score {
			best, top, score = n.Name, weight, h
		}
	}
	return best
}

// standingOf returns what the preferences for n add up to, and whether n may
// answer for the address of uses. A use that nobody advertises takes no part.
func standingOf(uses []use, n *Node) (weight int, ok bool) {
	for _, u := range uses {
		if len(u.ads) == 0 {
			continue
		}
		if u.silent(n) != "" {
			return 0, false
		}
		weight, ok = weight+u.weight(n), true
	}
	return weight, ok
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
		{NoLinkUp, !slices.ContainsFunc(n.Links, func(l Link) bool { return l.Up && u.announcedOn(n, l) })},
		{NoLocalEndpoints, u.svc.Local && !u.svc.ReadyOn[n.Name]},
	}
	for _, c := range checks {
		if c.fails {
			return c.reason
		}
	}
	return ""
}

// silenced says why n does not announce an address for one of its uses that it
// could announce it for: because of another that shares it.
func silenced(uses []use, n *Node) Reason {
	for _, u := range uses {
		if reason := u.silent(n); reason != "" && len(u.ads) > 0 {
			return reason
		}
	}
	return NotOwner // never: n would be a candidate
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

// announcedOn reports whether a link of n is selected, and in the address's
// subnet, if any node has one that is.
func (u use) announcedOn(n *Node, link Link) bool {
	return (!u.local || slices.ContainsFunc(link.Prefixes, func(p netip.Prefix) bool { return p.Contains(u.addr) })) &&
		slices.ContainsFunc(u.selecting(n), func(ad *L2Advertisement) bool { return ad.Links.Match(link.Name) })
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

// linksOf unites the links on which n announces an address for its uses. Unless
// that is all links, whichever come, they are told as the names of n's own.
func linksOf(uses []use, n *Node) Links {
	for _, u := range uses {
		for _, ad := range u.selecting(n) {
			if !u.local && len(ad.Links.Only) == 0 && len(ad.Links.Except) == 0 {
				return Links{}
			}
		}
	}
	var names []string
	for _, link := range n.Links {
		if slices.ContainsFunc(uses, func(u use) bool { return u.announcedOn(n, link) }) {
			names = append(names, link.Name)
		}
	}
	slices.Sort(names)
	return Links{Only: names}
}

// Rank gives each pair of node and address a number of its own
// (highest-random-weight hashing): the highest wins, and a node that leaves
// moves only its own.
func Rank(node string, addr netip.Addr) uint64 {
	b := addr.As16()
	sum := sha256.Sum256(append(b[:], node...))
	return binary.BigEndian.Uint64(sum[:])
}
