package failover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// renewals are those of a Lease that were seen, without an outage of the API server,
// since its node, or a link of it, was lost.
type renewals struct {
	since time.Time // when this node last heard it; zero: it does not know
	last  time.Time
	n     int
	// provedAlive: there were enough of them once, and the Lease has not expired since.
	// So the node is alive by its Lease, or was before the API server went away.
	provedAlive bool
	denied      bool // the Lease has expired, or its node reports that it is isolated
}

// recordPresence records which nodes are alive, which links work, and which speakers to watch.
func (p *pass) recordPresence() {
	p.countRenewals()
	nodes := slices.Clone(p.Cluster.Nodes)
	for i := range nodes {
		n := &nodes[i]
		n.Live = n.Name == p.Node || p.isAlive(n.Name)
		n.Links = p.observedLinks(n)
		n.Backups = p.backups(n)
	}
	p.Cluster.Nodes = nodes
	if p.API.Reachable {
		p.reachableAt = p.Now
	}
	p.recordWatched()
}

// join sets whether others may count on this node, as they do when they hear it: not before
// it may claim something, and has asked once who has the addresses that it had before it
// started. Until then its backups answer for it.
func (p *pass) join() {
	p.joined = p.joined || p.API.Reachable && !p.asksForFormer()
	p.Join = p.joined
}

// backups is how many backups may answer for a node that restarts.
const backups = 6

// backups returns the backups of a node, in order: nodes with a link in one of its subnets.
func (p *pass) backups(of *announce.Node) []string {
	var out []string
	for _, name := range p.Members.Backups[of.Name] {
		i := slices.IndexFunc(p.Cluster.Nodes, func(n announce.Node) bool { return n.Name == name })
		if i >= 0 && sharesSubnet(of, &p.Cluster.Nodes[i]) {
			out = append(out, name)
		}
		if len(out) == backups {
			break
		}
	}
	return out
}

func sharesSubnet(a, b *announce.Node) bool {
	return slices.ContainsFunc(a.Links, func(l announce.Link) bool {
		return slices.ContainsFunc(b.Links, func(m announce.Link) bool {
			return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return slices.Contains(m.Prefixes, p) })
		})
	})
}

// isAlive reports whether a node is alive, before what was heard of it in conflicts.
//
//   - What the members found on the wire takes precedence over the Lease, which may arrive late.
//   - The Lease decides for a speaker that no member has reached yet.
//   - The Lease also decides for a speaker that was lost and still renews it. Otherwise
//     speakers that reach the API server, but not each other, would take addresses from each
//     other for ever.
//   - The Lease does not decide for a speaker that reports that it is isolated: that speaker
//     answers for nothing. Nor does what it told the members before, if this node has no session
//     with it that is Up: a session that never came Up can't show that it is lost.
//   - While the API server is unreachable, no Lease counts for a speaker that was lost: each
//     half of a network then continues alone. Nor does one count for a speaker that no member
//     has reached: it may not have come so far that it can take anything.
func (p *pass) isAlive(node string) bool {
	standing, known := p.Members.Standing[node]
	lease, leased := p.Leases[node]
	switch {
	case !leased:
		return false
	case standing == membership.Dead:
		return p.aliveByLease(nodeOrLink{node: node})
	case known && standing != membership.Unknown:
		_, down := p.Members.Down[node]
		return standing != membership.Alive || !p.API.Reachable || !p.Isolated[node] || !down
	case known && !p.API.Reachable:
		return false
	default:
		return !lease.Expired && !p.Isolated[node]
	}
}

// countRenewals counts the renewals of the Leases of nodes that are lost, or whose link in a
// segment is.
func (p *pass) countRenewals() {
	lost := p.lost()
	maps.DeleteFunc(p.renewals, func(nl nodeOrLink, _ renewals) bool {
		p.heardAgain = p.heardAgain || !lost[nl] && found(p.Members, nl)
		return !lost[nl]
	})
	for nl := range lost {
		lease := p.Leases[nl.node]
		seen, known := p.renewals[nl]
		switch {
		case !known:
			if seen.last = lease.Renewed; p.before == nil || p.wasAlive(nl) {
				seen.since = p.heardUntil(nl) // else it was not alive before: others may have known
			}
		case seen.last.IsZero():
			seen.last = lease.Renewed
		case !seen.last.Equal(lease.Renewed):
			seen.last, seen.n = lease.Renewed, seen.n+1
		}
		if !p.API.Reachable {
			seen.n = 0
		}
		seen.denied = lease.Expired || p.denies(nl)
		seen.provedAlive = (seen.provedAlive || seen.n >= p.Misses) && !seen.denied
		p.renewals[nl] = seen
	}
}

