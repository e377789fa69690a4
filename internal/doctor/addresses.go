package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// addressChecks returns the checks of pools, and of other owners of their addresses.
func addressChecks() []check {
	return []check{
		{"addresses-in-use", "Does no Service have an address of a router, a Pod, the cluster or another load balancer?", (*cluster).inUse, []string{serviceCIDRs}},
		{"advertised", "Does an advertisement cover each pool?", (*cluster).advertised, nil},
		{"subnets", "Is each pool of the local network in a subnet of the nodes?", (*cluster).subnets, nil},
		{"contested", "Does another program overwrite the addresses of a Service, or keep it from being deleted?", (*cluster).contested, nil},
		{"other-load-balancers", "Does another load balancer serve the same Services?", (*cluster).others, []string{deployments, daemonSets, statefulSets, pods, ciliumPools}},
	}
}

// inUse finds Services with addresses that something else has: the controller never chooses
// such an address, but a Service can have got it before the other did.
func (p *cluster) inUse() outcome {
	var held, unused []string
	for i, g := range p.Grants {
		for _, a := range g.Addrs {
			if by, is := p.Occupied.Of(a); is && by.Node == "" {
				held = append(held, fmt.Sprintf("Service %s has %s, which is %s", intent.KeyOf(p.Served[i]), a, by.Name))
			}
		}
	}
	for i := range p.Pools {
		if text := p.Pools[i].OccupiedText(); text != "" {
			unused = append(unused, "IPAddressPool "+p.Pools[i].Name+": "+text)
		}
	}
	if len(held) > 0 {
		return outcome{Fault, slices.Concat(held, unused), "take the address out of spec.addresses, or into spec.exclude, of the pool, so that the Service gets another: it breaks what has this one"}
	}
	return outcome{evidence: unused}
}

// covers reports which kinds of advertisement select a pool.
func (p *cluster) covers(pool string) (layer2, bgp bool) {
	of := func(s announce.Selection) bool { return s.Pools == nil || s.Pools[pool] }
	layer2 = slices.ContainsFunc(p.Checked.L2, func(ad announce.L2Advertisement) bool { return of(ad.Selection) })
	bgp = slices.ContainsFunc(p.Checked.BGP, func(ad announce.BGPAdvertisement) bool { return of(ad.Selection) })
	return layer2, bgp
}

func (p *cluster) advertised() outcome {
	var evidence []string
	for _, pool := range p.Checked.Pools {
		switch layer2, bgp := p.covers(pool.Name); {
		case !layer2 && !bgp:
			evidence = append(evidence, "IPAddressPool "+pool.Name+": no advertisement is for it")
		case !layer2 && len(p.Checked.Neighbors) == 0:
			evidence = append(evidence, "IPAddressPool "+pool.Name+": it is for BGP, and there is no BGPPeer")
		}
	}
	if len(p.Checked.Pools) == 0 {
		return outcome{Warning, []string{"there is no IPAddressPool"}, "make one, and an L2Advertisement or a BGPAdvertisement; until then no Service gets an address"}
	}
	return found(Warning, evidence, "make an L2Advertisement, or a BGPAdvertisement and a BGPPeer, that names the pool: until then its addresses lead nowhere")
}

// subnets finds pools that are announced on the local network only, and are in no
// node's subnet: hosts there do not send ARP requests for such an address.
func (p *cluster) subnets() outcome {
	var local []netip.Prefix
	for i := range p.Speakers {
		for _, l := range intent.Links(&p.Speakers[i]) {
			local = append(local, l.Prefixes...)
		}
	}
	if len(local) == 0 {
		return outcome{Unknown, []string{"no speaker tells of a subnet"}, "see the check speakers"}
	}
	var evidence []string
	for _, pool := range p.Checked.Pools {
		if layer2, bgp := p.covers(pool.Name); !layer2 || bgp {
			continue
		}
		for _, r := range pool.Ranges {
			inside := slices.ContainsFunc(local, func(s netip.Prefix) bool { return s.Contains(r.First) && s.Contains(r.Last) })
			if !inside {
				evidence = append(evidence, fmt.Sprintf("IPAddressPool %s: %s is in no subnet of any node", pool.Name, between(r)))
			}
		}
	}
	return found(Warning, evidence, "use addresses of the nodes' subnet, or announce them by BGP, or have the router take that range for local (a route to its interface on the nodes' network)")
}

func between(r ipam.Range) string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}
