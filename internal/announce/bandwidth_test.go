package announce_test

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestLinkBandwidth(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name        string
		ads         []announce.BGPAdvertisement
		local       bool
		want, want6 uint32
		clashes     int
	}{
		{"none", []announce.BGPAdvertisement{{}}, false, 0, 0, 0},
		{"fixed", []announce.BGPAdvertisement{{Attributes: announce.Route{Bandwidth: 7}}}, false, 7, 7, 0},
		{"by a label", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "mbit"}}}, false, 1000, 1000, 0},
		{"by a label that is no number", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "name"}}}, false, 0, 0, 0},
		{"by a label that is too much", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "much"}}}, false, 0, 0, 0},
		{"by a label that the node has not", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "other"}}}, false, 0, 0, 0},
		{"by endpoints, of all Services on the address", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{PerEndpoint: 100}}}, true, 500, 100, 0},
		{"never more than routers can count", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{PerEndpoint: 30_000}}}, true, announce.MaxBandwidth, announce.MaxBandwidth, 0},
		{"by endpoints, where all nodes serve all", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{PerEndpoint: 100}}}, false, 0, 0, 0},
		{"of two the first that sets it", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "other"}}, {Attributes: announce.Route{Bandwidth: 7}}}, false, 7, 7, 0},
		{"and the other says so", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "mbit"}}, {Attributes: announce.Route{Bandwidth: 7}}}, false, 1000, 1000, 1},
		{"unless both say the same", []announce.BGPAdvertisement{{Bandwidth: announce.Bandwidth{NodeLabel: "mbit"}}, {Attributes: announce.Route{Bandwidth: 1000}}}, false, 1000, 1000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.ads {
				c.ads[i].Name, c.ads[i].Length4, c.ads[i].Length6 = string(rune('a'+i)), 32, 128
			}
			addrs := []announce.Address{{Addr: four, Pool: "p", Bits: 32}, {Addr: six, Pool: "p", Bits: 128}}
			svc := func(name string, n4, n6 int) announce.Service {
				s := announce.Service{Key: announce.Key{Name: name}, Addrs: addrs, Local: c.local}
				if c.local {
					s.ReadyOn4, s.ReadyOn6 = map[string]bool{"n1": true}, map[string]bool{"n1": true}
					s.Endpoints4, s.Endpoints6 = map[string]int{"n1": n4, "n2": 9}, map[string]int{"n1": n6}
				}
				return s
			}
			plan := announce.Decide(announce.Snapshot{
				Self: "n1", Nodes: []announce.Node{{Name: "n1", Labels: map[string]string{"mbit": "1000", "name": "x", "much": "30001"}}},
				BGP: c.ads, Services: []announce.Service{svc("a", 2, 1), svc("b", 3, 0)},
				Neighbors: []announce.Neighbor{{Peer: announce.Peer{Name: "tor", Addr: four, DualStack: true}}},
			})
			routes := plan.Peerings[0].Routes
			if len(routes) != 2 || routes[0].Bandwidth != c.want || routes[1].Bandwidth != c.want6 || len(plan.Clashes) != c.clashes {
				t.Errorf("%v, clashes %v; want %d and %d, %d clashes", routes, plan.Clashes, c.want, c.want6, c.clashes)
			}
		})
	}
}
