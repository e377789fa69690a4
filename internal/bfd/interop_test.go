package bfd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// meeting is our engine and a router, with a session between them in each family.
type meeting struct {
	*testing.T
	kind   string
	near   host // ours
	far    host // the router's
	paths  []path
	engine *bfd.Engine
	router router
	stop   func()
}

// quick returns the usual settings of both sides.
func quick() (bfd.Session, settings) {
	return bfd.Session{Transmit: 100 * time.Millisecond, Receive: 100 * time.Millisecond}, settings{tx: 100, rx: 100, multiplier: 3}
}

// startEngine runs an engine, without sessions, until the test ends.
func (m *meeting) startEngine() {
	m.engine = bfd.New(udp.New(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go m.near.inside(func() {
		defer close(done)
		if err := m.engine.Run(ctx); err != nil {
			m.Error(err)
		}
	})
	m.stop = func() { cancel(); <-done }
	m.Cleanup(m.stop)
}

// set has the engine hold a session for each path.
func (m *meeting) set(want bfd.Session) { m.engine.Set(onPaths(m.paths, want)) }

func onPaths(paths []path, want bfd.Session) (all []bfd.Session) {
	for _, p := range paths {
		want.Peer, want.Local = netip.MustParseAddr(p.theirs), netip.MustParseAddr(p.ours)
		if want.Hops == bfd.SingleHop {
			want.Device = "eth0"
		}
		all = append(all, want)
	}
	return all
}

// ours waits until check holds for each session of the engine.
func (m *meeting) ours(what string, check func(bfd.State) bool) {
	m.Helper()
	m.wait("the engine: "+what, func() error {
		states := m.engine.States()
		if len(states) != len(m.paths) {
			return fmt.Errorf("%d sessions", len(states))
		}
		for _, s := range states {
			if !check(s) {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
}

// theirs waits until check holds for each session of the router.
func (m *meeting) theirs(what string, check func(view) bool) {
	m.Helper()
	m.wait("the router: "+what, func() error {
		views := m.router.sessions(m.T)
		for _, p := range m.paths {
			if v, ok := views[addrOf(p.ours)]; !ok || !check(v) {
				return fmt.Errorf("%s: %+v", p.ours, v)
			}
		}
		return nil
	})
}

func (m *meeting) wait(what string, do func() error) {
	m.Helper()
	attempt(m.T, what, do)
}

func isUp(s bfd.State) bool   { return s.Status == bfd.Up && s.RemoteStatus == bfd.Up }
func isDown(s bfd.State) bool { return s.Status == bfd.Down }

func (m *meeting) up() {
	m.Helper()
	m.ours("Up", isUp)
	m.theirs("Up", func(v view) bool { return v.up })
}

// unbroken fails if a session has not been Up just once.
func (m *meeting) unbroken() {
	m.Helper()
	for _, s := range m.engine.States() {
		if s.Ups != 1 || s.Status != bfd.Up {
			m.Errorf("%s is %s, was Up %d times, lost with %+v", s.Session.Peer, s.Status, s.Ups, s.LastOutage)
		}
	}
}

// agreed waits until both ends have agreed on these intervals and multipliers.
func (m *meeting) agreed(we, they time.Duration, our, their int) {
	m.Helper()
	ours, theirs := time.Duration(their)*they, time.Duration(our)*we
	m.ours(fmt.Sprintf("sends every %s, detects in %s", we, ours), func(s bfd.State) bool { return s.Transmit == we && s.Detection == ours })
	m.theirs(fmt.Sprintf("sends every %s, detects in %s", they, theirs), func(v view) bool { return v.interval == they && v.detection == theirs })
}

// scenarios run with each router, over a single hop.
var scenarios = map[string]func(*meeting){
	"timers change while Up": func(m *meeting) {
		our, their := quick()
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
		m.agreed(100*time.Millisecond, 100*time.Millisecond, 3, 3)
		our.Transmit, our.Receive, our.Multiplier = 400*time.Millisecond, 250*time.Millisecond, 5
		m.set(our)
		m.agreed(400*time.Millisecond, 250*time.Millisecond, 5, 3)
		their.tx, their.rx, their.multiplier = 500, 600, 4
		m.router.hold(m.T, m.paths, their)
		m.agreed(600*time.Millisecond, 500*time.Millisecond, 5, 4)
		our.Transmit, our.Receive, our.Multiplier = 60*time.Millisecond, 60*time.Millisecond, 3
		m.set(our)
		m.agreed(600*time.Millisecond, 500*time.Millisecond, 3, 4)
		their.tx, their.rx, their.multiplier = 70, 80, 3
		m.router.hold(m.T, m.paths, their)
		m.agreed(80*time.Millisecond, 70*time.Millisecond, 3, 3)
		m.unbroken()
	},
	"we are AdminDown": func(m *meeting) {
		our, their := quick()
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
		our.Disabled = true
		m.set(our)
		m.theirs("lost, as we are AdminDown", func(v view) bool {
			return !v.up && (m.kind != "FRR" || v.diagnostic == "neighbor signaled session down" && v.fromPeer == "administratively down")
		})
		our.Disabled = false
		m.set(our)
		m.up()
	},
	"the router is AdminDown": func(m *meeting) {
		our, their := quick()
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
		their.down = true
		m.router.hold(m.T, m.paths, their)
		m.ours("lost", isDown)
		for _, s := range m.engine.States() {
			// BIRD stops sending instead. FRR sends no diagnostic.
			if o := s.LastOutage; m.kind == "FRR" && (o.RemoteStatus != bfd.AdminDown || o.Diagnostic != bfd.NeighborSignaledDown) {
				m.Errorf("the outage of %s: %+v", s.Session.Peer, o)
			}
		}
		their.down = false
		m.router.hold(m.T, m.paths, their)
		m.up()
	},
	"we are passive": func(m *meeting) {
		our, their := quick()
		our.Passive = true
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
	},
	"the router is passive": func(m *meeting) {
		our, their := quick()
		their.passive = true
		m.router.hold(m.T, m.paths, their)
		m.set(our)
		m.up()
	},
	"both restart": func(m *meeting) {
		our, their := quick()
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
		before := map[netip.Addr]uint32{}
		for _, s := range m.engine.States() {
			before[s.Session.Peer] = s.RemoteDiscr
		}
		m.router.kill(m.T)
		m.ours("Up with another discriminator", func(s bfd.State) bool { return isUp(s) && s.RemoteDiscr != before[s.Session.Peer] && s.Ups == 2 })
		m.up()
		m.stop()
		m.startEngine()
		m.set(our)
		m.up()
	},
	"packets that have crossed a router are refused": func(m *meeting) {
		our, their := quick()
		m.set(our)
		m.router.hold(m.T, m.paths, their)
		m.up()
		m.far.exec("nft", "add", "table", "inet", "ttl")
		m.far.exec("nft", "add", "chain", "inet", "ttl", "output", "{ type filter hook output priority 0; }")
		m.far.exec("nft", "add", "rule", "inet", "ttl", "output", "udp", "dport", "3784", "ip", "ttl", "set", "254")
		m.far.exec("nft", "add", "rule", "inet", "ttl", "output", "udp", "dport", "3784", "ip6", "hoplimit", "set", "254")
		m.ours("it does not keep the session alive", func(s bfd.State) bool {
			return isDown(s) && s.LastOutage.Diagnostic == bfd.DetectionTimeExpired && s.Discarded > 0 && s.LastDiscard == bfd.ErrTTL.Error()
		})
		m.far.exec("nft", "delete", "table", "inet", "ttl")
		m.up()
	},
	"a BGP neighbor requests the session": func(m *meeting) {
		if m.kind == "FRR" {
			m.paths = m.paths[:2] // it does not name the device of a link-local neighbor
		}
		our, their := quick()
		m.neighbors(our, their)
	},
	"authentication": func(m *meeting) { m.authenticate("meticulous keyed sha1", bfd.MeticulousSHA1) },
	"authentication whose sequence number need not grow": func(m *meeting) { m.authenticate("keyed sha1", bfd.KeyedSHA1) },
}

// authenticate has the router want authentication, and both exchange the key.
func (m *meeting) authenticate(kind string, by bfd.AuthType) {
	if m.kind == "FRR" {
		m.Skip("FRR does not support BFD authentication")
	}
	our, their := quick()
	holds := func(keys string) {
		their.keys = fmt.Sprintf(" authentication %s; %s", kind, keys)
		m.router.hold(m.T, m.paths, their)
	}
	first, second := `password "sesame" { id 1; };`, `password "twenty octets of key" { id 2; };`
	holds(first)
	for i, secret := range []string{"mustard", "sesame"} {
		our.Keys = []bfd.Key{{ID: 1, Secret: secret, Type: by}}
		m.set(our)
		if i == 0 {
			m.ours("refused", func(s bfd.State) bool { return isDown(s) && s.LastDiscard == bfd.ErrAuthHash.Error()+" (key ID 1)" })
			m.theirs("refused", func(v view) bool { return !v.up })
		}
	}
	m.up()
	time.Sleep(2 * time.Second) // the sequence numbers of many packets
	next := bfd.Key{ID: 2, Secret: "twenty octets of key", Type: by}
	our.Keys = append(our.Keys, next) // accepted from now on
	m.set(our)
	holds(first + " " + second)
	our.Keys = []bfd.Key{next, our.Keys[0]} // signs from now on
	m.set(our)
	holds(second)
	our.Keys = []bfd.Key{next}
	time.Sleep(time.Second)
	m.set(our)
	time.Sleep(2 * time.Second)
	m.unbroken()
}

// neighbors has the router's BGP request the sessions. FRR replaces its first sessions by
// others that name its own address, and signals Down for the first ones.
func (m *meeting) neighbors(our bfd.Session, their settings) {
	their.bgp = true
	m.set(our)
	m.speakBGP(their.multihop)
	m.router.hold(m.T, m.paths, their)
	m.up()
}

// farScenarios run with each router, over another router.
var farScenarios = map[string]func(*meeting){
	"the minimum TTL": func(m *meeting) {
		our, their := quick()
		sent := map[string]uint8{"FRR": 255, "BIRD": 64}[m.kind]
		our.Hops, their.multihop, our.MinTTL = bfd.Multihop, true, sent
		m.router.hold(m.T, m.paths, their)
		m.set(our)
		m.ours("refused", func(s bfd.State) bool { return isDown(s) && s.LastDiscard == bfd.ErrTTL.Error() })
		our.MinTTL = sent - 1
		m.set(our)
		m.up()
		our.Transmit, our.Receive = 200*time.Millisecond, 200*time.Millisecond
		m.set(our)
		m.agreed(200*time.Millisecond, 200*time.Millisecond, 3, 3)
		m.unbroken()
	},
	"a BGP neighbor requests the session": func(m *meeting) {
		our, their := quick()
		our.Hops, their.multihop = bfd.Multihop, true
		m.neighbors(our, their)
	},
}

func singleHop(t *testing.T) (near, far host, paths []path) {
	near, far = cable(t)
	return near, far, []path{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}, {"fe80::1%eth0", "fe80::2%eth0"}}
}

// twoHops makes two hosts with a forwarding host between them.
func twoHops(t *testing.T) (near, far host, paths []path) {
	near, mid := cable(t)
	far = host{t, near.name + "-far"}
	command(t, "ip", "netns", "add", far.name)
	t.Cleanup(func() { command(t, "ip", "netns", "del", far.name) })
	far.ip("link", "set", "lo", "up")
	mid.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", far.name)
	for i, h := range []host{mid, far} {
		device := []string{"eth1", "eth0"}[i]
		h.ip("address", "add", fmt.Sprintf("198.51.100.%d/24", i+1), "dev", device)
		h.ip("address", "add", fmt.Sprintf("2001:db8:1::%d/64", i+1), "dev", device, "nodad")
		h.ip("link", "set", device, "up")
	}
	mid.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	near.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.2")
	near.ip("route", "add", "2001:db8:1::/64", "via", "2001:db8::2")
	far.ip("route", "add", "192.0.2.0/24", "via", "198.51.100.1")
	far.ip("route", "add", "2001:db8::/64", "via", "2001:db8:1::1")
	return near, far, []path{{"192.0.2.1", "198.51.100.2"}, {"2001:db8::1", "2001:db8:1::2"}}
}

func TestRouters(t *testing.T) {
	for where, setup := range map[string]struct {
		make      func(*testing.T) (near, far host, paths []path)
		scenarios map[string]func(*meeting)
	}{"": {singleHop, scenarios}, "two hops, ": {twoHops, farScenarios}} {
		for kind, newRouter := range routers() {
			for name, scenario := range setup.scenarios {
				t.Run(kind+", "+where+name, func(t *testing.T) {
					t.Parallel()
					m := &meeting{T: t, kind: kind, router: newRouter()}
					m.near, m.far, m.paths = setup.make(t)
					m.router.start(t, m.far)
					m.startEngine()
					scenario(m)
				})
			}
		}
	}
}
