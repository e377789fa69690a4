package failover

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Who a node takes an address over from, and when.
func TestTake(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts func(*fixture)
		want  string
	}{
		{"what its L2Claim says is its own", func(d *fixture) { d.claim(map[netip.Addr]string{addr: self, addr2: "y"}) }, "answers 192.0.2.1, Synced"},
		{"nothing that a living node has", func(d *fixture) { d.claim(map[netip.Addr]string{addr: "x", addr2: "y"}) }, "Synced"},
		{"what a dead node had, with the API server", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.dead("x")
			d.dead("y")
		}, "answers 192.0.2.1, answers 192.0.2.2, Synced"},
		{"what a dead node had, without the API server, which it can't tell it yet", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.dead("x")
			d.dead("y")
			d.away()
		}, "answers 192.0.2.1 unconfirmed, answers 192.0.2.2 unconfirmed, Synced"},
		{"what a node had that was dead before this one knew all, if a probe finds no host", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.dead("x")
			d.syncedAt = d.Now
		}, "probes 192.0.2.1, Synced"},
		{"what a node had with which it has had no session since before it knew all, if a probe finds no host", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.dead("x")
			d.dead("y")
			d.Members.Down = map[string]time.Time{"x": d.syncedAt, "y": d.syncedAt.Add(1)}
		}, "answers 192.0.2.2, probes 192.0.2.1, Synced"},
		{"what a dead node had, while this one starts, if a probe finds no host", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.dead("x")
			d.API = API{Reachable: true}
		}, "probes 192.0.2.1, Starting"},
		{"nothing of a node that Kubernetes alone has lost, before it knows the others", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			for _, n := range []string{"x", "y"} {
				d.Members.Standing[n], d.Leases[n] = membership.Unknown, Lease{Expired: true}
			}
			d.API = API{Reachable: true}
		}, "Starting"},
		{"that, when it knows them, if a probe finds no host", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			for _, n := range []string{"x", "y"} {
				d.Members.Standing[n], d.Leases[n] = membership.Unknown, Lease{Expired: true}
			}
		}, "probes 192.0.2.1, probes 192.0.2.2, Synced"},
		{"its own, without the API server, if a probe finds no host", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.away()
		}, "probes 192.0.2.1, Synced"},
		{"which it did", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.away()
			d.probed(addr, "")
		}, "answers 192.0.2.1, Synced"},
		{"not what a probe found elsewhere", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.away()
			d.probed(addr, "x")
		}, "probes 192.0.2.1, Synced"},
		{"nor what an unknown host has", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.away()
			d.probed(addr, "zebra")
		}, "probes 192.0.2.1, Synced"},
		{"nothing while it is isolated", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.Members.Isolated = true
		}, "Isolated"},
		{"nothing after its process stood still", func(d *fixture) {
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.Stalls = 1
		}, "Stalled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			c.facts(d)
			expect(t, "it takes", d.step(0), c.want)
		})
	}
}

// What a probe says, and for how long.
func TestProbes(t *testing.T) {
	// missing has the API server away, and addr2 of x, which this node must probe.
	missing := func() *fixture {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: "y", addr2: "x"})
		d.away()
		d.Members.Isolated = true
		d.step(0)
		d.Members.Isolated = false
		d.step(0)
		d.step(probeAllAfter)
		return d
	}
	takes := func(o Output) bool { return o.Claimed[addr2] }
	for _, c := range []struct {
		name string
		then func(*fixture)
		want bool
	}{
		{"it answered long before it died", func(d *fixture) { d.probed(addr2, "x"); d.step(terminationDelay + time.Millisecond) }, true},
		{"it answered just before", func(d *fixture) { d.probed(addr2, "x"); d.step(terminationDelay - time.Millisecond) }, false},
		{"too long ago", func(d *fixture) { d.probed(addr2, "x"); d.step(probeValid) }, false},
		{"the probe was inconclusive", func(d *fixture) { d.Probes[addr2] = Probe{Asked: d.Now, Done: d.Now, Links: []string{"eth0"}} }, false},
		{"asked on another link", func(d *fixture) {
			d.probed(addr2, "x")
			p := d.Probes[addr2]
			p.Links = []string{"eth1"}
			d.Probes[addr2] = p
			d.step(time.Second)
		}, false},
		{"it was back in between", func(d *fixture) {
			d.probed(addr2, "x")
			d.step(time.Second / 2)
			d.dead("x")
			d.dead("y")
			d.exclude("an administrator excludes it, so that it takes nothing meanwhile")
			d.step(0)
			d.alive("x")
			d.step(time.Millisecond)
			d.exclude("")
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := missing()
			c.then(d)
			d.dead("x")
			d.dead("y") // so that this node is to have it
			if got := takes(d.step(0)); got != c.want {
				t.Errorf("taken: %t", got)
			}
		})
	}
}

