package announce

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

func (l Links) equal(m Links) bool {
	return slices.Equal(l.Only, m.Only) && slices.Equal(l.Except, m.Except)
}

// holder is a Service that has an address, and the advertisements that cover it.
type holder struct {
	addr  netip.Addr
	svc   *Service
	pool  string
	node  string             // whose own address it is; "": none's
	ads   []*L2Advertisement // that cover the address, and do not withdraw it
	gone  Reason             // why ads is empty though some cover the address; "": they don't
	in    []*subnet          // those of the links that ads select, of any node, that the address is in
	place int                // its index among all holders, in the order of the Services
}

// local reports whether ads select a link in the address's subnet, on any node.
func (u holder) local() bool { return len(u.in) > 0 }

// unowned returns the ownership of each address, Service by Service, where no advertisement
// covers it.
func (s Snapshot) unowned() []Ownership {
	out := make([]Ownership, 0, len(s.Services))
	for i := range s.Services {
		for _, a := range s.Services[i].Addrs {
			o := Ownership{Addr: a.Addr, Pool: a.Pool, Reason: NotAdvertised}
			if a.Pool == "" {
				o.Reason = AddressOutsidePools
			}
			out = append(out, o)
		}
	}
	return out
}

// layer2 decides the owner of each address, and enters it in owned at the places of its
// holders. It returns the claims of s.Self: its own, and those as a backup for others.
func (s Snapshot) layer2(holders []holder, owned []Ownership) (claims, backups []Claim) {
	self := s.self()
	var last candidates
	for len(holders) > 0 {
		sharing := first(holders)
		holders = holders[len(sharing):]
		addr := sharing[0].addr
		before, ok := s.held(addr)
		owner := s.owner(addr, sharing, before, &last)
		for _, u := range sharing {
			reason := u.excludes(self)
			switch {
			case reason != "":
			case owner == s.Self:
				reason = Announced
			case owner == "":
				reason = exclusion(sharing, self)
			default:
				reason = NotOwner
			}
			owned[u.place] = Ownership{Addr: addr, Pool: u.pool, Owner: owner, Reason: reason}
		}
		switch {
		case owner == "":
		case owner == s.Self:
			claims = append(claims, Claim{Addr: addr, Links: linksOf(sharing, self), NeedsDAD: !ok || before.NeedsDAD, Ignore: ignoring(sharing, self)})
		default:
			if as := s.proxyReplies(s.node(owner), sharing); len(as) > 0 {
				backups = append(backups, Claim{Addr: addr, ProxyReplies: as})
			}
		}
	}
	return claims, backups
}

// holders returns the holders of all addresses, sorted by address.
func (s Snapshot) holders() []holder {
	out := make([]holder, 0, len(s.Services))
	var ads, before []*L2Advertisement
	var in []*subnet
	subnets := map[string][]*subnet{} // by the advertisements that cover the address
	covering := s.covering(len(s.L2), func(i int) map[string]bool { return s.L2[i].Pools })
	for i := range s.Services {
		svc := &s.Services[i]
		for _, a := range svc.Addrs {
			ads = ads[:0]
			var gone Reason
			for _, j := range covering[a.Pool] {
				switch ad := &s.L2[j]; {
				case !ad.Covers(a.Pool, svc.Labels):
				case ad.Withdraws && svc.withdrawn(a.Addr) != "":
					gone = svc.withdrawn(a.Addr)
				default:
					ads = append(ads, ad)
				}
			}
			if !slices.Equal(ads, before) { // most have the same as the one before
				before = slices.Clone(ads)
				in = s.subnets(before, subnets)
			}
			out = append(out, holder{addr: a.Addr, svc: svc, pool: a.Pool, node: a.Node, ads: before, gone: gone, in: containing(in, a.Addr), place: len(out)})
		}
	}
	slices.SortStableFunc(out, func(a, b holder) int { return a.addr.Compare(b.addr) })
	return out
}

// covering returns, for each pool from which Services have addresses, which of n advertisements
// cover it, in order. It is fast because most advertisements select few pools, or most
// addresses are from few pools.
func (s Snapshot) covering(n int, poolsOf func(i int) map[string]bool) map[string][]int {
	out := map[string][]int{}
	for i := range s.Services {
		for _, a := range s.Services[i].Addrs {
			if a.Pool != "" {
				out[a.Pool] = nil
			}
		}
	}
	for i := range n {
		pools := poolsOf(i)
		if pools != nil && len(pools) < len(out) {
			for pool, is := range pools {
				if ads, used := out[pool]; used && is {
					out[pool] = append(ads, i)
				}
			}
			continue
		}
		for pool, ads := range out {
			if pools == nil || pools[pool] {
				out[pool] = append(ads, i)
			}
		}
	}
	return out
}

