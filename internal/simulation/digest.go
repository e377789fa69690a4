package simulation

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// digest is what a speaker takes from Node and Speaker objects, and Services that have their
// addresses. Each part is made again when one of them changes, or the own link: passes are
// many, and so are the objects of a big cluster.
type digest struct {
	counts   [2]int // of changes to Node and Speaker objects
	link     announce.Link
	nodes    []announce.Node
	members  []membership.Member
	speakers map[string]bool
	isolated map[string]bool
	macs     map[[6]byte]string

	services []announce.Service
	changes  int // of changes to Services; of none there is nothing
}

func (d *digest) update(s *speaker) {
	counts, link := [2]int{s.cache.counts[nodes], s.cache.counts[speakers]}, s.link()
	if d.speakers != nil && d.counts == counts && sameLink(d.link, link) {
		return
	}
	all := s.cache.table[speakers]
	d.counts, d.link, d.nodes, d.members = counts, link, make([]announce.Node, 0, len(s.cache.table[nodes])), make([]membership.Member, 0, len(s.cache.table[nodes]))
	d.speakers, d.isolated, d.macs = make(map[string]bool, len(all)), make(map[string]bool, len(all)), make(map[[6]byte]string, len(all))
	links := make(map[string][]announce.Link, len(all)+1)
	for _, o := range all {
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

// announced returns the Services with addresses. What they hold does not depend on a
// configuration.
func (d *digest) announced(s *speaker) []announce.Service {
	if n := s.cache.counts[services]; d.services == nil || d.changes != n {
		d.services, d.changes = servicesOf(s.cache, announced), n
	}
	return d.services
}

// servicesOf returns the Services of a cache that have addresses.
func servicesOf(c *cache, announced func(serviceValue) announce.Service) []announce.Service {
	out := make([]announce.Service, 0, len(c.table[services]))
	for _, o := range c.table[services] {
		if svc := announced(o.value.(serviceValue)); len(svc.Addrs) > 0 {
			out = append(out, svc)
		}
	}
	return out
}
