package layer2

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestClaimsSelectLinks(t *testing.T) {
	cases := []struct {
		name  string
		links []announce.Links // of claims for the same address
		want  []string         // of eth0, eth1, br0, and v0, which has no address
	}{
		{"a link without an address by its name", []announce.Links{{Only: []string{"v0", "eth*"}}}, []string{"eth0", "eth1", "v0"}},
		{"not by a glob", []announce.Links{{Only: []string{"v*"}}}, nil},
		{"nor if it is excluded", []announce.Links{{Only: []string{"v0"}, Except: []string{"v*"}}}, nil},
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
			addr := netip.MustParseAddr("192.0.2.100")
			var claims []announce.Claim
			for _, l := range c.links {
				claims = append(claims, announce.Claim{Addr: addr, Links: l})
			}
			table := newTable(claims, nil, 0).with(linkFacts{unnumbered: map[string]bool{"v0": true}})
			var got []string
			for _, link := range []string{"br0", "eth0", "eth1", "v0"} {
				if table.Claimed(addr, link) != nil {
					got = append(got, link)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
		})
	}
}
