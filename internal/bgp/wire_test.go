package bgp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Three external peers on one router, and an internal one. Their neighbors
// differ since BIRD serves one protocol for each neighbor's address at a time.
const birdFour = `
ipv4 table t11;
ipv4 table t12;
protocol bgp r4 {
  local 10.9.0.1 as 64601; neighbor 10.9.0.2 as 64512; strict bind; passive;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
protocol bgp r6 {
  local fd09::1 as 64601; neighbor fd09::2 as 64512; strict bind; passive;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
protocol bgp signed {
  local 10.9.0.11 as 64601; neighbor 10.9.0.3 as 64512; strict bind; passive; password "right"; ttl security on;
  ipv4 { table t11; import all; export none; };
}
protocol bgp inside {
  local 10.9.0.12 as 64512; neighbor 10.9.0.4 as 64512; strict bind; passive;
  ipv4 { table t12; import all; export none; };
}
`

func TestRoutesReachTheRouterWithTheirAttributes(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	r := announce.Route{
		Prefix: routes("198.51.100.1/32")[0].Prefix, LocalPref: 77, MED: 0, HasMED: true, Prepend: 2, Bandwidth: 100,
		Communities: []uint32{64512<<16 | 7, 0xFFFF0000}, Large: []announce.LargeCommunity{{Global: 64512, Data1: 1, Data2: 2}},
	}
	six := routes("2001:db8::1/128")[0]
	six.Bandwidth = announce.MaxBandwidth
	dual4, dual6, md5, inside := peer("dual4", "10.9.0.1"), peer("dual6", "fd09::1"), peer("md5", "10.9.0.11"), peer("inside", "10.9.0.12")
	dual4.DualStack, dual6.DualStack = true, true
	md5.Password, md5.MinTTL = "right", 255
	md5.SourceAddr, inside.SourceAddr = netip.MustParseAddr("10.9.0.3"), netip.MustParseAddr("10.9.0.4")
	inside.PeerASN, inside.ASN = 0, announce.InternalASN
	both := []announce.Route{r, six}
	s.Set([]announce.Peering{
		{Peer: dual4, Routes: both}, {Peer: dual6, Routes: both}, {Peer: md5, Routes: both}, {Peer: inside, Routes: both},
	})

	attrs := []string{"BGP.med: 0", "BGP.community: (64512,7) (65535,0)", "BGP.large_community: (64512, 1, 2)", "BGP.origin: IGP",
		"BGP.ext_community: (unknown 0x4004, 64512, 1262402592)"} // 12,500,000 as a float
	external := append([]string{"BGP.as_path: 64512 64512 64512\n"}, attrs...)
	router.shows(t, "r4", "198.51.100.1/32", append(external, "BGP.next_hop: 10.9.0.2\n")...)
	router.shows(t, "r4", "2001:db8::1/128", "BGP.as_path: 64512\n", "BGP.next_hop: fd09::2")
	router.shows(t, "r6", "198.51.100.1/32", append(external, "BGP.next_hop: 10.9.0.2\n")...)
	router.shows(t, "r6", "2001:db8::1/128", "BGP.next_hop: fd09::2", "BGP.ext_community: (unknown 0x4004, 64512, 1331659894)")
	for _, where := range []struct {
		table, protocol string
		lines           []string
	}{
		{"t11", "signed", external},
		{"t12", "inside", append([]string{"BGP.as_path: \n", "BGP.local_pref: 77"}, attrs...)},
	} {
		router.showsIn(t, where.table, where.protocol, "198.51.100.1/32", where.lines...)
	}
	if got := establish(t, s, "md5").Advertised; got != 1 {
		t.Errorf("a session of one family advertises %d routes, want 1: no IPv6 route on it", got)
	}
	if got := establish(t, s, "dual4").Advertised; got != 2 {
		t.Errorf("a dual-stack session advertises %d routes, want 2", got)
	}
	var names []string
	for _, st := range s.States() {
		names = append(names, st.Peer)
		if st.LastError != "" {
			t.Errorf("%s: last error %q", st.Peer, st.LastError)
		}
	}
	if d := cmp.Diff([]string{"dual4", "dual6", "inside", "md5"}, names); d != "" {
		t.Error("States is not sorted:", d)
	}
}

