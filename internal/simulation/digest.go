package simulation

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// digest is what a speaker takes from Node and Speaker objects. It is made again when one of
// them changes, or the own link: passes are many, and so are the objects of a big cluster.
type digest struct {
	counts   [2]int // of changes to these objects
	link     announce.Link
	nodes    []announce.Node
	members  []membership.Member
	speakers map[string]bool
	isolated map[string]bool
	macs     map[[6]byte]string
}

func (d *digest) update(s *speaker) {
	counts, link := [2]int{s.cache.counts[nodes], s.cache.counts[speakers]}, s.link()
	if d.speakers != nil && d.counts == counts && sameLink(d.link, link) {
		return
	}
	*d = digest{counts: counts, link: link, speakers: map[string]bool{}, isolated: map[string]bool{}, macs: map[[6]byte]string{}}
	links := map[string][]announce.Link{}
	for _, o := range s.cache.table[speakers] {
		v := o.value.(speakerValue)
		d.speakers[o.name], d.isolated[o.name], links[o.name] = true, v.isolated, v.links
		for _, l := range v.links {
			d.macs[l.MAC] = o.name
		}
	}
	links[s.node.name] = []announce.Link{link}
	for _, o := range s.cache.table[nodes] {
		v, subnet := o.value.(nodeValue), netip.Prefix{}
		if l := links[o.name]; len(l) > 0 {
			subnet = l[0].Prefixes[0]
		}
		d.nodes = append(d.nodes, announce.Node{Name: o.name, Labels: v.labels, Excluded: v.excluded, Links: links[o.name]})
		d.members = append(d.members, membership.Member{Name: o.name, Addr: v.addr, Subnet: subnet})
	}
}
