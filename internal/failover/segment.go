package failover

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

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
func (p *pass) hearsLost(nl nodeOrLink) bool { return slices.Contains(p.viewOf(nl).StillUp, nl.node) }

// viewOf returns the View that a nodeOrLink is in: of the nodes, or of a segment.
func (p *pass) viewOf(nl nodeOrLink) membership.View {
	if nl.segment.IsValid() {
		return p.Members.Segments[nl.segment]
	}
	return p.Members
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
