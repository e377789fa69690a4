package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

var fourByte = Capabilities{Heard: true, IPv4: true, IPv6: true, Extended: true, FourByte: true}

// decoded reads UPDATEs with another's eyes: one line for each.
func decoded(t *testing.T, messages [][]byte, opts ...*bgp.MarshallingOption) []string {
	t.Helper()
	var out []string
	for _, b := range messages {
		if len(b) > maxLength {
			t.Errorf("a message of %d bytes", len(b))
		}
		m, err := bgp.ParseBGPMessage(b, opts...)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		u := m.Body.(*bgp.BGPUpdate)
		var parts []string
		for _, a := range u.PathAttributes {
			text := a.String()
			if reach, ok := a.(*bgp.PathAttributeMpReachNLRI); ok {
				text = fmt.Sprintf("{MpReach %s via %s}", nlris(reach.Value), reach.Nexthop)
			}
			if gone, ok := a.(*bgp.PathAttributeMpUnreachNLRI); ok {
				text = fmt.Sprintf("{MpUnreach %s}", nlris(gone.Value))
			}
			parts = append(parts, text)
		}
		if len(u.NLRI) > 0 {
			parts = append(parts, "NLRI "+nlris(u.NLRI))
		}
		if len(u.WithdrawnRoutes) > 0 {
			parts = append(parts, "withdraws "+nlris(u.WithdrawnRoutes))
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

func nlris(list []bgp.PathNLRI) string {
	var out []string
	for _, n := range list {
		out = append(out, n.NLRI.String())
	}
	return strings.Join(out, ",")
}

func TestUpdates(t *testing.T) {
	p4, p6 := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("2001:db8::1/128")
	self4, self6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	local4, local6 := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")
	external4 := encoder{local: local4, asn: 64512, capabilities: fourByte}
	external6, internal := external4, external4
	external6.local, internal.internal = local6, true
	two := external4
	two.capabilities.FourByte = false
	large := two
	large.asn = 4200000000
	route := func(p netip.Prefix, change func(*announce.Route)) announce.Route {
		r := announce.Route{Prefix: p}
		if change != nil {
			change(&r)
		}
		return r
	}
	for _, c := range []struct {
		name string
		enc  encoder
		hop  netip.Addr
		r    announce.Route
		want string
	}{
		{"a plain route (RFC 4271 5.1)", external4, self4, route(p4, nil), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} NLRI 198.51.100.1/32"},
		{"a next hop that is named (RFC 4271 5.1.3)", external4, netip.MustParseAddr("10.9.0.3"), route(p4, nil), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.3} NLRI 198.51.100.1/32"},
		{"prepending repeats the local AS number (5.1.2)", external4, self4, route(p4, func(r *announce.Route) { r.Prepend = 2 }), "{Origin: i} {AsPath: 64512 64512 64512} {Nexthop: 10.9.0.2} NLRI 198.51.100.1/32"},
		{"an internal peer gets no AS number, and LOCAL_PREF (5.1.2, 5.1.5)", internal, self4, route(p4, func(r *announce.Route) { r.Prepend = 2 }), "{Origin: i} {AsPath: } {Nexthop: 10.9.0.2} {LocalPref: 100} NLRI 198.51.100.1/32"},
		{"of the route, if it has one", internal, self4, route(p4, func(r *announce.Route) { r.LocalPref = 200 }), "{Origin: i} {AsPath: } {Nexthop: 10.9.0.2} {LocalPref: 200} NLRI 198.51.100.1/32"},
		{"an external one must not see it", external4, self4, route(p4, func(r *announce.Route) { r.LocalPref = 200 }), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} NLRI 198.51.100.1/32"},
		{"a MED of 0 is sent if there is one (5.1.4)", external4, self4, route(p4, func(r *announce.Route) { r.HasMED = true }), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} {Med: 0} NLRI 198.51.100.1/32"},
		{"a MED without HasMED is not", external4, self4, route(p4, func(r *announce.Route) { r.MED = 5 }), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} NLRI 198.51.100.1/32"},
		{"communities (RFC 1997)", external4, self4, route(p4, func(r *announce.Route) { r.Communities = []uint32{64512<<16 | 7} }), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} {Communities: 64512:7} NLRI 198.51.100.1/32"},
		{"large communities (RFC 8092)", external4, self4, route(p4, func(r *announce.Route) { r.Large = []announce.LargeCommunity{{Global: 1, Data1: 2, Data2: 3}} }), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} {LargeCommunity: [ 1:2:3]} NLRI 198.51.100.1/32"},
		{"a route that will be withdrawn is the last choice (RFC 8326)", internal, self4, route(p4, func(r *announce.Route) { r.Leaving, r.LocalPref = true, 200 }), "{Origin: i} {AsPath: } {Nexthop: 10.9.0.2} {LocalPref: 0} {Communities: planned-shut} NLRI 198.51.100.1/32"},
		{"IPv6 (RFC 4760)", external6, self6, route(p6, nil), "{Origin: i} {AsPath: 64512} {MpReach 2001:db8::1/128 via fd09::2}"},
		{"IPv4 with an IPv6 next hop (RFC 8950)", external6, self6, route(p4, nil), "{Origin: i} {AsPath: 64512} {MpReach 198.51.100.1/32 via fd09::2}"},
		{"a peer of two-byte AS numbers (RFC 6793)", two, self4, route(p4, nil), "{Origin: i} {AsPath: 64512} {Nexthop: 10.9.0.2} NLRI 198.51.100.1/32"},
		{"and an AS number that it can't know", large, self4, route(p4, func(r *announce.Route) { r.Prepend = 1 }), "{Origin: i} {AsPath: 23456 23456} {Nexthop: 10.9.0.2} 4200000000 4200000000 NLRI 198.51.100.1/32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			messages, err := c.enc.updates([]Change{{Path: Path{Route: c.r, NextHop: c.hop}}})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{c.want}, decoded(t, messages, &bgp.MarshallingOption{Use2ByteAS: !c.enc.capabilities.FourByte})); d != "" {
				t.Error(d)
			}
		})
	}
}

// As few messages as possible, none longer than it may be, and nothing lost.
func TestManyRoutesShareMessages(t *testing.T) {
	enc := encoder{local: netip.MustParseAddr("10.9.0.2"), asn: 64512, capabilities: fourByte}
	for _, c := range []struct {
		name   string
		six    bool
		colors int // attributes that differ
		most   int // messages
	}{{"IPv4", false, 1, 13}, {"IPv4 of three kinds, mixed", false, 3, 15}, {"IPv6", true, 1, 43}} {
		t.Run(c.name, func(t *testing.T) {
			var add, gone []Change
			want := map[string]bool{}
			for i := range 10_000 {
				a, hop := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), netip.IPv4Unspecified()
				if c.six {
					a, hop = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)}), netip.MustParseAddr("fd09::2")
				}
				r := announce.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), HasMED: true, MED: uint32(i % c.colors)}
				add = append(add, Change{Path: Path{Route: r, NextHop: hop}})
				gone = append(gone, Change{Path: Path{Route: r, NextHop: hop}, Withdraw: true})
				want[r.Prefix.String()] = true
			}
			for _, changes := range [][]Change{add, gone} {
				messages, err := enc.updates(changes)
				if err != nil {
					t.Fatal(err)
				}
				if len(messages) > c.most {
					t.Errorf("%d messages, want at most %d", len(messages), c.most)
				}
				all := strings.Join(decoded(t, messages), " ")
				have := map[string]bool{}
				for _, word := range strings.FieldsFunc(all, func(r rune) bool { return r == ' ' || r == ',' || r == '}' }) {
					if strings.Contains(word, "/") {
						have[word] = true
					}
				}
				if d := cmp.Diff(want, have); d != "" {
					t.Error(d)
				}
			}
		})
	}
	route := announce.Route{Prefix: netip.MustParsePrefix("198.51.100.1/32"), Communities: slices.Repeat([]uint32{1}, 1100)}
	if _, err := enc.updates([]Change{{Path: Path{Route: route, NextHop: netip.IPv4Unspecified()}}}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("attributes that fill a message: %v", err)
	}
}

