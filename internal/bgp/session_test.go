package bgp

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
)

func TestBackOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		first time.Duration
		want  []time.Duration // after no failure, one, two …
	}{
		{"doubles up to half a minute", 2 * time.Second, []time.Duration{0, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9, 30e9}},
		{"never shorter than what was asked for", time.Minute, []time.Duration{0, 60e9, 60e9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []time.Duration
			for fails := range c.want {
				got = append(got, backOff(fails, c.first))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	if got := backOff(1_000_000, time.Second); got != retryPause {
		t.Errorf("after a million failures %s", got)
	}
}

func TestALostConnectionIsSeenWithItsTimeUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		states []SessionState
		lost   bool
		up     time.Duration
		drops  int
	}{
		{"a dial that fails is none", []SessionState{Active, Idle}, false, 0, 0},
		{"a refused OPEN was never up", []SessionState{Active, OpenSent, Idle}, true, 0, 0},
		{"so was one that was not confirmed", []SessionState{Active, OpenSent, OpenConfirm, Idle}, true, 0, 0},
		{"a session is", []SessionState{Active, OpenSent, OpenConfirm, Established, Idle}, true, time.Second, 1},
		{"and that it was stays known", []SessionState{Active, OpenSent, OpenConfirm, Established, Idle, Active}, true, time.Second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStatus()
				r := s.begin(announce.Peer{Name: "p"})
				for _, state := range c.states {
					r.StateChanged(state, 0)
					time.Sleep(time.Second)
				}
				if got := s.seen(); got.lost != c.lost || got.up != c.up || s.report().Drops != c.drops {
					t.Errorf("%+v, drops %d", got, s.report().Drops)
				}
				s.end()
				if got := s.seen(); got.lost || got.up != 0 {
					t.Errorf("after its end: %+v", got)
				}
			})
		})
	}
}

func TestNextHopsAsTheRouterAgreed(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	self4, self6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	all := fsm.Capabilities{Heard: true, IPv4: true, IPv6: true, Extended: true}
	with := func(change func(*fsm.Capabilities)) fsm.Capabilities {
		out := all
		change(&out)
		return out
	}
	for _, c := range []struct {
		name         string
		peer         announce.Peer
		hops         fsm.NextHops
		capabilities fsm.Capabilities
		want         fsm.NextHops
		words        string
	}{
		{"nothing is known yet", announce.Peer{Addr: four}, fsm.NextHops{V4: self4}, fsm.Capabilities{}, fsm.NextHops{V4: self4}, ""},
		{"all is taken", announce.Peer{Addr: four, DualStack: true}, fsm.NextHops{V4: self4, V6: six}, all, fsm.NextHops{V4: self4, V6: six}, ""},
		{"no IPv6", announce.Peer{Addr: four, DualStack: true}, fsm.NextHops{V4: self4, V6: six}, with(func(t *fsm.Capabilities) { t.IPv6 = false }), fsm.NextHops{V4: self4}, "IPv6 routes"},
		{"no IPv6, and none was wanted", announce.Peer{Addr: four}, fsm.NextHops{V4: self4}, with(func(t *fsm.Capabilities) { t.IPv6 = false }), fsm.NextHops{V4: self4}, ""},
		{"no IPv4 in a session of IPv4", announce.Peer{Addr: four}, fsm.NextHops{V4: self4}, with(func(t *fsm.Capabilities) { t.IPv4 = false }), fsm.NextHops{}, "IPv4 routes"},
		{"no IPv6 next hop for IPv4", announce.Peer{Addr: six, DualStack: true}, fsm.NextHops{V4: self6, V6: self6}, with(func(t *fsm.Capabilities) { t.Extended = false }), fsm.NextHops{V6: self6}, "RFC 8950"},
		{"no IPv6 next hop, and none is needed", announce.Peer{Addr: six, DualStack: true}, fsm.NextHops{V4: four, V6: self6}, with(func(t *fsm.Capabilities) { t.Extended = false }), fsm.NextHops{V4: four, V6: self6}, ""},
		{"neither", announce.Peer{Addr: six, DualStack: true}, fsm.NextHops{V4: four, V6: self6}, with(func(t *fsm.Capabilities) { t.IPv4, t.IPv6 = false, false }), fsm.NextHops{}, "IPv4 routes (RFC 4760), nor IPv6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, words := agreed(c.peer, c.hops, c.capabilities, "")
			if got != c.want || !strings.Contains(words, c.words) || c.words == "" && words != "" {
				t.Errorf("got %v, %q", got, words)
			}
		})
	}
	kept, words := agreed(announce.Peer{Addr: four}, fsm.NextHops{V4: self4}, all, "another problem")
	if kept.V4 != self4 || words != "another problem" {
		t.Errorf("another problem became %q", words)
	}
}

func TestAnUnnumberedSessionHasItsOwnNextHopForBoth(t *testing.T) {
	p := announce.Peer{Addr: netip.MustParseAddr("fe80::1%eth0"), Interface: "eth0", DualStack: true}
	got, problem := nextHops(p, fsm.Capabilities{})
	if got.V4 != netip.IPv6Unspecified() || got.V6 != got.V4 || problem != "" {
		t.Errorf("%v, %q", got, problem)
	}
}
