package fsm

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// RFC 4271 section 6.2: what OPEN is acceptable.
func TestRefusal(t *testing.T) {
	const local = 64512
	ours := netip.MustParseAddr("192.0.2.2")
	for _, c := range []struct {
		name    string
		peerASN uint32
		rule    announce.ASNRule
		change  func(*open)
		want    string // "": accepted
	}{
		{"the number that is configured", 64601, "", nil, ""},
		{"another one", 64602, "", nil, "is 64601, not 64602"},
		{"ours makes an internal peer", local, "", func(o *open) { o.asn = local }, ""},
		{"a configured number supersedes the rule", local, announce.ExternalASN, func(o *open) { o.asn = local }, ""},
		{"internal asks for ours", 0, announce.InternalASN, nil, "is 64601, not 64512"},
		{"external takes any", 0, announce.ExternalASN, nil, ""},
		{"but ours", 0, announce.ExternalASN, func(o *open) { o.asn = local }, "must be external"},
		{"no number at all (RFC 7607)", 0, announce.ExternalASN, func(o *open) { o.asn = 0 }, "is 0"},
		{"no identifier", 64601, "", func(o *open) { o.id = 0 }, "bad BGP identifier"},
		{"an internal peer with our identifier (RFC 6286)", local, "", func(o *open) { o.asn, o.id = local, 0xc0000202 }, "bad BGP identifier"},
		{"an external peer with our identifier", 64601, "", func(o *open) { o.id = 0xc0000202 }, ""},
		{"a hold time of none", 64601, "", func(o *open) { o.HoldTime = 0 }, "hold time of 0"},
		{"a hold time below the minimum", 64601, "", func(o *open) { o.HoldTime = 2 * time.Second }, "the least is 3s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := open{asn: 64601, id: 1, Capabilities: Capabilities{HoldTime: 90 * time.Second}}
			if c.change != nil {
				c.change(&o)
			}
			bad := refusal(announce.Peer{LocalASN: local, PeerASN: c.peerASN, ASN: c.rule}, ours, o)
			switch {
			case bad == nil && c.want != "":
				t.Error("accepted")
			case bad != nil && (c.want == "" || !strings.Contains(bad.Error(), c.want)):
				t.Errorf("refused: %v", bad)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*announce.Peer)
		want   string // "": accepted
	}{
		{"a plain peer is accepted", func(*announce.Peer) {}, ""},
		{"a password of 80 bytes is accepted", func(p *announce.Peer) { p.Password = strings.Repeat("x", 80) }, ""},
		{"a password of 81 bytes is refused", func(p *announce.Peer) { p.Password = strings.Repeat("x", 81) }, "81 bytes"},
		{"a password with a link-local address is refused", func(p *announce.Peer) {
			p.Password, p.Addr = "x", netip.MustParseAddr("fe80::1%eth0")
		}, "link-local"},
		{"no address is refused", func(p *announce.Peer) { p.Addr = netip.Addr{} }, "no address"},
		{"AS 0 is refused (RFC 7607)", func(p *announce.Peer) { p.LocalASN = 0 }, "RFC 7607"},
		{"a hold time of 3 s is accepted (RFC 4271 4.2)", func(p *announce.Peer) { p.HoldTime = 3 * time.Second }, ""},
		{"a hold time of 2 s is refused (RFC 4271 4.2)", func(p *announce.Peer) { p.HoldTime = 2 * time.Second }, "the least is 3s"},
		{"a hold time beyond 16 bits is refused (RFC 4271 4.2)", func(p *announce.Peer) { p.HoldTime = 65536 * time.Second }, "the most"},
		{"a source address of the other family is refused", func(p *announce.Peer) { p.SourceAddr = netip.MustParseAddr("fd09::2") }, "families"},
		{"an IPv6 router ID is refused", func(p *announce.Peer) { p.RouterID = netip.MustParseAddr("fd09::2") }, "router ID"},
		{"multi-hop with GTSM is refused", func(p *announce.Peer) { p.MultiHopTTL, p.MinTTL = 2, 255 }, "exclude"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{Addr: netip.MustParseAddr("192.0.2.1"), LocalASN: 64512}
			c.change(&p)
			err := Check(p)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRouterID(t *testing.T) {
	id := netip.MustParseAddr
	for _, c := range []struct {
		name string
		peer announce.Peer
		want netip.Addr
	}{
		{"the peer's own comes first", announce.Peer{RouterID: id("192.0.2.1"), SourceAddr: id("192.0.2.3")}, id("192.0.2.1")},
		{"then the source address", announce.Peer{SourceAddr: id("192.0.2.3")}, id("192.0.2.3")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := RouterID(c.peer, "node1"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	t.Run("then a hash, the same each time and always of a host", func(t *testing.T) {
		for i := range 100000 {
			node := fmt.Sprint("node", i)
			a, b := RouterID(announce.Peer{}, node), RouterID(announce.Peer{SourceAddr: id("fd09::2")}, node)
			if first := a.As4()[0]; a != b || first == 0 || a.IsLoopback() || first >= 224 {
				t.Fatalf("%s: %s and %s", node, a, b)
			}
		}
	})
}
