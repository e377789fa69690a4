package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Every field of a peer and every attribute of a route, in both families, as FRR's and BIRD's
// own tables show them.

func TestFieldsFRR4(t *testing.T)  { testFields(t, ends4(), startFieldsFRR) }
func TestFieldsFRR6(t *testing.T)  { testFields(t, ends6(), startFieldsFRR) }
func TestFieldsBIRD4(t *testing.T) { testFields(t, ends4(), startFieldsBIRD) }
func TestFieldsBIRD6(t *testing.T) { testFields(t, ends6(), startFieldsBIRD) }

// ends are the addresses of the two sides in one family.
type ends struct {
	family           ipam.Family
	router, lo       string    // the router's, on the cable and behind it
	plain, signed    string    // the node's
	inside, far      string    // far is not on the cable
	net, behind      string    // subnets of the cable and of lo
	beyond, all      string    // the subnet of far, all addresses
	hop              string    // another host
	prefixes, others [4]string // routes of this family and of the other one
}

func ends4() ends {
	return ends{ipam.IPv4, "10.9.0.1", "10.9.8.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.7.1", "10.9.0.3/32", "10.9.8.0/24", "10.9.7.0/24", "0.0.0.0/0", "10.9.0.99",
		[4]string{"198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32", "198.51.100.4/32"}, [4]string{"2001:db8::1/128"}}
}

func ends6() ends {
	return ends{ipam.IPv6, "fd09::1", "fd09:8::1", "fd09::2", "fd09::3", "fd09::4", "fd09:7::1", "fd09::3/128", "fd09:8::/64", "fd09:7::/64", "::/0", "fd09::99",
		[4]string{"2001:db8::1/128", "2001:db8::2/128", "2001:db8::3/128", "2001:db8::4/128"}, [4]string{"198.51.100.1/32"}}
}

// fieldsRouter is a router with a neighbor for each of the node's addresses.
type fieldsRouter interface {
	// has waits until the router has the route as it is wanted.
	has(t *testing.T, want shown)
	// knows waits until the router has agreed to the timers, router ID and restart time of a
	// neighbor.
	knows(t *testing.T, neighbor, address string)
}

// shown is a route in a router's table.
type shown struct {
	neighbor          string
	prefix, hop, path string
	localPref         uint32 // 0: whatever the router chooses
	full              bool   // it has the other attributes that fullRoute has
}

// as is the AS number of the node: that of the router where LOCAL_PREF is shown.
func (s shown) as() int {
	if s.localPref != 0 {
		return 64601
	}
	return 64512
}

func fullRoute(prefix string) announce.Route {
	r := routes(prefix)[0]
	r.LocalPref, r.MED, r.HasMED, r.Prepend, r.Bandwidth = 77, 5, true, 1, 100
	r.Communities, r.Large = []uint32{64512<<16 | 7, 0xFFFFFF01}, []announce.LargeCommunity{{Global: 1, Data1: 2, Data2: 3}}
	return r
}

