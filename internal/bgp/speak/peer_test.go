package speak

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestASNRules(t *testing.T) {
	const local = 64512
	for _, c := range []struct {
		name    string
		peerASN uint32
		rule    announce.ASNRule
		ask     uint32 // of the server
		prepend uint32
		seen    uint32
		allowed bool
	}{
		{"a configured number is asked for", 64601, "", 64601, local, 64601, true},
		{"a configured number that is ours makes an internal peer", local, "", local, 0, local, true},
		{"a configured number outdoes the rule", local, announce.ExternalASN, local, 0, local, true},
		{"internal asks for ours", 0, announce.InternalASN, local, 0, local, true},
		{"external asks for any", 0, announce.ExternalASN, 0, local, 64601, true},
		{"external is content before the OPEN", 0, announce.ExternalASN, 0, local, 0, true},
		{"external refuses ours", 0, announce.ExternalASN, 0, local, local, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{LocalASN: local, PeerASN: c.peerASN, ASN: c.rule}
			if got := peerASN(p); got != c.ask {
				t.Errorf("asks for %d, want %d", got, c.ask)
			}
			if got := prependASN(p); got != c.prepend {
				t.Errorf("prepends %d, want %d", got, c.prepend)
			}
			if got := ASNAllowed(p, c.seen); got != c.allowed {
				t.Errorf("allowed: %t, want %t", got, c.allowed)
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
		name     string
		peer     announce.Peer
		fallback netip.Addr
		want     netip.Addr
	}{
		{"the peer's own comes first", announce.Peer{RouterID: id("192.0.2.1"), SourceAddr: id("192.0.2.3")}, id("192.0.2.2"), id("192.0.2.1")},
		{"then the fallback", announce.Peer{SourceAddr: id("192.0.2.3")}, id("192.0.2.2"), id("192.0.2.2")},
		{"then the source address", announce.Peer{SourceAddr: id("192.0.2.3")}, netip.Addr{}, id("192.0.2.3")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := RouterID(c.peer, c.fallback); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	t.Run("then a hash, the same each time and never zero", func(t *testing.T) {
		a, b := RouterID(announce.Peer{}, netip.Addr{}), RouterID(announce.Peer{SourceAddr: id("fd09::2")}, netip.Addr{})
		if a != b || !a.Is4() || a.IsUnspecified() {
			t.Errorf("%s and %s", a, b)
		}
	})
}

func afiSafi(f *api.Family) *api.AfiSafi {
	return &api.AfiSafi{
		Config:       &api.AfiSafiConfig{Family: f, Enabled: true},
		PrefixLimits: &api.PrefixLimit{Family: f, MaxPrefixes: maxReceived},
	}
}

func TestPeerConfig(t *testing.T) {
	want := func(change func(*api.Peer)) *api.Peer {
		p := &api.Peer{
			Conf:      &api.PeerConf{NeighborAddress: "192.0.2.1", PeerAsn: 64601},
			Timers:    &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1, HoldTime: 90}},
			Transport: &api.Transport{LocalAddress: "0.0.0.0"},
			AfiSafis:  []*api.AfiSafi{afiSafi(ipv4())},
		}
		change(p)
		return p
	}
	for _, c := range []struct {
		name   string
		change func(*announce.Peer)
		want   *api.Peer
	}{
		{"defaults: 90 s to hold, 1 to 2 s to retry", func(*announce.Peer) {}, want(func(*api.Peer) {})},
		{"times are rounded up to seconds", func(p *announce.Peer) {
			p.HoldTime, p.KeepaliveTime, p.ConnectTime = 8500*time.Millisecond, time.Millisecond, 5100*time.Millisecond
		}, want(func(p *api.Peer) {
			p.Timers.Config = &api.TimersConfig{ConnectRetry: 3, HoldTime: 9, KeepaliveInterval: 1}
		})},
		{"port, source address and password (RFC 2385)", func(p *announce.Peer) {
			p.Port, p.SourceAddr, p.Password = 1179, netip.MustParseAddr("192.0.2.2"), "x"
		}, want(func(p *api.Peer) {
			p.Transport = &api.Transport{RemotePort: 1179, LocalAddress: "192.0.2.2"}
			p.Conf.AuthPassword = "x"
		})},
		{"several hops", func(p *announce.Peer) { p.MultiHopTTL = 3 }, want(func(p *api.Peer) {
			p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: 3}
		})},
		{"GTSM (RFC 5082)", func(p *announce.Peer) { p.MinTTL = 255 }, want(func(p *api.Peer) {
			p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255}
		})},
		{"both families (RFC 4760)", func(p *announce.Peer) { p.DualStack = true }, want(func(p *api.Peer) {
			p.AfiSafis = append(p.AfiSafis, afiSafi(ipv6()))
		})},
		{"an IPv6 session carries IPv6 from any address", func(p *announce.Peer) { p.Addr = netip.MustParseAddr("fe80::1%eth0") }, want(func(p *api.Peer) {
			p.Conf.NeighborAddress, p.Transport.LocalAddress = "fe80::1%eth0", "::"
			p.AfiSafis[0] = afiSafi(ipv6())
		})},
		{"a device to bind to", func(p *announce.Peer) { p.Device = "blue" }, want(func(p *api.Peer) {
			p.Transport.BindInterface = "blue"
		})},
		{"graceful restart (RFC 4724 3): every OPEN says that forwarding has gone on", func(p *announce.Peer) { p.Graceful = true }, want(func(p *api.Peer) {
			p.GracefulRestart = &api.GracefulRestart{Enabled: true, RestartTime: 120, DeferralTime: 1, LocalRestarting: true}
			p.AfiSafis[0].MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{Addr: netip.MustParseAddr("192.0.2.1"), LocalASN: 64512, PeerASN: 64601}
			c.change(&p)
			if d := cmp.Diff(c.want, peerConfig(p), protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTerms(t *testing.T) {
	cap := func(m proto.Message) *anypb.Any {
		out, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	four, six := cap(&api.MultiProtocolCapability{Family: ipv4()}), cap(&api.MultiProtocolCapability{Family: ipv6()})
	vpn := cap(&api.MultiProtocolCapability{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_MPLS_VPN}})
	extended := func(hop *api.Family) *anypb.Any {
		return cap(&api.ExtendedNexthopCapability{Tuples: []*api.ExtendedNexthopCapabilityTuple{{NlriFamily: ipv4(), NexthopFamily: hop}}})
	}
	for _, c := range []struct {
		name string
		caps []*anypb.Any
		want Terms
	}{
		{"nothing was heard", nil, Terms{}},
		{"families are told apart (RFC 4760 8)", []*anypb.Any{four, six}, Terms{Heard: true, IPv4: true, IPv6: true}},
		{"a family of another kind is none of ours", []*anypb.Any{vpn, six}, Terms{Heard: true, IPv6: true}},
		{"an IPv6 next hop for IPv4 (RFC 8950 4)", []*anypb.Any{four, extended(ipv6())}, Terms{Heard: true, IPv4: true, Extended: true}},
		{"an IPv4 next hop is nothing new", []*anypb.Any{four, extended(ipv4())}, Terms{Heard: true, IPv4: true}},
		{"what can't be read is left out", []*anypb.Any{four, {TypeUrl: "unknown"}}, Terms{Heard: true, IPv4: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, termsOf(&api.Peer{State: &api.PeerState{RemoteCap: c.caps}})); d != "" {
				t.Error(d)
			}
		})
	}
	timers := &api.Timers{State: &api.TimersState{NegotiatedHoldTime: 9}}
	if got := termsOf(&api.Peer{Timers: timers}).HoldTime; got != 9*time.Second {
		t.Errorf("hold time %s", got)
	}
}
