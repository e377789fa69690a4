package failover

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// place is a node, or with a segment its link there.
type place struct {
	node    string
	segment netip.Prefix
}

// lost returns which nodes that hold a Lease are Dead for their watchers, and which of
// their links.
func (p *pass) lost() map[place]bool {
	out := map[place]bool{}
	enter := func(segment netip.Prefix, v membership.View) {
		for node, standing := range v.Standing {
			if standing != membership.Dead {
				continue
			}
			if _, leased := p.Leases[node]; leased {
				out[place{node, segment}] = true
			}
		}
	}
	enter(netip.Prefix{}, p.Members)
	for segment, v := range p.Members.Segments {
		enter(segment, v)
	}
	return out
}

// hearsDead reports whether this node hears another one, or its link in a segment, that most
// watchers have lost.
func (p *pass) hearsDead(at place) bool { return slices.Contains(p.watching(at).StillUp, at.node) }

// watching returns who is alive where a place is: among the nodes, or on a segment.
func (p *pass) watching(at place) membership.View {
	if at.segment.IsValid() {
		return p.Members.Segments[at.segment]
	}
	return p.Members
}

// denies reports whether a node itself reports that it reaches no member: at all, or on its link
// in a segment, which it then reports as down.
func (p *pass) denies(at place) bool {
	if !at.segment.IsValid() {
		return p.Isolated[at.node]
	}
	return !linkIn(p.Cluster.Nodes, at)
}

// linkIn reports whether a link of a node in a segment is up.
func linkIn(nodes []announce.Node, at place) bool {
	i := slices.IndexFunc(nodes, func(n announce.Node) bool { return n.Name == at.node })
	return i >= 0 && slices.ContainsFunc(nodes[i].Links, func(l announce.Link) bool {
		return l.Up && slices.Contains(l.Prefixes, at.segment)
	})
}

// links returns a node's links, each up if it works. What was found on the wire counts
// for more than what the node's Speaker object says, which may be late. Of this node's
// own links both the wire and the kernel must say that it works.
func (p *pass) links(n *announce.Node) []announce.Link {
	if len(p.Members.Segments) == 0 {
		return n.Links
	}
	out := slices.Clone(n.Links)
	for i := range out {
		out[i].Up = p.works(n.Name, out[i])
	}
	return out
}

// works reports whether a link works. A link that its watchers have lost works if it is up
// and the node's Lease goes on being renewed: else speakers that do not hear each other on
// it would take addresses from each other for ever (see counts).
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
			return l.Up && p.renews(place{node, segment})
		case standing != membership.Unknown:
			heard = true
		}
	}
	return l.Up || heard
}

// lostFor returns what of a node is dead, as its watchers say and nothing proves
// otherwise, so that it can't answer for an address: the node, or its link in the
// address's segment.
func (p *pass) lostFor(a netip.Addr, node string) (place, bool) {
	for _, at := range p.places(a, node) {
		if p.gone[at] {
			return at, true
		}
	}
	return place{node: node}, false
}

// places returns a node, and its links in the segments of an address.
func (p *pass) places(a netip.Addr, node string) []place {
	out := []place{{node: node}}
	for segment := range p.Members.Segments {
		if segment.Contains(a) {
			out = append(out, place{node, segment})
		}
	}
	return out
}

// deadPlaces returns which nodes are dead, and which of their links, as their watchers say
// and nothing proves otherwise.
func (p *pass) deadPlaces() map[place]bool {
	out := map[place]bool{}
	for node, standing := range p.Members.Standing {
		if standing == membership.Dead && !p.Alive[node] {
			out[place{node: node}] = true
		}
	}
	for segment, v := range p.Members.Segments {
		for node, standing := range v.Standing {
			if at := (place{node, segment}); standing == membership.Dead && !linkIn(p.Cluster.Nodes, at) {
				out[at] = true
			}
		}
	}
	return out
}

// lostElsewhere reports whether what of a node is dead for an address may be alive in
// another half of the network.
func (p *pass) lostElsewhere(a netip.Addr, node string) bool {
	at, _ := p.lostFor(a, node)
	return p.elsewhere(at)
}

// renewsFor reports whether a node that was lost, or its link in an address's segment,
// is alive as its Lease says.
func (p *pass) renewsFor(a netip.Addr, node string) bool {
	return slices.ContainsFunc(p.places(a, node), p.renews)
}

// linksUp returns which links of nodes in segments work.
func (p *pass) linksUp() map[place]bool {
	out := map[place]bool{}
	for segment, v := range p.Members.Segments {
		for node := range v.Standing {
			at := place{node, segment}
			out[at] = linkIn(p.Cluster.Nodes, at)
		}
	}
	return out
}