// heardUntil returns until when this node has heard a node that is lost, or its link: while
// the session with it was Up, or until now, if others heard it in place of this node.
func (p *pass) heardUntil(nl nodeOrLink) time.Time {
	if down, neighbor := viewOf(p.Members, nl).Down[nl.node]; neighbor && down.Before(p.Now) {
		return down
	}
	return p.Now
}

// found reports whether a node, or its link in a segment, is alive on the wire. A node that is alive
// by its Lease is in another half of the network, whose hosts do not hear this node either.
func found(v membership.View, nl nodeOrLink) bool {
	standing, known := viewOf(v, nl).Standing[nl.node]
	return known && standing != membership.Dead && standing != membership.Unknown
}

// undecided reports whether a node, or a link, that is dead may be alive by its Lease: it was lost
// before this node had found it, so that this node has yet to see whether the Lease is renewed.
func (p *pass) undecided(nl nodeOrLink) bool {
	seen, leased := p.renewals[nl]
	return leased && p.API.Reachable && viewOf(p.Members, nl).NeverMet[nl.node] && !seen.denied
}

// wasAlive reports whether a node was alive at the end of the last Step, or its link worked.
func (p *pass) wasAlive(nl nodeOrLink) bool {
	if nl.segment.IsValid() {
		return p.worked[nl]
	}
	return p.last.Alive[nl.node]
}

// lastHeardBefore reports whether a node, or a link, that is lost was last heard by then.
func (p *pass) lastHeardBefore(nl nodeOrLink, then time.Time) bool {
	seen, lost := p.renewals[nl]
	return lost && !seen.since.After(then)
}

// mayBeAcrossPartition reports whether a node, or a link, that was lost was alive by its Lease when
// the API server was last heard: it may be in another half of the network.
func (p *pass) mayBeAcrossPartition(nl nodeOrLink) bool {
	return p.renewals[nl].provedAlive && !p.aliveByLease(nl)
}

// aliveByLease reports whether a node, or a link, that was lost is alive by the node's Lease.
func (p *pass) aliveByLease(nl nodeOrLink) bool {
	seen := p.renewals[nl]
	return p.API.Reachable && seen.n >= p.Misses && !seen.denied
}

// nodeOrLink is a node, or with a segment its link there.
type nodeOrLink struct {
	node    string
	segment netip.Prefix
}

// lost returns which nodes that hold a Lease are lost, and which of their links.
func (p *pass) lost() map[nodeOrLink]bool {
	out := map[nodeOrLink]bool{}
	enter := func(segment netip.Prefix, v membership.View) {
		for node, standing := range v.Standing {
			if standing != membership.Dead {
				continue
			}
			if _, leased := p.Leases[node]; leased {
				out[nodeOrLink{node, segment}] = true
			}
		}
	}
	enter(netip.Prefix{}, p.Members)
	for segment, v := range p.Members.Segments {
		enter(segment, v)
	}
	return out
}

// hearsLost reports whether this node itself hears a node, or its link in a segment, that is lost
// by what most of its watchers say.
func (p *pass) hearsLost(nl nodeOrLink) bool {
	return slices.Contains(viewOf(p.Members, nl).StillUp, nl.node)
}

// viewOf returns the View that a nodeOrLink is in: of the nodes, or of a segment.
func viewOf(v membership.View, nl nodeOrLink) membership.View {
	if nl.segment.IsValid() {
		return v.Segments[nl.segment]
	}
	return v
}

// denies reports whether a node itself reports that it reaches no member: at all, or on its link
// in a segment, which it then reports as down.
func (p *pass) denies(nl nodeOrLink) bool {
	if !nl.segment.IsValid() {
		return p.Isolated[nl.node]
	}
	return !linkUp(p.Cluster.Nodes, nl)
}

