package layer2

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
)

func TestRoles(t *testing.T) {
	devices := []link.Device{
		{Link: Link{Name: "eth0", MAC: mac(nodeMAC), Up: true}, Index: 2},
		{Link: Link{Name: "eth1", MAC: mac(nodeMAC), Up: false}, Index: 3},
		{Link: Link{Name: "eth2", MAC: mac(nodeMAC), Up: true}, Index: 4, Epoch: 9, IPv6: true, Router: true},
	}
	m := string(mac(nodeMAC))
	on := func(addr string, only ...string) announce.Claim {
		return announce.Claim{Addr: netip.MustParseAddr(addr), Links: announce.Links{Only: only}}
	}
	cases := []struct {
		name   string
		claims []announce.Claim
		want   map[role]bool
	}{
		{"without claims there is nothing to do", nil, map[role]bool{}},
		{"the zero claim is nothing to do", []announce.Claim{{}}, map[role]bool{}},
		{"only links that are up and selected, only families that are claimed", []announce.Claim{on(vip4), on(vip6, "eth2")}, map[role]bool{
			{family: ipv4, link: "eth0", index: 2, mac: m}:                                      true,
			{family: ipv4, link: "eth2", index: 4, mac: m, epoch: 9}:                            true,
			{family: ipv6, link: "eth2", index: 4, mac: m, epoch: 9, inet6: true, router: true}: true,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, roles(devices, newTable(c.claims, nil, 0)), cmp.AllowUnexported(role{})); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}
