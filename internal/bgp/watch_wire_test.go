package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// quick is how the tests watch a router.
func quick(p announce.Peer, hops announce.Hops) announce.Peer {
	p.BFD = announce.BFD{Receive: 50 * time.Millisecond, Transmit: 50 * time.Millisecond, Multiplier: 3, Hops: hops, MinTTL: 254}
	return p
}

// startBFD holds BFD sessions in the router's namespace until the test ends.
func startBFD(t *testing.T) *bfd.Engine {
	t.Helper()
	engine := bfd.New(udp.New(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(os.Getenv(routerNS))
		if err == nil {
			err = netns.Set(ns)
		}
		if err == nil {
			err = engine.Run(ctx)
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the router's BFD: %v", err)
		}
	})
	return engine
}

// lose has the router lose all that comes from the node, and the node all that
// comes from the router, without either seeing its link go down.
func lose(t *testing.T, all bool) {
	t.Helper()
	script := "delete table inet cut"
	if all { // in one transaction: else the router could still tell that it hears nothing
		script = `add table inet cut
			add chain inet cut in { type filter hook input priority 0; policy drop; }
			add chain inet cut out { type filter hook output priority 0; policy drop; }`
	}
	cmd := exec.Command("ip", "netns", "exec", os.Getenv(routerNS), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// watchedAs waits until the BFD session beside a peer's has a state.
func watchedAs(t *testing.T, s *Sessions, peer string, want bfd.Status) {
	t.Helper()
	eventually(t, fmt.Sprintf("BFD with %s is %s", peer, want), func() error {
		if st := state(s, peer); st.BFD == nil || st.BFD.Status != want {
			return fmt.Errorf("it is %+v", st.BFD)
		}
		return nil
	})
}

// stays fails if a session is not the one that it was.
func stays(t *testing.T, s *Sessions, before State) {
	t.Helper()
	if st := state(s, before.Peer); st.Session != Established || !st.Since.Equal(before.Since) || st.Drops != before.Drops || st.Resets != before.Resets {
		t.Errorf("the session of %s is not what it was: %+v, before %+v", before.Peer, st, before)
	}
}

func TestOnlyABrokenPathEndsASession(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	there := startBFD(t)
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	set := func(p announce.Peer) {
		s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	}
	set(quick(p, announce.SingleHop))
	before := establish(t, s, "p") // though no router answers
	watchedAs(t, s, "p", bfd.Down)
	back := bfd.Session{Path: bfd.Path{Peer: netip.MustParseAddr("10.9.0.2")}, Transmit: 50 * time.Millisecond, Receive: 50 * time.Millisecond}
	there.Set([]bfd.Session{back})
	watchedAs(t, s, "p", bfd.Up)
	stays(t, s, before)

	slower := quick(p, announce.SingleHop)
	slower.BFD.Transmit, slower.BFD.Multiplier = 100*time.Millisecond, 5
	set(slower)
	eventually(t, "the router hears of other timers", func() error {
		if st := there.States(); len(st) != 1 || st[0].RemoteTimers.Multiplier != 5 || st[0].Status != bfd.Up {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	set(p) // no profile at all
	eventually(t, "the router hears that BFD is off", func() error {
		if st := there.States(); len(st) != 1 || st[0].RemoteStatus != bfd.AdminDown {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	set(quick(p, announce.SingleHop))
	watchedAs(t, s, "p", bfd.Up)
	stays(t, s, before)

	back.Disabled = true // by the administrator there
	there.Set([]bfd.Session{back})
	watchedAs(t, s, "p", bfd.Down)
	back.Disabled = false
	there.Set([]bfd.Session{back})
	watchedAs(t, s, "p", bfd.Up)
	stays(t, s, before)

	lose(t, true)
	fails(t, s, "p", "BFD: detection time expired")
	if st := state(s, "p"); st.Drops != 1 || st.Session == Established {
		t.Errorf("after the path has broken: %+v", st)
	}
	lose(t, false)
	establish(t, s, "p")
	watchedAs(t, s, "p", bfd.Up)
	router.counts(t, "r4", 1)
	if st := state(s, "p"); st.Drops != 1 {
		t.Errorf("what BFD has seen before ended a later session: %+v", st)
	}

	router.stop()
	watchedAs(t, s, "p", bfd.Down)
	watchedAs(t, s, "p", bfd.Up) // after a while without a session
	ups := there.States()[0].Ups
	router.start(t)
	establish(t, s, "p")
	router.counts(t, "r4", 1)
	if st := there.States()[0]; st.Ups != ups || st.Status != bfd.Up {
		t.Errorf("BFD did not go on when the session came up: %+v", st)
	}
}

func TestARouterThatSignalsDownEndsTheSession(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	there := startBFD(t)
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: quick(peer("p", "10.9.0.1"), announce.SingleHop), Routes: routes("198.51.100.1/32")}})
	there.Set([]bfd.Session{{Path: bfd.Path{Peer: netip.MustParseAddr("10.9.0.2")}, Transmit: 50 * time.Millisecond, Receive: 50 * time.Millisecond}})
	establish(t, s, "p")
	watchedAs(t, s, "p", bfd.Up)
	// It hears nothing any more, but is heard.
	ip := []string{"netns", "exec", os.Getenv(routerNS), "nft", "add table inet silent; add chain inet silent in { type filter hook input priority 0; }; add rule inet silent in udp dport 3784 drop"}
	if out, err := exec.Command("ip", ip...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	router.says(t, "r4", "6.10")
	fails(t, s, "p", "BFD: the router signaled down", "detection time expired")
	if st := state(s, "p"); st.Drops != 1 {
		t.Errorf("%+v", st)
	}
	establish(t, s, "p") // BFD is down, and keeps no session from coming up
}

const frrWatched = frrHead + `
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 passive
 neighbor 10.9.0.2 bfd profile fast
 neighbor fd09::2 remote-as 64512
 neighbor fd09::2 passive
 neighbor fd09::2 bfd profile fast
 neighbor 10.9.0.3 remote-as 64512
 neighbor 10.9.0.3 passive
 neighbor 10.9.0.3 ttl-security hops 1
 neighbor 10.9.0.3 bfd profile fast
 neighbor 10.9.0.4 remote-as 64601
 neighbor 10.9.0.4 passive
 neighbor 10.9.0.4 bfd profile fast
`

func TestFRRWatchesAndIsWatched(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrWatched+activate("10.9.0.2", "10.9.0.3", "10.9.0.4", "fd09::2"), "")
	s, _ := startSessions(t)
	plain, six := quick(peer("plain", "10.9.0.1"), announce.SingleHop), quick(peer("six", "fd09::1"), announce.SingleHop)
	secure, inside := quick(peer("secure", "10.9.0.1"), announce.MultiHop), quick(peer("inside", "10.9.0.1"), announce.HopsByNet)
	secure.MinTTL, secure.SourceAddr = 255, netip.MustParseAddr("10.9.0.3")
	inside.LocalASN, inside.SourceAddr = 64601, netip.MustParseAddr("10.9.0.4")
	plain.SourceAddr = netip.MustParseAddr("10.9.0.2")
	r := routes("198.51.100.1/32")
	all := []announce.Peering{{Peer: plain, Routes: r}, {Peer: six, Routes: routes("2001:db8::1/128")}, {Peer: secure, Routes: r}, {Peer: inside, Routes: r}}
	s.Set(all)
	for _, p := range all {
		establish(t, s, p.Peer.Name)
		watchedAs(t, s, p.Peer.Name, bfd.Up)
	}
	lose(t, true)
	for _, p := range all {
		fails(t, s, p.Peer.Name, "BFD: detection time expired")
	}
	eventually(t, "FRR has ended all by BFD", func() error {
		out, err := router.ask("show bgp ipv4 unicast summary failed")
		if n := strings.Count(out, "Cease/BFD Down"); err == nil && n != len(all) {
			err = fmt.Errorf("%d sessions ended by BFD:\n%s", n, out)
		}
		return err
	})
	lose(t, false)
	for _, p := range all {
		establish(t, s, p.Peer.Name)
		watchedAs(t, s, p.Peer.Name, bfd.Up)
	}
}

func TestAnUnnumberedRouterIsWatched(t *testing.T) {
	if !inRack(t) {
		return
	}
	zebra := "interface eth0\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval 1\n"
	startFRR(t, os.Getenv(routerNS), frrHead+" neighbor eth0 interface remote-as external\n neighbor eth0 bfd profile fast\n"+activate("eth0"), zebra)
	s, _ := startSessions(t)
	p := quick(announce.Peer{Name: "p", Interface: "eth0", LocalASN: 64512, ASN: announce.ExternalASN, DualStack: true, ConnectTime: time.Second}, announce.SingleHop)
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	establish(t, s, "p")
	watchedAs(t, s, "p", bfd.Up)
	lose(t, true)
	fails(t, s, "p", "BFD: detection time expired")
	lose(t, false)
	establish(t, s, "p")
	watchedAs(t, s, "p", bfd.Up)
}
