package layer2

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
)

func TestClaimsSelectLinks(t *testing.T) {
	cases := []struct {
		name  string
		links []announce.Links // of claims for the same address
		want  []string         // of eth0, eth1, br0
	}{
		{"the zero value selects all", []announce.Links{{}}, []string{"br0", "eth0", "eth1"}},
		{"a name selects itself", []announce.Links{{Only: []string{"eth1"}}}, []string{"eth1"}},
		{"a glob selects what it matches", []announce.Links{{Only: []string{"eth*"}}}, []string{"eth0", "eth1"}},
		{"except wins", []announce.Links{{Only: []string{"eth*"}, Except: []string{"eth[1-9]"}}}, []string{"eth0"}},
		{"except alone leaves the others", []announce.Links{{Except: []string{"br?"}}}, []string{"eth0", "eth1"}},
		{"two claims for one address add up", []announce.Links{{Only: []string{"br0"}}, {Only: []string{"eth0"}}}, []string{"br0", "eth0"}},
		{"a broken glob selects nothing", []announce.Links{{Only: []string{"[eth"}}}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr := netip.MustParseAddr(vip4)
			var claims []announce.Claim
			for _, l := range c.links {
				claims = append(claims, announce.Claim{Addr: addr, Links: l})
			}
			table := newTable(claims, nil, 0)
			var got []string
			for _, link := range []string{"br0", "eth0", "eth1"} {
				if table.claimed(addr, link) != nil {
					got = append(got, link)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	devices := []link.Device{
		{Link: Link{Name: "eth0", MAC: mac(nodeMAC), Up: true}, Index: 2},
		{Link: Link{Name: "eth1", MAC: mac(nodeMAC), Up: false}, Index: 3},
		{Link: Link{Name: "eth2", MAC: mac(nodeMAC), Up: true}, Index: 4, Epoch: 9, IPv6: true, Router: true},
	}
	m := string(mac(nodeMAC))
	claim := func(addr string, only ...string) announce.Claim {
		return announce.Claim{Addr: netip.MustParseAddr(addr), Links: announce.Links{Only: only}}
	}
	cases := []struct {
		name   string
		claims []announce.Claim
		want   map[role]bool
	}{
		{"without claims there is nothing to do", nil, map[role]bool{}},
		{"the zero claim is nothing to do", []announce.Claim{{}}, map[role]bool{}},
		{"only links that are up and selected, only families that are claimed", []announce.Claim{claim(vip4), claim(vip6, "eth2")}, map[role]bool{
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
