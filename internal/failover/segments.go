package failover

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// OwnLink is a link of this node.
type OwnLink struct {
	Up       bool
	Prefixes []netip.Prefix // its subnets
	Addrs    []netip.Addr   // its addresses
}

// SubnetOf returns the subnet, among those of a node's links, that addr is in; the zero
// Prefix if none is known.
func SubnetOf(links []announce.Link, addr netip.Addr) netip.Prefix {
	for _, l := range links {
		for _, p := range l.Prefixes {
			if p.Contains(addr) {
				return p
			}
		}
	}
	return netip.Prefix{}
}

// Segments returns the subnets on this node's own links in which other members also have a
// link. It omits those in which all of them have their node address: these are monitored
// anyway. On a link with both families IPv4 is enough. Of several links in one subnet the
// one that is up counts.
func Segments(own []OwnLink, nodes []announce.Node, members []membership.Member) []membership.Segment {
	has := map[string][]announce.Link{}
	for _, n := range nodes {
		has[n.Name] = n.Links
	}
	var out []membership.Segment
	for _, l := range own {
		for _, p := range l.Prefixes {
			at := slices.IndexFunc(l.Addrs, p.Contains)
			if at < 0 || p.Addr().Is6() && slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
				continue
			}
			s, beside := membership.Segment{Prefix: p, Addr: l.Addrs[at], Up: l.Up}, false
			for _, m := range members {
				if slices.ContainsFunc(has[m.Name], func(l announce.Link) bool { return slices.Contains(l.Prefixes, p) }) {
					s.Members, beside = append(s.Members, m.Name), beside || !p.Contains(m.Addr)
				}
			}
			same := slices.IndexFunc(out, func(o membership.Segment) bool { return o.Prefix == p })
			switch {
			case !beside || len(s.Members) < 2:
			case same < 0:
				out = append(out, s)
			case !out[same].Up:
				out[same] = s
			}
		}
	}
	return out
}
