package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// pends waits until a session has pending changes.
func pends(t *testing.T, s *Sessions, peer string, want Pending, revision string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %+v pending", peer, want), func() error {
		if st := state(s, peer); st.Pending != want || st.Revision != revision {
			return fmt.Errorf("it has %+v, revision %q", st.Pending, st.Revision)
		}
		return nil
	})
}

// New timers are no reason to lose the routes of a router that does not keep them.
func TestTimersAreForTheNextSession(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	set := func() { s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}}) }
	set()
	before := establish(t, s, "p")
	p.HoldTime, p.KeepaliveTime, p.Revision = 30*time.Second, 5*time.Second, "2"
	set()
	pends(t, s, "p", Pending{Fields: "holdTime, keepaliveTime"}, "2")
	stays(t, s, before)
	p.KeepaliveTime, p.Revision = 0, "3"
	set()
	pends(t, s, "p", Pending{Fields: "holdTime"}, "3")
	stays(t, s, before)
	router.stop()
	router.start(t)
	router.says(t, "r4", "/30\n") // the hold timer
	pends(t, s, "p", Pending{}, "3")
}

// A session that has to be reset stays while it must wait. Its routes go on changing.
func TestAChangeWaits(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	p := announce.Peering{Peer: peer("p", "10.9.0.1"), Routes: routes("198.51.100.1/32")}
	s.Set([]announce.Peering{p})
	before := establish(t, s, "p")
	p.Peer.RouterID, p.Peer.HoldTime, p.Peer.Revision, p.Waits = netip.MustParseAddr("10.9.9.9"), 30*time.Second, "2", true
	p.Routes = routes("198.51.100.2/32")
	s.Set([]announce.Peering{p})
	<-s.Waiting()
	pends(t, s, "p", Pending{"routerID, holdTime", true}, "")
	router.shows(t, "r4", "198.51.100.2/32")
	stays(t, s, before)
	p.Waits = false
	s.Set([]announce.Peering{p})
	router.says(t, "r4", "Neighbor ID:      10.9.9.9")
	router.says(t, "r4", "/30\n")
	pends(t, s, "p", Pending{}, "2")
	if st := establish(t, s, "p"); st.Resets != 1 {
		t.Errorf("%+v", st)
	}

	// A session that is not up has nothing to lose.
	router.stop()
	p.Peer.RouterID, p.Peer.Revision, p.Waits = netip.MustParseAddr("10.9.9.8"), "3", true
	s.Set([]announce.Peering{p})
	router.start(t)
	router.says(t, "r4", "Neighbor ID:      10.9.9.8")
}

// A router with graceful restart keeps the routes while the session restarts for a new
// configuration, also where BFD watches it.
func TestAnEditLosesNoRouteOfAGracefulRouter(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, "protocol bfd { interface \"eth0\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }\n"+
		strings.ReplaceAll(birdFour, "passive;", "passive; graceful restart aware; bfd on;"))
	keepsRoutes(t, func(family string) (int, error) {
		out, err := router.ask("show", "route", "protocol", map[string]string{"ipv4": "r4", "ipv6": "r6"}[family])
		return strings.Count(out, "unicast"), err
	}, func(t *testing.T) {
		router.says(t, "r4", "/6\n")
		router.says(t, "r6", "/6\n")
	})
}

func TestAnEditLosesNoRouteOfFRR(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 bgp graceful-restart
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 passive
 neighbor 10.9.0.2 bfd profile fast
 neighbor fd09::2 remote-as 64512
 neighbor fd09::2 passive
 neighbor fd09::2 bfd profile fast
`+activate("10.9.0.2", "fd09::2"), "")
	keepsRoutes(t, func(family string) (int, error) {
		out, err := router.ask("show bgp " + family + " unicast json")
		return strings.Count(out, `"valid":true`), err
	}, func(t *testing.T) {
		router.says(t, "show bgp neighbors 10.9.0.2", "Hold time is 6 seconds")
		router.says(t, "show bgp neighbors fd09::2", "Hold time is 6 seconds")
	})
}

// keepsRoutes edits two peers of one router, which counts its routes of a family, until it is
// as edited.
func keepsRoutes(t *testing.T, count func(family string) (int, error), edited func(*testing.T)) {
	t.Helper()
	s, _ := startSessions(t)
	four, six := quick(peer("four", "10.9.0.1"), announce.SingleHop), quick(peer("six", "fd09::1"), announce.SingleHop)
	four.Graceful, six.Graceful, four.SourceAddr = true, true, netip.MustParseAddr("10.9.0.2")
	for _, p := range []*announce.Peer{&four, &six} { // a busy machine is no reason to end a session
		p.BFD.Receive, p.BFD.Transmit = 300*time.Millisecond, 300*time.Millisecond
	}
	set := func() {
		s.Set([]announce.Peering{{Peer: four, Routes: routes("198.51.100.1/32")}, {Peer: six, Routes: routes("2001:db8::1/128")}})
	}
	set()
	families := []string{"ipv4", "ipv6"}
	for i, name := range []string{"four", "six"} {
		establish(t, s, name)
		watchedAs(t, s, name, bfd.Up)
		eventually(t, "the router has the route of "+name, func() error {
			if n, err := count(families[i]); n != 1 || err != nil {
				return fmt.Errorf("%d, %w", n, err)
			}
			return nil
		})
	}
	stop, lost := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for n := 0; ; n++ {
			select {
			case <-stop:
				lost <- err
				return
			default:
			}
			for _, family := range families {
				if n, failed := count(family); err == nil && (n != 1 || failed != nil) {
					err = fmt.Errorf("%d routes of %s, %w", n, family, failed)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	four.HoldTime, six.HoldTime = 6*time.Second, 6*time.Second
	set()
	edited(t)
	for _, name := range []string{"four", "six"} {
		if st := establish(t, s, name); st.Resets != 1 || st.Drops != 0 {
			t.Errorf("%+v", st)
		}
	}
	time.Sleep(3 * time.Second) // BFD may end late what restarted well
	close(stop)
	if err := <-lost; err != nil {
		t.Error(err)
	}
	for _, name := range []string{"four", "six"} {
		watchedAs(t, s, name, bfd.Up)
		if st := state(s, name); st.Drops != 0 {
			t.Errorf("%+v", st)
		}
	}
}