func TestOurOpen(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*announce.Peer)
		want   string
	}{
		{"a plain peer", func(*announce.Peer) {}, "as 64512, hold 90, capabilities 2 1:ipv4-unicast 5 65:64512"},
		{"an IPv6 one", func(p *announce.Peer) { p.Addr = netip.MustParseAddr("fd09::1") }, "as 64512, hold 90, capabilities 2 1:ipv6-unicast 65:64512"},
		{"both families", func(p *announce.Peer) { p.DualStack = true }, "as 64512, hold 90, capabilities 2 1:ipv4-unicast 1:ipv6-unicast 5 65:64512"},
		{"a long AS number (RFC 6793)", func(p *announce.Peer) { p.LocalASN = 4200000000 }, "as 23456, hold 90, capabilities 2 1:ipv4-unicast 5 65:4200000000"},
		{"times are rounded up to seconds", func(p *announce.Peer) { p.HoldTime = 8500e6 }, "as 64512, hold 9, capabilities 2 1:ipv4-unicast 5 65:64512"},
		{"graceful restart (RFC 4724 3): every OPEN says that forwarding has gone on", func(p *announce.Peer) { p.Graceful = true },
			`as 64512, hold 90, capabilities 2 1:ipv4-unicast 5 65:64512 64:8 120 ipv4-unicast 128`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{Addr: netip.MustParseAddr("192.0.2.1"), LocalASN: 64512}
			c.change(&p)
			b, err := ourOpen(p, netip.MustParseAddr("10.0.0.1"))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, openText(t, b)); d != "" {
				t.Error(d)
			}
		})
	}
}

func openText(t *testing.T, b []byte) string {
	t.Helper()
	m, err := bgp.ParseBGPMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	o := m.Body.(*bgp.BGPOpen)
	out := fmt.Sprintf("as %d, hold %d, capabilities", o.MyAS, o.HoldTime)
	for _, param := range o.OptParams {
		for _, c := range param.(*bgp.OptionParameterCapability).Capability {
			out += fmt.Sprintf(" %d", c.Code())
			switch c := c.(type) {
			case *bgp.CapMultiProtocol:
				out += ":" + c.CapValue.String()
			case *bgp.CapFourOctetASNumber:
				out += fmt.Sprintf(":%d", c.CapValue)
			case *bgp.CapGracefulRestart:
				out += fmt.Sprintf(":%d %d", c.Flags, c.Time)
				for _, tuple := range c.Tuples {
					out += fmt.Sprintf(" %s %d", bgp.NewFamily(tuple.AFI, tuple.SAFI), tuple.Flags)
				}
			}
		}
	}
	return out
}