// A node takes an address over, and can say so only later: meanwhile the former
// owner may have gone on in another half of the network.
func TestATakeoverWithoutTheAPIServer(t *testing.T) {
	for _, c := range []struct {
		name string
		has  string // the node that also answers for it
		want string
	}{
		{"when no other node has it, it is written", "", "answers 192.0.2.1, answers 192.0.2.2, Synced"},
		{"a third node also has it: they will settle it", "y", "answers 192.0.2.1, answers 192.0.2.2, Synced"},
		{"the former owner has it still: it is left to that one", "x", "answers 192.0.2.2, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: "x", addr2: self})
			d.step(0)
			d.dead("x")
			d.dead("y")
			d.away()
			o := d.step(time.Second)
			expect(t, "taken", o, "answers 192.0.2.1 unconfirmed, answers 192.0.2.2, Synced")
			if !slices.Contains(o.Events, Event{AddressTakenOver, addr, "x"}) {
				t.Errorf("events: %v", o.Events)
			}
			d.back()
			expect(t, "it asks once more", d.step(time.Second), "answers 192.0.2.1 unconfirmed, answers 192.0.2.2, probes 192.0.2.1, Synced")
			d.probed(addr, c.has)
			o = d.step(0)
			expect(t, "it knows", o, c.want)
			if c.has == "x" && o.Conflicts[addr].Node != "x" {
				t.Errorf("conflicts: %v", o.Conflicts)
			}
		})
	}
}

// A node that starts asks who has what its L2Claims still give it: another node may have
// taken it over without the API server. Others count on it once it knows.
func TestWhatANodeHadBeforeItStarted(t *testing.T) {
	starts := func() *fixture {
		d := newFixture()
		d.State = New(d.Options)
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		d.API = API{}
		expect(t, "it starts", d.step(0), "Starting")
		d.API = API{Reachable: true}
		return d
	}
	for _, c := range []struct {
		name string
		has  string // the node that answers for it
		want string
		join bool
	}{
		{"no host has it", "", "answers 192.0.2.1, Starting", true},
		{"another node has it", "x", "probes 192.0.2.1, Starting", true},
		{"an unknown host has it, which is a conflict", "zebra", "answers 192.0.2.1, Starting", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := starts()
			o := d.step(0)
			expect(t, "the API server is heard", o, "probes 192.0.2.1, Starting")
			if o.Join {
				t.Error("others count on it, and it does not answer")
			}
			d.probed(addr, c.has)
			o = d.step(0)
			expect(t, "it knows", o, c.want)
			if o.Join != c.join {
				t.Errorf("join: %t", o.Join)
			}
		})
	}
	t.Run("the other one has written it", func(t *testing.T) {
		d := starts()
		d.probed(addr, "x")
		d.step(0)
		d.back()
		expect(t, "not yet, and this node knows all", d.step(time.Second), "probes 192.0.2.1, Synced")
		d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
		expect(t, "now", d.step(time.Second), "Synced")
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		expect(t, "an administrator moves it here", d.step(time.Second), "answers 192.0.2.1, Synced")
	})
	t.Run("the other one hands it over", func(t *testing.T) {
		d := starts()
		d.Claims[slices.IndexFunc(d.Claims, func(c Claim) bool { return c.Addr == addr })].Answering = "x"
		d.probed(addr, "x")
		expect(t, "as the L2Claim says", d.step(0), "answers 192.0.2.1, Starting")
	})
	t.Run("there is no other speaker", func(t *testing.T) {
		d := newFixture()
		d.State = New(d.Options)
		d.claim(map[netip.Addr]string{addr: self})
		d.API, d.Speakers = API{Reachable: true}, map[string]bool{self: true}
		expect(t, "no node to ask", d.step(0), "answers 192.0.2.1, Starting")
	})
}

func TestHandover(t *testing.T) {
	d := newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.step(0)
	d.Claims[slices.IndexFunc(d.Claims, func(c Claim) bool { return c.Addr == addr })].Node = "x" // an administrator moves it
	o := d.step(time.Second)
	expect(t, "it answers until x does", o, "proxies 192.0.2.1 as 73, Synced")
	if o.Wake == 0 || o.Wake > handoverTimeout+2*time.Millisecond {
		t.Errorf("wakes after %v", o.Wake)
	}
	expect(t, "x does not, yet", d.step(handoverTimeout), "proxies 192.0.2.1 as 73, Synced")
	expect(t, "for so long", d.step(time.Millisecond), "Synced")

	d = newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.step(0)
	d.claim(map[netip.Addr]string{addr: "x", addr2: "y"}) // and x says that it answers
	expect(t, "x answers", d.step(time.Second), "Synced")

	d = newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.step(0)
	d.Claims[slices.IndexFunc(d.Claims, func(c Claim) bool { return c.Addr == addr })].Node = "x"
	d.step(time.Second)
	d.Members.Isolated = true
	expect(t, "cut off it hands nothing over", d.step(time.Second), "Isolated")
}

// A State remembers what the last Step came to, and nothing of what it was given: a
// speaker with thousands of Services steps many times a second, for months.
func TestFactsAreForgotten(t *testing.T) {
	d := newFixture()
	services := d.Cluster.Services
	var given []weak.Pointer[announce.Service]
	for range 3 {
		d.Cluster.Services = slices.Clone(services)
		given = append(given, weak.Make(&d.Cluster.Services[0]))
		d.step(time.Second)
	}
	d.Cluster.Services = services
	d.step(time.Second)
	runtime.GC()
	for i, g := range given {
		if g.Value() != nil {
			t.Errorf("what was given %d Steps ago is still held", len(given)-i)
		}
	}
	runtime.KeepAlive(d)
}