func testFields(t *testing.T, e ends, start func(*testing.T, ends) fieldsRouter) {
	if !inRack(t) {
		return
	}
	near := os.Getenv(routerNS)
	node := strings.TrimSuffix(near, "router") + "node"
	for _, a := range []string{"fd09::3/64", "fd09::4/64"} {
		addAddr(t, node, a)
	}
	bits := map[ipam.Family]string{ipam.IPv4: "/24", ipam.IPv6: "/64"}[e.family]
	ip(t, "link", "add", "inner", "type", "bridge")
	ip(t, "addr", "add", e.far+bits, "dev", "inner")
	ip(t, "link", "set", "inner", "up")
	ip(t, "route", "add", e.behind, "via", e.router)
	ip(t, "-n", near, "addr", "add", e.lo, "dev", "lo")
	ip(t, "-n", near, "route", "add", e.beyond, "via", e.plain)
	router := start(t, e)
	s, _ := startSessions(t)

	plain, signed, inside, far := peer("plain", e.router), peer("signed", e.router), peer("inside", e.router), peer("far", e.lo)
	plain.PeerASN, plain.ASN = 0, announce.ExternalASN
	plain.SourceAddr, plain.DualStack = netip.MustParseAddr(e.plain), true
	plain.HoldTime, plain.KeepaliveTime, plain.RouterID = 9*time.Second, 3*time.Second, netip.MustParseAddr("10.9.9.9")
	plain.Graceful, plain.RestartTime = true, 300*time.Second
	signed.Password, signed.MinTTL, signed.Source = "right", 255, announce.Source{Prefix: netip.MustParsePrefix(e.net)}
	inside.LocalASN, inside.PeerASN, inside.ASN, inside.SourceAddr = 64601, 0, announce.InternalASN, netip.MustParseAddr(e.inside)
	far.LocalASN, far.MultiHopTTL, far.Source = 64513, 255, announce.Source{Link: "inner"}
	set := func(first announce.Peer) {
		s.Set([]announce.Peering{
			{Peer: first, Routes: append(routes(e.others[0]), fullRoute(e.prefixes[0]))},
			{Peer: signed, Routes: routes(e.prefixes[1])},
			{Peer: inside, Routes: []announce.Route{fullRoute(e.prefixes[2])}},
			{Peer: far, Routes: routes(e.prefixes[3])},
		})
	}
	set(plain)
	router.has(t, shown{neighbor: "plain", prefix: e.prefixes[0], hop: e.plain, path: "64512 64512", full: true})
	router.has(t, shown{neighbor: "signed", prefix: e.prefixes[1], hop: e.signed, path: "64512"})
	router.has(t, shown{neighbor: "inside", prefix: e.prefixes[2], hop: e.inside, localPref: 77, full: true})
	router.has(t, shown{neighbor: "far", prefix: e.prefixes[3], hop: e.far, path: "64513"})
	other := map[ipam.Family]string{ipam.IPv4: "fd09::2", ipam.IPv6: "10.9.0.2"}[e.family]
	router.has(t, shown{neighbor: "plain", prefix: e.others[0], hop: other, path: "64512"})
	router.knows(t, "plain", e.plain)

	// A configured next hop is an UPDATE in the same session.
	before := establish(t, s, "plain")
	if hop := netip.MustParseAddr(e.hop); hop.Is4() {
		plain.NextHopV4 = hop
	} else {
		plain.NextHopV6 = hop
	}
	set(plain)
	router.has(t, shown{neighbor: "plain", prefix: e.prefixes[0], hop: e.hop, path: "64512 64512", full: true})
	if got := establish(t, s, "plain"); !got.Since.Equal(before.Since) {
		t.Errorf("the session was reset: %+v", got)
	}

	// The router as the gateway of the default route.
	ip(t, "route", "add", e.all, "via", e.router)
	gate := plain
	gate.Name, gate.Addr, gate.Gateway = "gate", netip.Addr{}, announce.Gateway{Family: e.family}
	gate.NextHopV4, gate.NextHopV6 = netip.Addr{}, netip.Addr{}
	set(gate)
	router.has(t, shown{neighbor: "plain", prefix: e.prefixes[0], hop: e.plain, path: "64512 64512", full: true})
	if got := establish(t, s, "gate"); got.Addr != netip.MustParseAddr(e.router) {
		t.Errorf("%+v", got)
	}
}

// fieldsFRR is FRR as a fieldsRouter.
type fieldsFRR struct{ frr }

