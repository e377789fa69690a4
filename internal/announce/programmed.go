package announce

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// AnsweredBy returns the L2Advertisements by which a node answers for an address of svc.
func (o *Forecast) AnsweredBy(svc *Service, a Address, node string) []string {
	i, there := o.s.index(node)
	if !there {
		return nil
	}
	var out []string
	for j := range o.s.L2 {
		ad := &o.s.L2[j]
		if ad.Covers(a.Pool, svc.Labels) && !(ad.Withdraws && svc.withdrawn(a.Addr) != "") && o.selects(i, j) {
			out = append(out, ad.Name)
		}
	}
	return out
}

// selects reports whether the j-th L2Advertisement selects a link of the i-th node.
func (o *Forecast) selects(i, j int) bool {
	of := [2]int{i, j}
	is, known := o.answering[of]
	if !known {
		n, ad := &o.s.Nodes[i], &o.s.L2[j]
		is = ad.Nodes.Selects(n.Labels) && slices.ContainsFunc(n.Links, ad.Links.Selects)
		o.answering[of] = is
	}
	return is
}

// OfferedBy returns the BGPAdvertisements by which nodes offer a route for an address of svc, each
// with the nodes that do in a session that is up. All calls need the same function up.
func (o *Forecast) OfferedBy(svc *Service, a Address, up func(node, peer string) bool) map[string][]string {
	ads := slices.DeleteFunc(o.adsOf(svc, a), func(j int) bool { return o.s.BGP[j].Withdraws && svc.withdrawn(a.Addr) != "" })
	alike := fmt.Sprint(ads, ipam.FamilyOf(a.Addr), a.Node)
	all, known := o.offered[alike]
	if !known {
		all = map[string][]string{}
		for _, j := range ads {
			all[o.s.BGP[j].Name] = o.offeredBy(&o.s.BGP[j], a, up)
		}
		o.offered[alike] = all
	}
	on, local := o.served[a.Addr]
	yielded := o.yielded(svc, a)
	if !local && !yielded {
		return all
	}
	out := make(map[string][]string, len(all))
	for ad, nodes := range all {
		for _, n := range nodes {
			i, _ := o.s.index(n)
			if (!local || on[n]) && !(yielded && o.s.Nodes[i].Yields) {
				out[ad] = append(out[ad], n)
			}
		}
	}
	return out
}

// offeredBy returns the nodes that offer addresses like a by one advertisement in a session that is up.
func (o *Forecast) offeredBy(ad *BGPAdvertisement, a Address, up func(node, peer string) bool) (out []string) {
	for i := range o.s.Nodes {
		n := &o.s.Nodes[i]
		if o.sends[i] && ad.excludes(n, a, true) == "" && slices.ContainsFunc(o.sessions[i], func(p Peering) bool {
			return ad.appliesTo(p) && p.Peer.Carries(ipam.FamilyOf(a.Addr)) && up(n.Name, p.Peer.Name)
		}) {
			out = append(out, n.Name)
		}
	}
	return out
}

// adsOf returns the BGPAdvertisements that cover an address of svc.
func (o *Forecast) adsOf(svc *Service, a Address) []int {
	return slices.DeleteFunc(slices.Clone(o.covering[a.Pool]), func(i int) bool { return !o.s.BGP[i].Covers(a.Pool, svc.Labels) })
}