// linkUp reports whether a link of a node in a segment is up.
func linkUp(nodes []announce.Node, nl nodeOrLink) bool {
	i := slices.IndexFunc(nodes, func(n announce.Node) bool { return n.Name == nl.node })
	return i >= 0 && slices.ContainsFunc(nodes[i].Links, func(l announce.Link) bool {
		return l.Up && slices.Contains(l.Prefixes, nl.segment)
	})
}

// observedLinks returns a node's links, each up if it works. What was found on the wire counts
// for more than what the node's Speaker object says, which may be late. Of this node's
// own links both the wire and the kernel must say that it works.
func (p *pass) observedLinks(n *announce.Node) []announce.Link {
	if len(p.Members.Segments) == 0 {
		return n.Links
	}
	out := slices.Clone(n.Links)
	for i := range out {
		out[i].Up = p.works(n.Name, out[i])
	}
	return out
}

// works reports whether a link works. A link that was lost works if it is up and the node is alive
// by its Lease: else speakers that do not hear each other on it would take addresses from
// each other for ever (see isAlive).
func (p *pass) works(node string, l announce.Link) bool {
	heard := false
	for _, segment := range l.Prefixes {
		v, watched := p.Members.Segments[segment]
		standing, known := v.Standing[node]
		switch {
		case !watched || !known && node != p.Node:
		case node == p.Node:
			if v.Isolated {
				return false
			}
		case standing == membership.Dead:
			return l.Up && p.aliveByLease(nodeOrLink{node, segment})
		case standing != membership.Unknown:
			heard = true
		}
	}
	return l.Up || heard
}

// deadFor returns what of a node is dead, so that it can't answer for an address: the node, or
// its link in the address's segment.
func (p *pass) deadFor(a netip.Addr, node string) (nodeOrLink, bool) {
	for _, nl := range p.nodeAndLinks(a, node) {
		if p.dead[nl] {
			return nl, true
		}
	}
	return nodeOrLink{node: node}, false
}

// nodeAndLinks returns a node, and its links in the segments of an address.
func (p *pass) nodeAndLinks(a netip.Addr, node string) []nodeOrLink {
	out := []nodeOrLink{{node: node}}
	for segment := range p.Members.Segments {
		if segment.Contains(a) {
			out = append(out, nodeOrLink{node, segment})
		}
	}
	return out
}

// findDead returns which nodes are dead, and which of their links.
func (p *pass) findDead() map[nodeOrLink]bool {
	out := map[nodeOrLink]bool{}
	for node, standing := range p.Members.Standing {
		if standing == membership.Dead && !p.Alive[node] {
			out[nodeOrLink{node: node}] = true
		}
	}
	for segment, v := range p.Members.Segments {
		for node, standing := range v.Standing {
			if nl := (nodeOrLink{node, segment}); standing == membership.Dead && !linkUp(p.Cluster.Nodes, nl) {
				out[nl] = true
			}
		}
	}
	return out
}

// ownerMayBeAcrossPartition reports whether the owner of an address, or its link in the address's
// segment, may be alive in another half of the network.
func (p *pass) ownerMayBeAcrossPartition(a netip.Addr, node string) bool {
	nl, _ := p.deadFor(a, node)
	return p.mayBeAcrossPartition(nl)
}

// ownerAliveByLease reports whether the owner of an address, or its link in the address's
// segment, was lost and is alive by its Lease.
func (p *pass) ownerAliveByLease(a netip.Addr, node string) bool {
	return slices.ContainsFunc(p.nodeAndLinks(a, node), p.aliveByLease)
}

// workingLinks returns which links of nodes in segments work.
func (p *pass) workingLinks() map[nodeOrLink]bool {
	out := map[nodeOrLink]bool{}
	for segment, v := range p.Members.Segments {
		for node := range v.Standing {
			nl := nodeOrLink{node, segment}
			out[nl] = linkUp(p.Cluster.Nodes, nl)
		}
	}
	return out
}

// aliveNodes returns which nodes are alive.
func (p *pass) aliveNodes() map[string]bool {
	out := make(map[string]bool, len(p.Cluster.Nodes))
	for i := range p.Cluster.Nodes {
		out[p.Cluster.Nodes[i].Name] = p.Cluster.Nodes[i].Live
	}
	return out
}
