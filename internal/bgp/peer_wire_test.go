package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// reconfigure gives BIRD other protocols, which restarts those that differ.
func (b *bird) reconfigure(t *testing.T, protocols string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(birdHead+protocols), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := b.ask("configure"); err != nil || !strings.Contains(out, "Reconfig") {
		t.Fatalf("configure: %v\n%s", err, out)
	}
}

// established waits until BIRD counts a protocol as up.
func (b *bird) established(t *testing.T, protocol string) { b.says(t, protocol, "Established") }

func TestPeersSessionSurvivesWhatDoesNotConcernIt(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	before := establish(t, s, "p")
	p.ConnectTime, p.BFD = time.Hour, announce.BFD{Multiplier: 3}
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.2/32")}})
	router.shows(t, "r4", "198.51.100.2/32")
	if got := establish(t, s, "p"); !got.Since.Equal(before.Since) || got.Resets != 0 || got.Drops != 0 {
		t.Errorf("the session was reset: %+v, before %+v", got, before)
	}
	p.HoldTime, p.RouterID = 30*time.Second, netip.MustParseAddr("10.9.9.9")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.2/32")}})
	router.says(t, "r4", "Neighbor ID:      10.9.9.9")
	if got := establish(t, s, "p"); got.Resets != 1 || got.Changed != "routerID, holdTime" || got.Drops != 0 {
		t.Errorf("reset: %+v", got)
	}
}

func TestPasswordRotatesAtOnce(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.11")
	p.Password, p.MinTTL, p.SourceAddr = "right", 255, netip.MustParseAddr("10.9.0.3")
	set := func() { s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}}) }
	set()
	establish(t, s, "p")
	p.Password = "next"
	set()
	fails(t, s, "p", "no answer", "password")
	router.reconfigure(t, strings.Replace(birdFour, `"right"`, `"next"`, 1))
	router.showsIn(t, "t11", "signed", "198.51.100.1/32")
	if got := establish(t, s, "p"); got.Resets != 1 || got.Changed != "password" {
		t.Errorf("%+v", got)
	}
}

func TestTheSameRouterOfTwoNamesIsNoTrouble(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	r := routes("198.51.100.1/32")
	s.Set([]announce.Peering{{Peer: peer("old", "10.9.0.1"), Routes: r}})
	establish(t, s, "old")
	s.Set([]announce.Peering{{Peer: peer("new", "10.9.0.1"), Routes: r}})
	establish(t, s, "new")
	router.counts(t, "r4", 1)
}

func TestHoldTimeZeroIsRefusedInPlainWords(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, strings.Replace(birdFour, "strict bind; passive;", "strict bind; passive; hold time 0;", 1))
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	fails(t, s, "p", "hold time of 0")
	p.Port = 179 // other words for the same, which are tried at once
	router.reconfigure(t, birdFour)
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	establish(t, s, "p")
	router.counts(t, "r4", 1)
}

func TestAFloodOfRoutesTakesNoMemory(t *testing.T) {
	if !inRack(t) {
		return
	}
	// The one sends little more than it may, the other a good part of a full table.
	config := "protocol static flood {\n  ipv4;\n"
	var flood strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&flood, "  route 100.%d.%d.%d/32 blackhole;\n", 64+i>>16, i>>8&255, i&255)
	}
	config += flood.String() + `}
protocol bgp little {
  local 10.9.0.11 as 64601; neighbor 10.9.0.3 as 64512; strict bind; passive;
  ipv4 { import all; export where proto = "flood" && net ~ [ 100.64.0.0/18+ ]; };
}
protocol bgp much {
  local 10.9.0.12 as 64601; neighbor 10.9.0.4 as 64512; strict bind; passive;
  ipv4 { import all; export where proto = "flood"; };
}
`
	router := startBird(t, config+birdFour[strings.Index(birdFour, "protocol bgp r6"):strings.Index(birdFour, "protocol bgp signed")])
	s, _ := startSessions(t)
	good := announce.Peering{Peer: peer("good", "fd09::1"), Routes: routes("2001:db8::1/128")}
	flooded := func(name, addr, source string) (most int) {
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // forgets the most so far
			t.Fatal(err)
		}
		p := peer(name, addr)
		p.SourceAddr = netip.MustParseAddr(source)
		s.Set([]announce.Peering{good, {Peer: p, Routes: routes("198.51.100.1/32")}})
		router.says(t, name, "exported") // and read by this side, for BIRD waits for that
		before := establish(t, s, name)
		router.shows(t, name, "198.51.100.1/32")
		time.Sleep(time.Second)
		if got := establish(t, s, name); !got.Since.Equal(before.Since) || got.Drops != 0 {
			t.Errorf("the flood ended the session: %+v", got)
		}
		most = resident(t)
		t.Logf("resident at most in the flood of %s: %d kB", name, most)
		return most
	}
	s.Set([]announce.Peering{good})
	before := establish(t, s, "good")
	little := flooded("little", "10.9.0.11", "10.9.0.3")
	much := flooded("much", "10.9.0.12", "10.9.0.4")
	if much > little+little/4 {
		t.Errorf("a flood of 200,000 routes took %d kB, one of 16,384 took %d kB", much, little)
	}
	if got := establish(t, s, "good"); !got.Since.Equal(before.Since) {
		t.Error("the other session was disturbed")
	}
	router.counts(t, "r6", 1)
}

// resident returns the most memory that this process has had, in kB.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kB int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kB); err == nil {
			return kB
		}
	}
	t.Fatal("the kernel does not tell VmHWM")
	return 0
}

