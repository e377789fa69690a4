package announce

import (
	"net/netip"
	"slices"
	"strconv"
)

// MaxBandwidth is the highest link bandwidth in Mbit/s: routers such as FRR count bytes per
// second in 32 bits.
const MaxBandwidth = 30_000

// Bandwidth says which link bandwidth the routes of a node have. Routers that know it send
// each node its share of the connections.
type Bandwidth struct {
	NodeLabel   string // the label of the Node that has it; a node without sends none
	PerEndpoint uint32 // for each endpoint on the node, of Services with traffic policy Local; others have none
}

// bandwidths are the link bandwidths of s.Self.
type bandwidths struct {
	ads   []BGPAdvertisement
	label []uint32           // by advertisement
	here  map[netip.Addr]int // how many endpoints on s.Self each address has
}

// bandwidths returns those of s.Self.
func (s Snapshot) bandwidths(self *Node) bandwidths {
	b := bandwidths{ads: s.BGP, label: make([]uint32, len(s.BGP))}
	for i := range s.BGP {
		if key := s.BGP[i].Bandwidth.NodeLabel; key != "" {
			if n, err := strconv.ParseUint(self.Labels[key], 10, 32); err == nil && n <= MaxBandwidth {
				b.label[i] = uint32(n)
			}
		}
	}
	if !slices.ContainsFunc(s.BGP, func(ad BGPAdvertisement) bool { return ad.Bandwidth.PerEndpoint != 0 }) {
		return b
	}
	b.here = map[netip.Addr]int{}
	for i := range s.Services {
		for _, a := range s.Services[i].Addrs { // one address of several Services has all their endpoints
			of := s.Services[i].Endpoints4
			if a.Addr.Is6() {
				of = s.Services[i].Endpoints6
			}
			b.here[a.Addr] += of[self.Name]
		}
	}
	return b
}

// attributes returns the attributes of a prefix as an advertisement sets them.
func (b bandwidths) attributes(ad int, prefix netip.Prefix) Route {
	r := b.ads[ad].Attributes
	switch want := b.ads[ad].Bandwidth; {
	case want.NodeLabel != "":
		r.Bandwidth = b.label[ad]
	case want.PerEndpoint != 0 && prefix.IsSingleIP():
		r.Bandwidth = uint32(min(MaxBandwidth, uint64(want.PerEndpoint)*uint64(b.here[prefix.Addr()])))
	}
	return r
}
