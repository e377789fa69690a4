package failover

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestSegments(t *testing.T) {
	prefixes := func(all ...string) (out []netip.Prefix) {
		for _, p := range all {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	addrs := func(all ...string) (out []netip.Addr) {
		for _, a := range all {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	node := func(name string, links ...[]netip.Prefix) announce.Node {
		n := announce.Node{Name: name}
		for _, l := range links {
			n.Links = append(n.Links, announce.Link{Prefixes: l})
		}
		return n
	}
	const lan, lan6, dmz, dmz6, rack = "192.0.2.0/24", "2001:db8::/64", "198.51.100.0/24", "2001:db8:1::/64", "10.0.0.0/24"
	nodes := []announce.Node{
		node("a", prefixes(lan, lan6), prefixes(dmz, dmz6)), node("b", prefixes(lan, lan6), prefixes(dmz)), node("c", prefixes(lan), prefixes(dmz6, rack)),
		node("d", prefixes(rack)), node("e", prefixes(dmz)),
	}
	members := []membership.Member{
		{Name: "a", Addr: addrs("192.0.2.1")[0]}, {Name: "b", Addr: addrs("192.0.2.2")[0]}, {Name: "c", Addr: addrs("192.0.2.3")[0]},
		{Name: "d", Addr: addrs("10.0.0.4")[0]},
	}
	first := OwnLink{Up: true, Prefixes: prefixes(lan, lan6), Addrs: addrs("192.0.2.1", "2001:db8::1")}
	for _, c := range []struct {
		name string
		own  []OwnLink
		want []membership.Segment
	}{
		{"the subnet of the node addresses is monitored anyway", []OwnLink{{Up: true, Prefixes: prefixes(lan), Addrs: addrs("192.0.2.1")}}, nil},
		{"a second link, by IPv4 alone, with the members only", []OwnLink{{Prefixes: prefixes(dmz, dmz6), Addrs: addrs("198.51.100.1", "2001:db8:1::1")}},
			[]membership.Segment{{Prefix: prefixes(dmz)[0], Addr: addrs("198.51.100.1")[0], Members: []string{"a", "b"}}}},
		{"one with IPv6 alone", []OwnLink{{Up: true, Prefixes: prefixes(dmz6), Addrs: addrs("2001:db8:1::1")}},
			[]membership.Segment{{Prefix: prefixes(dmz6)[0], Addr: addrs("2001:db8:1::1")[0], Up: true, Members: []string{"a", "c"}}}},
		{"the node address of one, and the second link of another", []OwnLink{{Up: true, Prefixes: prefixes(rack), Addrs: addrs("10.0.0.3")}},
			[]membership.Segment{{Prefix: prefixes(rack)[0], Addr: addrs("10.0.0.3")[0], Up: true, Members: []string{"c", "d"}}}},
		{"a subnet without other members", []OwnLink{{Up: true, Prefixes: prefixes("10.9.0.0/24"), Addrs: addrs("10.9.0.1")}}, nil},
		{"of two links in one subnet the one that is up", []OwnLink{
			{Prefixes: prefixes(dmz), Addrs: addrs("198.51.100.1")}, {Up: true, Prefixes: prefixes(dmz), Addrs: addrs("198.51.100.7")},
			{Up: true, Prefixes: prefixes(dmz), Addrs: addrs("198.51.100.8")},
		}, []membership.Segment{{Prefix: prefixes(dmz)[0], Addr: addrs("198.51.100.7")[0], Up: true, Members: []string{"a", "b"}}}},
		{"no address that others may use yet", []OwnLink{{Up: true, Prefixes: prefixes(dmz)}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := append([]OwnLink{first}, c.own...)
			same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
			sameAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			if diff := cmp.Diff(c.want, Segments(own, nodes, members), same, sameAddr); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}

func TestSubnetOf(t *testing.T) {
	link := func(prefixes ...string) announce.Link {
		l := announce.Link{}
		for _, p := range prefixes {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
		}
		return l
	}
	for _, c := range []struct {
		name  string
		links []announce.Link
		addr  string
		want  string // empty: none
	}{
		{"that of a link", []announce.Link{link("192.0.2.0/25"), link("192.0.2.128/25")}, "192.0.2.130", "192.0.2.128/25"},
		{"of its family", []announce.Link{link("192.0.2.0/24", "2001:db8::/64")}, "2001:db8::7", "2001:db8::/64"},
		{"none that it is not in", []announce.Link{link("192.0.2.0/24")}, "198.51.100.1", ""},
		{"none without links", nil, "192.0.2.1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := SubnetOf(c.links, netip.MustParseAddr(c.addr))
			if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}