// first returns the holders at the start of the list that have the same address.
func first(holders []holder) []holder {
	n := slices.IndexFunc(holders, func(u holder) bool { return u.addr != holders[0].addr })
	if n < 0 {
		n = len(holders)
	}
	return holders[:n:n]
}

// held returns the claim on an address, if there is one; of two the first counts.
func (s Snapshot) held(a netip.Addr) (HeldClaim, bool) {
	i, ok := slices.BinarySearchFunc(s.Claims, a, func(c HeldClaim, a netip.Addr) int { return c.Addr.Compare(a) })
	if !ok {
		return HeldClaim{}, false
	}
	return s.Claims[i], true
}

// proxyReplies returns the links on which s.Self answers for an owner that restarts, and the
// owner's MACs there: the links on which both are in one subnet. It returns nil if the owner
// answers itself, or another backup comes before this node.
func (s Snapshot) proxyReplies(owner *Node, holders []holder) []ProxyReply {
	if len(owner.Backups) == 0 { // the usual case
		return nil
	}
	links := linksOf(holders, owner)
	theirs := sortedBy(owner.Links, byName)
	for _, name := range owner.Backups {
		n := s.node(name)
		if !n.Live {
			continue
		}
		var as []ProxyReply
		for _, l := range sortedBy(n.Links, byName) {
			i := slices.IndexFunc(theirs, func(o Link) bool { return o.Up && links.Selects(o) && l.sharesSubnet(o) })
			if l.Up && i >= 0 {
				as = append(as, ProxyReply{l.Name, theirs[i].MAC})
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

// owner returns the node that answers for addr. The present owner keeps it while it is a
// candidate and none is strictly preferred. Otherwise, of the most preferred candidates, the
// winner by rendezvous hash gets it. So an address stays where it is when a node returns, and
// nodes agree without communication. A shared address goes to a node that may announce all of
// its Services. The zero candidates are right for last; it saves time.
func (s Snapshot) owner(addr netip.Addr, holders []holder, held HeldClaim, last *candidates) string {
	if held.Unwritten || !slices.ContainsFunc(holders, holder.prefers) { // the usual case: the other nodes do not matter
		if n := s.node(held.Node); held.Unwritten || !n.Yields {
			if _, ok := weightOf(holders, n); ok {
				return held.Node
			}
		}
	}
	all := last.of(s, holders)
	if s.keepsUnready(holders, held, all) {
		return held.Node
	}
	if len(all) == 1 { // its rank does not matter
		return all[0].Name
	}
	best, restarts := "", false
	var score uint64
	for _, n := range all {
		if n.Name == held.Node {
			return held.Node
		}
		// A node that restarts keeps its addresses, but cannot announce new ones.
		h, does := Rank(n.Name, addr), len(n.Backups) > 0
		// Names are unique and sorted, so equal hashes go to the first name.
		if best == "" || restarts && !does || restarts == does && h > score {
			best, score, restarts = n.Name, h, does
		}
	}
	return best
}

// candidates are those for an address: the next one has mostly the same.
type candidates struct {
	alike holder // its address: of one Service, which any node may serve, and no node's own
	nodes []*Node
}

// of returns what preferred does.
func (c *candidates) of(s Snapshot, holders []holder) []*Node {
	u := holders[0]
	if len(holders) > 1 || u.svc.Local || u.node != "" {
		return s.preferred(holders)
	}
	if c.alike.svc == nil || (u.pool == "") != (c.alike.pool == "") || !slices.Equal(u.ads, c.alike.ads) || u.gone != c.alike.gone || !slices.Equal(u.in, c.alike.in) {
		*c = candidates{u, s.preferred(holders)}
	}
	return c.nodes
}

// preferred returns the candidates to which no other is strictly preferred, by name.
func (s Snapshot) preferred(holders []holder) []*Node {
	var out []*Node
	top := 0
	for n := range s.near(holders[0]) {
		weight, ok := weightOf(holders, n)
		switch {
		case !ok || len(out) > 0 && weight < top:
			continue
		case weight > top:
			out = out[:0]
		}
		out, top = append(out, n), weight
	}
	return out
}

// excludes returns the reason of the first check that node n fails; "": n may announce the
// address.
func (u holder) excludes(n *Node) Reason {
	switch {
	case u.pool == "":
		return AddressOutsidePools
	case len(u.ads) == 0:
		return cmp.Or(u.gone, NotAdvertised)
	case !n.Live:
		return NodeNotLive
	case n.Excluded != "":
		return NodeExcluded
	case othersOwn(u.node, n):
		return AddressOfNode
	case !slices.ContainsFunc(u.ads, func(ad *L2Advertisement) bool { return ad.Nodes.Selects(n.Labels) }):
		return NodeNotSelected
	case !slices.ContainsFunc(n.Links, func(l Link) bool { return l.Up && u.announcedOn(n, l) }):
		return NoLinkUp
	case u.svc.Local && !u.svc.ReadyOn(u.addr)[n.Name]:
		return NoLocalEndpoints
	}
	return ""
}

// exclusion returns why n does not announce an address for a holder for which it could:
// because of another holder that shares the address.
func exclusion(holders []holder, n *Node) Reason {
	for _, u := range holders {
		if reason := u.excludes(n); reason != "" && len(u.ads) > 0 {
			return reason
		}
	}
	return NotOwner // never: n would be a candidate
}

// selecting yields the advertisements that select n.
func (u holder) selecting(n *Node) iter.Seq[*L2Advertisement] {
	return func(yield func(*L2Advertisement) bool) {
		for _, ad := range u.ads {
			if ad.Nodes.Selects(n.Labels) && !yield(ad) {
				return
			}
		}
	}
}

// announcedOn reports whether a link of n is selected, and in the address's subnet, if any
// link that is selected is.
func (u holder) announcedOn(n *Node, link Link) bool {
	return (!u.local() || slices.ContainsFunc(link.Prefixes, func(p netip.Prefix) bool { return p.Contains(u.addr) })) && u.selected(n, link)
}

// selected reports whether an advertisement selects a link of n.
func (u holder) selected(n *Node, link Link) bool {
	for ad := range u.selecting(n) {
		if ad.Links.Selects(link) {
			return true
		}
	}
	return false
}

// prefers reports whether any advertisement has preferences.
func (u holder) prefers() bool {
	return slices.ContainsFunc(u.ads, func(ad *L2Advertisement) bool { return len(ad.Prefer) > 0 })
}

func (u holder) weight(n *Node) int {
	sum := 0
	for ad := range u.selecting(n) {
		for _, p := range ad.Prefer {
			if p.Nodes.Selects(n.Labels) {
				sum += p.Weight
			}
		}
	}
	return sum
}

// linksOf returns the union of the links on which n announces an address for its holders:
// all links, also future ones, or the names of n's links.
func linksOf(holders []holder, n *Node) Links {
	for _, u := range holders {
		for ad := range u.selecting(n) {
			if !u.local() && len(ad.Links.Only) == 0 && len(ad.Links.Except) == 0 {
				return Links{}
			}
		}
	}
	var names []string
	for _, link := range n.Links {
		if slices.ContainsFunc(holders, func(u holder) bool { return u.announcedOn(n, link) }) {
			names = append(names, link.Name)
		}
	}
	slices.Sort(names)
	return Links{Only: names}
}

// ignoring returns the links of n on which foreign hosts are ignored that answer for an address.
func ignoring(holders []holder, n *Node) (out []Links) {
	for _, u := range holders {
		for ad := range u.selecting(n) {
			if ad.IgnoresConflicts && !slices.ContainsFunc(out, ad.Links.equal) {
				out = append(out, ad.Links)
			}
		}
	}
	slices.SortFunc(out, func(l, m Links) int {
		return cmp.Or(slices.Compare(l.Only, m.Only), slices.Compare(l.Except, m.Except))
	})
	return out
}

// Rank returns the weight of a node for an address (rendezvous, or highest-random-weight,
// hashing). The highest wins. When a node leaves, only its own addresses move.
func Rank(node string, addr netip.Addr) uint64 {
	b := addr.As16()
	sum := sha256.Sum256(append(b[:], node...))
	return binary.BigEndian.Uint64(sum[:])
}
