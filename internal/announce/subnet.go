package announce

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// subnet is one of a link that is selected, with all nodes that have such a link there, in order.
type subnet struct {
	netip.Prefix
	nodes []*Node
}

// subnets returns the subnets of the links that some of these advertisements select, of all
// nodes. It keeps them in known, by the names of the advertisements.
func (s Snapshot) subnets(ads []*L2Advertisement, known map[string][]*subnet) []*subnet {
	var names strings.Builder
	for _, ad := range ads {
		names.WriteString(ad.Name + " ")
	}
	all, ok := known[names.String()]
	if !ok {
		all = s.subnetsOf(holder{ads: ads})
		known[names.String()] = all
	}
	return all
}

// subnetsOf returns the subnets of the links that the advertisements of a holder select.
func (s Snapshot) subnetsOf(u holder) []*subnet {
	var all []*subnet
	known := map[netip.Prefix]*subnet{}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		for _, l := range n.Links {
			if !u.selected(n, l) {
				continue
			}
			for _, p := range l.Prefixes {
				in := known[p]
				if in == nil {
					in = &subnet{Prefix: p}
					known[p], all = in, append(all, in)
				}
				if k := len(in.nodes); k == 0 || in.nodes[k-1] != n { // it may have two links there
					in.nodes = append(in.nodes, n)
				}
			}
		}
	}
	return all
}

// containing returns those of all subnets that an address is in: usually one, which is no
// slice of its own.
func containing(all []*subnet, a netip.Addr) (out []*subnet) {
	for i, in := range all {
		switch {
		case !in.Contains(a):
		case out == nil:
			out = all[i : i+1 : i+1]
		default:
			out = append(out, in)
		}
	}
	return out
}

// near yields the nodes that may be candidates for an address, by name: where selected links
// are in its subnet, the nodes that have them, which are few of many nodes in many subnets.
func (s Snapshot) near(u holder) iter.Seq[*Node] {
	if !u.local() {
		return func(yield func(*Node) bool) {
			for i := range s.Nodes {
				if !yield(&s.Nodes[i]) {
					return
				}
			}
		}
	}
	out := u.in[0].nodes
	for _, other := range u.in[1:] {
		out = slices.Concat(out, other.nodes)
	}
	if len(u.in) > 1 {
		slices.SortFunc(out, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
		out = slices.Compact(out)
	}
	return slices.Values(out)
}