func TestRoutesOfTheRouterAreDiscarded(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, `protocol static own { ipv4; route 100.64.0.0/24 blackhole; }
`+strings.Replace(birdFour, "export none;", "export where proto = \"own\";", 1))
	s, _ := startSessions(t)
	r := routes("198.51.100.1/32")
	inside := peer("inside", "10.9.0.12")
	inside.PeerASN, inside.SourceAddr = 64512, netip.MustParseAddr("10.9.0.4")
	s.Set([]announce.Peering{{Peer: peer("p", "10.9.0.1"), Routes: r}, {Peer: inside, Routes: r}})
	router.says(t, "r4", "1 imported, 1 exported")
	router.showsIn(t, "t12", "inside", "198.51.100.1/32")
	router.shows(t, "inside table t12", "198.51.100.1/32")
	out, err := router.ask("show", "route", "table", "t12")
	if err != nil || strings.Contains(out, "100.64.0.0/24") {
		t.Errorf("a route was passed on: %v\n%s", err, out)
	}
}

func TestIPv4RoutesWithIPv6NextHops(t *testing.T) {
	if !inRack(t) {
		return
	}
	ip(t, "-4", "addr", "flush", "dev", "eth0")
	able := strings.Replace(birdFour, "ipv4 { import all; export none; };\n  ipv6 { import all; export none; };\n}\nprotocol bgp signed",
		"ipv4 { import all; export none; extended next hop on; };\n  ipv6 { import all; export none; };\n}\nprotocol bgp signed", 1)
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	p := peer("p", "fd09::1")
	p.DualStack = true
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}})
	fails(t, s, "p", "does not take IPv4 routes with an IPv6 next hop (RFC 8950)")
	router.shows(t, "r6", "2001:db8::1/128")
	router.counts(t, "r6", 1)
	before := establish(t, s, "p")
	if before.Advertised != 1 || before.Drops != 0 {
		t.Errorf("a router that can't: %+v", before)
	}
	router.reconfigure(t, able)
	router.shows(t, "r6", "198.51.100.1/32", "BGP.next_hop: fd09::2")
	router.counts(t, "r6", 2)
}

func TestARouterOfOneFamilyIsNamed(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, strings.Replace(birdFour, "  ipv6 { import all; export none; };\n", "", 1))
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	p.DualStack = true
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}})
	router.counts(t, "r4", 1)
	fails(t, s, "p", "does not take IPv6 routes")
	if got := establish(t, s, "p"); got.Advertised != 1 {
		t.Errorf("%+v", got)
	}
}

func TestASessionIsBoundToItsDevice(t *testing.T) {
	if !inRack(t) {
		return
	}
	secondCable(t, "10.9.5.1", "10.9.5.2", "/24")
	b := startBird(t, `protocol bgp r4 {
  local 10.9.5.1 as 64601; neighbor 10.9.5.2 as 64512; strict bind; passive;
  ipv4 { import all; export none; };
}
`)
	s, _ := startSessions(t)
	free, bound, lost := peer("free", "10.9.5.1"), peer("bound", "10.9.5.1"), peer("lost", "10.9.5.1")
	bound.Device, lost.Device = "blue", "red"
	s.Set([]announce.Peering{{Peer: free, Routes: routes("198.51.100.1/32")}, {Peer: lost, Routes: routes("198.51.100.3/32")}})
	fails(t, s, "free", "no answer")
	fails(t, s, "lost", `no interface "red"`)
	s.Set([]announce.Peering{{Peer: bound, Routes: routes("198.51.100.2/32")}})
	b.shows(t, "r4", "198.51.100.2/32", "BGP.next_hop: 10.9.5.2")
}

func TestAGracefulPeerHearsNoGoodbyeUnlessItGoes(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, strings.ReplaceAll(birdFour, "passive;", "passive; graceful restart aware;"))
	s, stop := startSessions(t)
	four, six := peer("four", "10.9.0.1"), peer("six", "fd09::1")
	four.Graceful, six.Graceful = true, true
	pf := announce.Peering{Peer: four, Routes: routes("198.51.100.1/32")}
	s.Set([]announce.Peering{pf, {Peer: six, Routes: routes("2001:db8::1/128")}})
	router.counts(t, "r4", 1)
	router.counts(t, "r6", 1)
	router.says(t, "r4", "Restart time: 120")
	s.Set([]announce.Peering{pf})
	router.says(t, "r6", "Received: Peer de-configured")
	router.counts(t, "r6", 0)
	stop()
	router.established(t, "r4") // the process that holds the connection still lives
	router.counts(t, "r4", 1)
}

func TestReconnects(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, birdFour)
	s, _ := startSessions(t)
	s.Set([]announce.Peering{{Peer: peer("p", "10.9.0.1"), Routes: routes("198.51.100.1/32")}})
	before := establish(t, s, "p")
	if _, err := router.ask("restart", "r4"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is lost and comes back", func() error {
		if st := state(s, "p"); st.Session != Established || st.Drops != 1 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	after := state(s, "p")
	t.Logf("up again %s after it was up first", after.Since.Sub(before.Since))
	router.counts(t, "r4", 1)
	if !strings.Contains(after.LastError, "administrative reset") && !strings.Contains(after.LastError, "administrative shutdown") {
		t.Errorf("last error %q", after.LastError)
	}
	if after.Resets != 0 {
		t.Error("counted as our own doing")
	}
}
