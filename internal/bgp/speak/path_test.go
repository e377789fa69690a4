package speak

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestAttributes(t *testing.T) {
	origin, self := &api.OriginAttribute{Origin: 0}, &api.NextHopAttribute{NextHop: "0.0.0.0"}
	for _, c := range []struct {
		name    string
		path    Path
		prepend uint32
		want    []proto.Message
	}{
		{"a plain route has ORIGIN IGP and NEXT_HOP self (RFC 4271 5.1.1, 5.1.3)", Path{}, 64512,
			[]proto.Message{origin, self}},
		{"a next hop that is named is sent (RFC 4760 3)", Path{NextHop: netip.MustParseAddr("fd09::2")}, 64512,
			[]proto.Message{origin, &api.NextHopAttribute{NextHop: "fd09::2"}}},
		{"prepending repeats the local AS number (RFC 4271 5.1.2)", Path{Route: announce.Route{Prepend: 2}}, 64512,
			[]proto.Message{origin, self, &api.AsPathAttribute{Segments: []*api.AsSegment{{Type: api.AsSegment_AS_SEQUENCE, Numbers: []uint32{64512, 64512}}}}}},
		{"an internal peer gets nothing prepended (RFC 4271 5.1.2)", Path{Route: announce.Route{Prepend: 2}}, 0,
			[]proto.Message{origin, self}},
		{"a MED of 0 is sent if there is one (RFC 4271 5.1.4)", Path{Route: announce.Route{HasMED: true}}, 64512,
			[]proto.Message{origin, self, &api.MultiExitDiscAttribute{Med: 0}}},
		{"a MED without HasMED is not sent (RFC 4271 5.1.4)", Path{Route: announce.Route{MED: 5}}, 64512,
			[]proto.Message{origin, self}},
		{"LOCAL_PREF is sent (RFC 4271 5.1.5)", Path{Route: announce.Route{LocalPref: 200}}, 64512,
			[]proto.Message{origin, self, &api.LocalPrefAttribute{LocalPref: 200}}},
		{"communities are sent (RFC 1997)", Path{Route: announce.Route{Communities: []uint32{1, 2}}}, 64512,
			[]proto.Message{origin, self, &api.CommunitiesAttribute{Communities: []uint32{1, 2}}}},
		{"a route that will be withdrawn is the last choice (RFC 8326 4.2)", Path{Route: announce.Route{LocalPref: 200, Communities: []uint32{1}, Leaving: true}}, 64512,
			[]proto.Message{origin, self, &api.LocalPrefAttribute{}, &api.CommunitiesAttribute{Communities: []uint32{1, 65535 << 16}}}},
		{"large communities are sent (RFC 8092 3)", Path{Route: announce.Route{Large: []announce.LargeCommunity{{Global: 1, Data1: 2, Data2: 3}}}}, 64512,
			[]proto.Message{origin, self, &api.LargeCommunitiesAttribute{Communities: []*api.LargeCommunity{{GlobalAdmin: 1, LocalData1: 2, LocalData2: 3}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.path.Route.Prefix = netip.MustParsePrefix("198.51.100.1/32")
			if !c.path.NextHop.IsValid() {
				c.path.NextHop = netip.IPv4Unspecified()
			}
			if d := cmp.Diff(c.want, attributes(c.path, c.prepend), protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMessageCarriesPrefixAndFamily(t *testing.T) {
	for prefix, afi := range map[string]api.Family_Afi{"198.51.100.0/24": api.Family_AFI_IP, "2001:db8::/64": api.Family_AFI_IP6} {
		p := netip.MustParsePrefix(prefix)
		m, err := message(Path{Route: announce.Route{Prefix: p}, NextHop: p.Addr()}, 0)
		if err != nil {
			t.Fatal(err)
		}
		var nlri api.IPAddressPrefix
		if err := m.Nlri.UnmarshalTo(&nlri); err != nil {
			t.Fatal(err)
		}
		if m.Family.Afi != afi || nlri.Prefix != p.Addr().String() || int(nlri.PrefixLen) != p.Bits() {
			t.Errorf("%s became %v", prefix, m)
		}
	}
}