func TestChangedRoutesDoNotTouchTheSession(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, stop := startSessions(t)
	p := peer("p", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "198.51.100.2/32")}})
	before := establish(t, s, "p")
	router.counts(t, "r4", 2)
	updates := router.updates(t, "r4")

	changed := routes("198.51.100.2/32", "198.51.100.3/32")
	changed[0].Communities = []uint32{64512<<16 | 9}
	s.Set([]announce.Peering{{Peer: p, Routes: changed}})
	router.shows(t, "r4", "198.51.100.2/32", "BGP.community: (64512,9)")
	router.shows(t, "r4", "198.51.100.3/32")
	router.counts(t, "r4", 2)
	after := establish(t, s, "p")
	if !after.Since.Equal(before.Since) {
		t.Errorf("established since %s, before the change since %s", after.Since, before.Since)
	}

	// The same again sends nothing: a further change arrives as exactly one more update.
	got := router.updates(t, "r4")
	if want := updates + 2; got != want {
		t.Errorf("%d updates, want %d", got, want)
	}
	s.Set([]announce.Peering{{Peer: p, Routes: changed}})
	s.Set([]announce.Peering{{Peer: p, Routes: changed}})
	s.Set([]announce.Peering{{Peer: p, Routes: append(changed, routes("198.51.100.4/32")...)}})
	router.shows(t, "r4", "198.51.100.4/32")
	if again := router.updates(t, "r4"); again != got+1 {
		t.Errorf("%d updates after one new route, want %d", again, got+1)
	}

	stop()
	router.counts(t, "r4", 0)
	router.says(t, "r4", "Received: Administrative shutdown\n  Message:        Steelyard's speaker ends")
	if st := state(s, "p"); st.Session != Idle || st.Advertised != 0 {
		t.Errorf("after Run has ended: %+v", st)
	}
}

func TestPeersComeAndGoAlone(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	a, b := peer("a", "10.9.0.1"), peer("b", "fd09::1")
	pa := announce.Peering{Peer: a, Routes: routes("198.51.100.1/32")}
	pb := announce.Peering{Peer: b, Routes: routes("2001:db8::1/128")}
	s.Set([]announce.Peering{pa, pb})
	kept, first := establish(t, s, "a"), establish(t, s, "b")
	router.counts(t, "r6", 1)

	s.Set([]announce.Peering{pa})
	router.counts(t, "r6", 0)
	router.says(t, "r6", "Received: Peer de-configured")
	if got := s.States(); len(got) != 1 {
		t.Errorf("a removed peer is still reported: %+v", got)
	}

	s.Set([]announce.Peering{pa, pb})
	establish(t, s, "b")
	router.counts(t, "r6", 1)

	pb.Peer.HoldTime, pb.Peer.RouterID = 40*time.Second, netip.MustParseAddr("10.9.9.9") // timers alone wait for the next session
	before := establish(t, s, "b")
	s.Set([]announce.Peering{pa, pb})
	router.says(t, "r6", "/40\n") // the hold timer; 30 would be the keepalive timer of 90
	after := establish(t, s, "b")
	router.counts(t, "r6", 1)
	if !after.Since.After(before.Since) || !before.Since.After(first.Since) {
		t.Error("a changed peer did not get a new session")
	}
	if got := establish(t, s, "a"); !got.Since.Equal(kept.Since) {
		t.Error("the other peer's session was disturbed")
	}

	s.Set(nil)
	router.counts(t, "r4", 0)
	if got := s.States(); len(got) != 0 {
		t.Errorf("after Set(nil): %+v", got)
	}
}

