package layer2

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestLinkOf(t *testing.T) {
	const ordinary = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_BROADCAST | unix.IFF_MULTICAST
	lan := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	qualifies := func(up bool) *Link { return &Link{Name: "eth0", MAC: mac(nodeMAC), Up: up, Prefixes: lan} }
	cases := []struct {
		name     string
		edit     func(*netlink.LinkAttrs)
		prefixes []netip.Prefix
		want     *Link // nil: doesn't qualify
	}{
		{"an Ethernet link with a subnet qualifies", func(*netlink.LinkAttrs) {}, lan, qualifies(true)},
		{"a link without a subnet has no neighbours", func(*netlink.LinkAttrs) {}, nil, nil},
		{"loopback doesn't qualify", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_LOOPBACK }, lan, nil},
		{"a link without ARP doesn't qualify", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_NOARP }, lan, nil},
		{"a point-to-point link doesn't qualify", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_POINTOPOINT }, lan, nil},
		{"a link that can't broadcast doesn't qualify", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_BROADCAST }, lan, nil},
		{"a member of a bridge or bond doesn't qualify", func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, lan, nil},
		{"a link without a MAC doesn't qualify", func(a *netlink.LinkAttrs) { a.HardwareAddr = nil }, lan, nil},
		{"a link with a MAC of 20 bytes doesn't qualify", func(a *netlink.LinkAttrs) { a.HardwareAddr = make([]byte, 20) }, lan, nil},
		{"a link with a MAC of zeroes doesn't qualify", func(a *netlink.LinkAttrs) { a.HardwareAddr = make([]byte, 6) }, lan, nil},
		{"administratively down is down", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_UP; a.OperState = netlink.OperDown }, lan, qualifies(false)},
		{"no carrier is down", func(a *netlink.LinkAttrs) { a.OperState = netlink.OperLowerLayerDown }, lan, qualifies(false)},
		{"an unknown state counts as up while running", func(a *netlink.LinkAttrs) { a.OperState = netlink.OperUnknown }, lan, qualifies(true)},
		{"an unknown state is down while not running",
			func(a *netlink.LinkAttrs) { a.OperState = netlink.OperUnknown; a.RawFlags &^= unix.IFF_RUNNING }, lan, qualifies(false)},
		{"two addresses in one subnet are one prefix", func(*netlink.LinkAttrs) {}, append(lan, lan...), qualifies(true)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			attrs := netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac(nodeMAC), RawFlags: ordinary, OperState: netlink.OperUp}
			c.edit(&attrs)
			var got *Link
			if l, ok := linkOf(&attrs, c.prefixes); ok {
				got = &l
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSubnet(t *testing.T) {
	cases := []struct{ name, addr, want string }{
		{"an IPv4 subnet", "192.0.2.11/24", "192.0.2.0/24"},
		{"an IPv6 subnet", "2001:db8::11/64", "2001:db8::/64"},
		{"a subnet of two", "192.0.2.11/31", "192.0.2.10/31"},
		{"a host address is no subnet", "192.0.2.11/32", ""},
		{"an IPv6 host address is no subnet", "2001:db8::11/128", ""},
		{"link-local addresses don't count", "fe80::1/64", ""},
		{"nor do IPv4 link-local ones", "169.254.0.1/16", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ip, n, err := net.ParseCIDR(c.addr)
			must(err)
			got := ""
			if p, ok := subnet(&net.IPNet{IP: ip, Mask: n.Mask}); ok {
				got = p.String()
			}
			if got != c.want {
				t.Errorf("subnet of %s = %q, want %q", c.addr, got, c.want)
			}
		})
	}
}

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
			table := newTable(claims)
			var got []string
			for _, link := range []string{"br0", "eth0", "eth1"} {
				if table.claims(addr, link) {
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
	devices := []device{
		{Link: Link{Name: "eth0", MAC: mac(nodeMAC), Up: true}, index: 2},
		{Link: Link{Name: "eth1", MAC: mac(nodeMAC), Up: false}, index: 3},
		{Link: Link{Name: "eth2", MAC: mac(nodeMAC), Up: true}, index: 4, epoch: 9},
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
			{family: ipv4, link: "eth0", index: 2, mac: m}:           true,
			{family: ipv4, link: "eth2", index: 4, mac: m, epoch: 9}: true,
			{family: ipv6, link: "eth2", index: 4, mac: m, epoch: 9}: true,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, roles(devices, newTable(c.claims)), cmp.AllowUnexported(role{})); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}
