package announce

import "net/netip"

// Destinations returns all prefixes for which the plan attracts packets to this node. A prefix
// may occur several times.
func (p Plan) Destinations() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(p.Claims))
	for _, c := range p.Claims {
		out = append(out, netip.PrefixFrom(c.Addr, c.Addr.BitLen()))
	}
	listed := map[*Route]int{} // peers may share one list: its length by its first
	for _, x := range p.Peerings {
		if len(x.Routes) == 0 || listed[&x.Routes[0]] == len(x.Routes) {
			continue
		}
		listed[&x.Routes[0]] = len(x.Routes)
		for _, r := range x.Routes {
			out = append(out, r.Prefix)
		}
	}
	return out
}
