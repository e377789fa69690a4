package link

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const nodeMAC = "02:00:00:00:00:0a"

func TestLinkOf(t *testing.T) {
	const ordinary = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP | unix.IFF_BROADCAST | unix.IFF_MULTICAST
	subnet := netip.MustParsePrefix("192.0.2.0/24")
	lan := addresses{global: true, prefixes: []netip.Prefix{subnet}}
	qualifies := func(up bool) *Link {
		return &Link{Name: "eth0", MAC: mac(nodeMAC), Up: up, Prefixes: lan.prefixes}
	}
	alone := &Link{Name: "eth0", MAC: mac(nodeMAC), Up: true}
	kind := func(name string) func(*netlink.GenericLink) {
		return func(l *netlink.GenericLink) { l.LinkType = name }
	}
	named := func(of string) func(*netlink.GenericLink) {
		return func(l *netlink.GenericLink) { l.LinkType, l.Name = of, "v0" }
	}
	unnumbered := &Link{Name: "v0", MAC: mac(nodeMAC), Up: true, Unnumbered: true}
	cases := []struct {
		name string
		edit func(*netlink.GenericLink)
		addr addresses
		want *Link // nil: doesn't qualify
	}{
		{"a link without an address that is named qualifies", named("vlan"), addresses{}, unnumbered},
		{"so does a veth with a host address", named("veth"), addresses{global: true}, unnumbered},
		{"a link with a subnet is not the less for being named", func(l *netlink.GenericLink) { l.Name = "v0" }, lan, func() *Link { l := *qualifies(true); l.Name = "v0"; return &l }()},
		{"a tunnel that is named doesn't qualify", named("wireguard"), addresses{}, nil},
		{"nor does one whose name is ignored", func(l *netlink.GenericLink) { l.Name = "cni1" }, addresses{}, nil},

		{"an Ethernet link with a subnet qualifies", kind("device"), lan, qualifies(true)},
		{"a bond qualifies", kind("bond"), lan, qualifies(true)},
		{"a bridge qualifies", kind("bridge"), lan, qualifies(true)},
		{"a VLAN qualifies", kind("vlan"), lan, qualifies(true)},
		{"a veth with a subnet qualifies", kind("veth"), lan, qualifies(true)},
		{"a veth with a host address leads to a Pod", kind("veth"), addresses{global: true}, nil},
		{"another link with a host address qualifies", kind("device"), addresses{global: true}, alone},
		{"a link without an address leads nowhere", kind("device"), addresses{}, nil},
		{"an overlay doesn't qualify", kind("vxlan"), lan, nil},
		{"a tunnel doesn't qualify", kind("wireguard"), lan, nil},
		{"a tap doesn't qualify", kind("tuntap"), lan, nil},
		{"a link of a name that is ignored doesn't qualify", func(l *netlink.GenericLink) { l.Name = "cni0" }, lan, nil},
		{"loopback doesn't qualify", func(l *netlink.GenericLink) { l.RawFlags |= unix.IFF_LOOPBACK }, lan, nil},
		{"a link without ARP doesn't qualify", func(l *netlink.GenericLink) { l.RawFlags |= unix.IFF_NOARP }, lan, nil},
		{"a point-to-point link doesn't qualify", func(l *netlink.GenericLink) { l.RawFlags |= unix.IFF_POINTOPOINT }, lan, nil},
		{"a link that can't broadcast doesn't qualify", func(l *netlink.GenericLink) { l.RawFlags &^= unix.IFF_BROADCAST }, lan, nil},
		{"a member of a bridge or bond doesn't qualify", func(l *netlink.GenericLink) { l.MasterIndex = 7 }, lan, nil},
		{"a member of a VRF qualifies", func(l *netlink.GenericLink) { l.MasterIndex, l.Slave = 7, &netlink.VrfSlave{} }, lan, qualifies(true)},
		{"a link without a MAC doesn't qualify", func(l *netlink.GenericLink) { l.HardwareAddr = nil }, lan, nil},
		{"a link with a MAC of 20 bytes doesn't qualify", func(l *netlink.GenericLink) { l.HardwareAddr = make([]byte, 20) }, lan, nil},
		{"a link with a MAC of zeroes doesn't qualify", func(l *netlink.GenericLink) { l.HardwareAddr = make([]byte, 6) }, lan, nil},
		{"administratively down is down", func(l *netlink.GenericLink) { l.RawFlags &^= unix.IFF_UP; l.OperState = netlink.OperDown }, lan, qualifies(false)},
		{"a state without a carrier is down", func(l *netlink.GenericLink) { l.OperState = netlink.OperLowerLayerDown }, lan, qualifies(false)},
		{"no carrier is down, though the state doesn't show it yet", func(l *netlink.GenericLink) { l.RawFlags &^= unix.IFF_LOWER_UP }, lan, qualifies(false)},
		{"an unknown state counts as up while running", func(l *netlink.GenericLink) { l.OperState = netlink.OperUnknown }, lan, qualifies(true)},
		{"an unknown state is down while not running",
			func(l *netlink.GenericLink) { l.OperState = netlink.OperUnknown; l.RawFlags &^= unix.IFF_RUNNING }, lan, qualifies(false)},
		{"two addresses in one subnet are one prefix", kind("device"), addresses{global: true, prefixes: []netip.Prefix{subnet, subnet}}, qualifies(true)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := netlink.GenericLink{LinkType: "device"}
			l.LinkAttrs = netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac(nodeMAC), RawFlags: ordinary, OperState: netlink.OperUp}
			c.edit(&l)
			var got *Link
			if l, ok := linkOf(&l, c.addr, choice{Ignored(), []string{"v0", "cni1"}}); ok {
				got = &l
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIgnored(t *testing.T) {
	for name, want := range map[string]bool{
		"eth0": false, "enp3s0f1np1": false, "bond0": false, "br0": false, "br-ex": false, "vlan100": false, "eth0.100": false, "ovs-lan": false,
		"cni0": true, "docker0": true, "br-0123456789ab": true, "cali1234567890a": true, "cilium_host": true, "flannel.1": true, "kube-ipvs0": true,
		"kube-bridge": true, "virbr0": true, "lxc1a2b3c": true,
	} {
		if got := matches(Ignored(), name); got != want {
			t.Errorf("%s is ignored: %t, want %t", name, got, want)
		}
	}
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func TestAddresses(t *testing.T) {
	subnet := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	cases := []struct {
		name, addr string
		want       addresses
	}{
		{"an IPv4 subnet", "192.0.2.11/24", addresses{global: true, prefixes: subnet("192.0.2.0/24")}},
		{"an IPv6 subnet", "2001:db8::11/64", addresses{global: true, prefixes: subnet("2001:db8::/64")}},
		{"a subnet of two", "192.0.2.11/31", addresses{global: true, prefixes: subnet("192.0.2.10/31")}},
		{"a host address is no subnet", "192.0.2.11/32", addresses{global: true, prefixes: nil}},
		{"an IPv6 host address is no subnet", "2001:db8::11/128", addresses{global: true, prefixes: nil}},
		{"link-local addresses don't count", "fe80::1/64", addresses{}},
		{"nor do IPv4 link-local ones", "169.254.0.1/16", addresses{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ip, n, err := net.ParseCIDR(c.addr)
			if err != nil {
				t.Fatal(err)
			}
			var got addresses
			got.add(&net.IPNet{IP: ip, Mask: n.Mask}, 0)
			got.addrs = nil // of TestTheAddressToUse
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(addresses{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

// Of the addresses in a subnet the first counts that others may use.
func TestTheAddressToUse(t *testing.T) {
	var a addresses
	for _, x := range []struct {
		addr  string
		flags int
	}{
		{"192.0.2.9/24", unix.IFA_F_SECONDARY}, {"192.0.2.11/24", unix.IFA_F_PERMANENT}, {"192.0.2.5/24", 0}, {"198.51.100.1/24", 0},
		{"2001:db8::1/64", unix.IFA_F_TEMPORARY}, {"2001:db8::2/64", unix.IFA_F_DEPRECATED}, {"2001:db8::3/64", unix.IFA_F_TENTATIVE},
		{"2001:db8::4/64", unix.IFA_F_DADFAILED}, {"2001:db8::5/64", unix.IFA_F_MANAGETEMPADDR}, {"10.0.0.1/32", 0}, {"fe80::1/64", 0},
	} {
		ip, n, err := net.ParseCIDR(x.addr)
		if err != nil {
			t.Fatal(err)
		}
		a.add(&net.IPNet{IP: ip, Mask: n.Mask}, x.flags)
	}
	if have := fmt.Sprint(a.addrs); have != "[192.0.2.11 198.51.100.1 2001:db8::5]" {
		t.Errorf("have %s", have)
	}
}

func TestLoud(t *testing.T) {
	for _, c := range []struct {
		ignore, announce string
		want             bool
	}{{"0", "0", true}, {"1", "2", false}, {"2", "2", false}, {"1", "0", true}, {"0", "2", true}} {
		if got := ipvsAnswers(c.ignore, c.announce) != ""; got != c.want {
			t.Errorf("arp_ignore %s, arp_announce %s: the kernel answers: %t, want %t", c.ignore, c.announce, got, c.want)
		}
	}
}

func TestShortCutsAreNotTold(t *testing.T) {
	var c Cuts
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after    time.Duration
		up       bool
		reported bool
		within   time.Duration
	}{
		{0, false, false, time.Hour}, // never up yet
		{time.Second, true, true, time.Hour},
		{time.Second, false, true, bounce},
		{bounce - 1, false, true, 1},
		{0, true, true, time.Hour},
		{time.Second, false, true, bounce},
		{bounce, false, false, time.Hour},
		{time.Second, false, false, time.Hour},
		{time.Second, true, true, time.Hour},
	} {
		now = now.Add(step.after)
		links, next := c.Links([]Device{{Link: Link{Name: "eth0", Up: step.up}}}, now)
		if links[0].Up != step.reported || next != step.within {
			t.Errorf("%+v: told %t, next look in %v", step, links[0].Up, next)
		}
	}
	if links, _ := c.Links(nil, now); len(links) != 0 {
		t.Errorf("a removed link is listed: %v", links)
	}
}