func startFieldsFRR(t *testing.T, e ends) fieldsRouter {
	config := frrHead
	for _, n := range []string{e.plain, e.signed, e.inside, e.far} {
		as := map[string]int{e.inside: 64601, e.far: 64513}[n]
		config += fmt.Sprintf(" neighbor %s remote-as %d\n neighbor %[1]s passive\n", n, max(as, 64512))
	}
	config += fmt.Sprintf(" neighbor %s password right\n neighbor %[1]s ttl-security hops 1\n neighbor %s ebgp-multihop 2\n neighbor %[2]s update-source %s\n", e.signed, e.far, e.lo)
	return fieldsFRR{startFRR(t, os.Getenv(routerNS), config+activate(e.plain, e.signed, e.inside, e.far), "")}
}

func (f fieldsFRR) has(t *testing.T, want shown) {
	t.Helper()
	family := "ipv4"
	if strings.Contains(want.prefix, ":") {
		family = "ipv6"
	}
	if want.path == "" {
		want.path = "Local"
	}
	eventually(t, fmt.Sprintf("%+v", want), func() error {
		text, err := f.ask("show bgp " + family + " unicast " + want.prefix + " json")
		if err != nil {
			return err
		}
		var out struct{ Paths []path }
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			return err
		}
		if len(out.Paths) != 1 || len(out.Paths[0].Nexthops) == 0 {
			return fmt.Errorf("in\n%s", text)
		}
		p := out.Paths[0]
		attributes := p.Metric == 5 && p.Community.String == "64512:7 no-export" && p.Large.String == "1:2:3" &&
			p.Extended.String == fmt.Sprintf("LB:%d:12500000 (100.000 Mbps)", want.as())
		if p.Nexthops[0].IP != want.hop || p.ASPath.String != want.path || want.localPref != 0 && p.LocPrf != want.localPref || want.full && !attributes {
			return fmt.Errorf("in\n%s", text)
		}
		return nil
	})
}

func (f fieldsFRR) knows(t *testing.T, _, address string) {
	t.Helper()
	for _, words := range []string{"Hold time is 9 seconds, keepalive interval is 3 seconds", "remote router ID 10.9.9.9", "Received Restart Time(sec): 300"} {
		f.says(t, "show bgp neighbors "+address, words)
	}
}

// fieldsBIRD is BIRD as a fieldsRouter.
type fieldsBIRD struct{ *bird }

func startFieldsBIRD(t *testing.T, e ends) fieldsRouter {
	config := ""
	for _, n := range []struct {
		name, local, address string
		as                   int
		options              string
	}{
		{"plain", e.router, e.plain, 64512, ""},
		{"signed", e.router, e.signed, 64512, `password "right"; ttl security on;`},
		{"inside", e.router, e.inside, 64601, "direct;"},
		{"far", e.lo, e.far, 64513, "multihop 2;"},
	} {
		config += fmt.Sprintf("protocol bgp %s { local %s as 64601; neighbor %s as %d; passive; %s\n  ipv4 { import all; export none; };\n  ipv6 { import all; export none; };\n}\n", n.name, n.local, n.address, n.as, n.options)
	}
	return fieldsBIRD{startBird(t, config)}
}

func (b fieldsBIRD) has(t *testing.T, want shown) {
	t.Helper()
	lines := []string{"BGP.next_hop: " + want.hop, "BGP.as_path: " + want.path + "\n", "BGP.origin: IGP"}
	if want.localPref != 0 {
		lines = append(lines, fmt.Sprintf("BGP.local_pref: %d\n", want.localPref))
	}
	if want.full {
		lines = append(lines, "BGP.med: 5\n", "BGP.community: (64512,7) (65535,65281)", "BGP.large_community: (1, 2, 3)", fmt.Sprintf("BGP.ext_community: (unknown 0x4004, %d, 1262402592)", want.as()))
	}
	b.shows(t, want.neighbor, want.prefix, lines...)
}

func (b fieldsBIRD) knows(t *testing.T, neighbor, _ string) {
	t.Helper()
	for _, words := range []string{"/9\n", "/3\n", "Neighbor ID:      10.9.9.9", "Restart time: 300"} {
		b.says(t, neighbor, words)
	}
}