func TestBadPeersReportWhyAndDisturbNoOther(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	good := announce.Peering{Peer: peer("good", "fd09::1"), Routes: routes("2001:db8::1/128")}
	s.Set([]announce.Peering{good})
	before := establish(t, s, "good")

	password, asn, refused := peer("password", "10.9.0.11"), peer("asn", "10.9.0.1"), peer("refused", "10.9.0.1")
	password.Password, password.MinTTL, password.SourceAddr = "wrong", 255, netip.MustParseAddr("10.9.0.3")
	asn.PeerASN = 65000
	refused.Port = 1790
	external, silent := peer("external", "10.9.0.12"), peer("silent", "10.9.0.99")
	external.PeerASN, external.ASN, external.SourceAddr = 0, announce.ExternalASN, netip.MustParseAddr("10.9.0.4")
	long := peer("long", "10.9.0.1")
	long.Password = string(make([]byte, 81))
	r := routes("198.51.100.1/32")
	s.Set([]announce.Peering{good, {Peer: password, Routes: r}, {Peer: asn, Routes: r}, {Peer: refused, Routes: r},
		{Peer: external, Routes: r}, {Peer: silent, Routes: r}, {Peer: long, Routes: r}})
	fails(t, s, "password", "no answer from 10.9.0.11", "password (TCP MD5)")
	fails(t, s, "asn", "bad peer AS", "64601", "65000")
	fails(t, s, "refused", "connection refused", "port 1790")
	fails(t, s, "external", "64512", "must be external")
	fails(t, s, "silent", "10.9.0.99")
	fails(t, s, "long", "81 bytes")
	ours := password
	ours.Name, ours.Password, ours.LocalASN = "ours", "right", 64999
	s.Set([]announce.Peering{good, {Peer: ours, Routes: r}})
	fails(t, s, "ours", "bad peer AS", "64999")

	if got := establish(t, s, "good"); !got.Since.Equal(before.Since) {
		t.Errorf("the good session is up since %s, before it was since %s", got.Since, before.Since)
	}
	router.counts(t, "r6", 1)
}

func TestSessionReturnsAfterTheRouterRestarts(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: peer("p", "10.9.0.1"), Routes: routes("198.51.100.1/32", "198.51.100.2/32")}})
	before := establish(t, s, "p")
	router.counts(t, "r4", 2)
	router.stop()
	fails(t, s, "p", "closed the connection")
	eventually(t, "the session is lost", func() error {
		if st := state(s, "p"); st.Session == Established {
			return errors.New("still up")
		}
		return nil
	})
	if got := state(s, "p"); got.Advertised != 0 {
		t.Errorf("without a session %d routes are advertised", got.Advertised)
	}
	router.start(t)
	router.counts(t, "r4", 2)
	if got := establish(t, s, "p"); !got.Since.After(before.Since) || got.Advertised != 2 {
		t.Errorf("after the restart: %+v", got)
	} else if got.LastError == "" {
		t.Error("the last error is forgotten before the session has settled")
	}
	eventually(t, "the last error is forgotten", func() error {
		if e := state(s, "p").LastError; e != "" {
			return errors.New(e)
		}
		return nil
	})
}

func TestDualStackWithoutANextHopOffersTheOtherFamilyOnly(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	ip(t, "addr", "del", "fd09::2/64", "dev", "eth0")
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	p.DualStack = true
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}})
	establish(t, s, "p")
	router.counts(t, "r4", 1)
	fails(t, s, "p", "no IPv6 routes are offered", "eth0")
	ip(t, "addr", "add", "fd09::3/64", "dev", "eth0", "nodad")
	router.shows(t, "r4", "2001:db8::1/128", "BGP.next_hop: fd09::3")
	if got := state(s, "p"); got.Advertised != 2 || got.LastError != "" {
		t.Errorf("with a next hop: %+v", got)
	}
}
