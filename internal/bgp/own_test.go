package bgp

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestRanks(t *testing.T) {
	for _, c := range []struct {
		name  string
		addr  string
		host  bool
		flags int
		want  rank
	}{
		{"an address that is there to stay", "192.0.2.11", false, unix.IFA_F_PERMANENT, lasting},
		{"a second one of the subnet, or a temporary one", "192.0.2.12", false, unix.IFA_F_SECONDARY, passing},
		{"a deprecated one", "2001:db8::1", false, unix.IFA_F_DEPRECATED, passing},
		{"one that is not tried yet", "2001:db8::1", false, unix.IFA_F_TENTATIVE, passing},
		{"one without a subnet", "192.0.2.100", true, unix.IFA_F_PERMANENT, alone},
		{"a link-local one", "fe80::1", false, unix.IFA_F_PERMANENT, local},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rankOf(netip.MustParseAddr(c.addr), c.host, c.flags); got != c.want {
				t.Errorf("rank %d, want %d", got, c.want)
			}
		})
	}
}

// own lists addresses as ownAddresses does: the best first.
func own(addrs ...string) (out []ownAddress) {
	for _, a := range addrs {
		text, link, _ := strings.Cut(a, "%")
		addr := netip.MustParseAddr(text)
		o := ownAddress{addr, link, lasting}
		if addr.IsLinkLocalUnicast() {
			o.rank = local
		}
		out = append(out, o)
	}
	return out
}

func TestPickOther(t *testing.T) {
	all := []ownAddress{
		{netip.MustParseAddr("192.0.2.2"), "eth0", lasting}, {netip.MustParseAddr("fd09::2"), "eth0", lasting}, {netip.MustParseAddr("fd09::3"), "eth0", lasting},
		{netip.MustParseAddr("fd08::1"), "eth1", lasting}, {netip.MustParseAddr("192.0.2.100"), "eth0", alone}, {netip.MustParseAddr("fe80::2"), "eth0", local},
	}
	node6 := netip.MustParseAddr("fd09::3")
	for _, c := range []struct {
		name    string
		own     []ownAddress
		session string
		node    netip.Addr
		want    string
	}{
		{"an IPv4 session takes the best IPv6 address of its link", all, "192.0.2.2", netip.Addr{}, "fd09::2"},
		{"the Node's own goes first", all, "192.0.2.2", node6, "fd09::3"},
		{"one that is on no link of the session does not", all, "192.0.2.2", netip.MustParseAddr("fd08::1"), "fd09::2"},
		{"an IPv6 session takes the IPv4 address that is there to stay", all, "fd09::2", netip.Addr{}, "192.0.2.2"},
		{"a virtual address where there is no other", all[4:], "fd09::2", netip.Addr{}, "192.0.2.100"},
		{"never a link-local one", all[4:], "192.0.2.100", netip.Addr{}, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pickOther(c.own, "eth0", netip.MustParseAddr(c.session), announce.Peer{NodeV6: c.node}); got.String() != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestSourceOf(t *testing.T) {
	all := own("192.0.2.2%eth0", "198.51.100.2%eth1", "2001:db8::2%eth1", "fe80::2%eth0", "fe80::3%eth1")
	for _, c := range []struct{ name, router, link, prefix, want string }{
		{"the first of a link", "203.0.113.1", "eth1", "", "198.51.100.2"},
		{"of the router's family", "2001:db8::1", "eth1", "", "2001:db8::2"},
		{"the first in a subnet", "203.0.113.1", "", "198.51.100.0/24", "198.51.100.2"},
		{"both must fit", "203.0.113.1", "eth0", "198.51.100.0/24", "this node has no address of IPv4 on eth0 in 198.51.100.0/24 for the session"},
		{"none is there", "2001:db8::1", "eth0", "", "this node has no address of IPv6 on eth0 for the session"},
		{"a link-local router is reached from a link-local address", "fe80::1%eth1", "eth1", "fe80::/64", "fe80::3%eth1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{Addr: netip.MustParseAddr(c.router), Source: announce.Source{Link: c.link}}
			if c.prefix != "" {
				p.Source.Prefix = netip.MustParsePrefix(c.prefix)
			}
			got, err := sourceOf(p, all)
			if text := got.String(); err == nil && text != c.want || err != nil && err.Error() != c.want {
				t.Errorf("got %s, %v", text, err)
			}
		})
	}
}
