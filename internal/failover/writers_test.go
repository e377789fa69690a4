package failover

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Two halves of a network that both reach the API server do not write over each other's names.
func TestTheFormerOwnerWritesItsNameAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		denies func(*fixture)
		want   string
	}{
		{"it is alive: it gets the address back", func(*fixture) {}, "Synced"},
		{"it was about to find that it is isolated", func(d *fixture) { d.Isolated = map[string]bool{"x": true} }, "answers 192.0.2.1, Synced"},
		{"its Lease has expired", func(d *fixture) { d.Leases["x"] = Lease{Expired: true} }, "answers 192.0.2.1, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.step(0)
			d.dead("x")
			d.Cluster.Nodes[0].Excluded, d.Cluster.Nodes[2].Excluded = "", "an administrator excludes it"
			expect(t, "taken over", d.step(time.Second), "answers 192.0.2.1, answers 192.0.2.2, Synced")
			d.claim(map[netip.Addr]string{addr: self, addr2: self})
			d.step(time.Second)
			d.claim(map[netip.Addr]string{addr: "x", addr2: self})
			o := d.step(time.Second)
			expect(t, "it writes its name", o, "answers 192.0.2.1 unconfirmed, answers 192.0.2.2, probes 192.0.2.1, Synced")
			if o.Wake == 0 || o.Wake > denialTime+2*time.Millisecond {
				t.Errorf("wakes after %v", o.Wake)
			}
			c.denies(d)
			d.step(denialTime - time.Millisecond)
			expect(t, "a while later", d.step(time.Millisecond), strings.Replace(c.want, "Synced", "answers 192.0.2.2, Synced", 1))
		})
	}
}

// A preferred node that is back gets its address when the L2Claim says who has it now: before, it
// finds that another host has it, and does not take it.
func TestAPreferredNodeWaitsForWhatIsUnwritten(t *testing.T) {
	d := newFixture()
	d.Cluster.Nodes[1].Labels = map[string]string{"node": "x"}
	d.Cluster.L2[0].Prefer = []announce.Preference{{Weight: 1, Nodes: func(labels map[string]string) bool { return labels["node"] == "x" }}}
	d.claim(map[netip.Addr]string{addr: "x", addr2: "x"})
	d.step(0)
	d.dead("x")
	d.dead("y")
	d.away()
	expect(t, "taken over", d.step(time.Second), "answers 192.0.2.1 unconfirmed, answers 192.0.2.2 unconfirmed, Synced")
	d.alive("x")
	expect(t, "x is back before the API server", d.step(0), "answers 192.0.2.1 unconfirmed, answers 192.0.2.2 unconfirmed, probes 192.0.2.1, probes 192.0.2.2, Synced")
	d.dead("x")
	d.back()
	d.step(time.Second)
	d.alive("x")
	const unwritten = "answers 192.0.2.1 unconfirmed, answers 192.0.2.2 unconfirmed, probes 192.0.2.1, probes 192.0.2.2, Synced"
	expect(t, "x is back", d.step(0), unwritten)
	d.probed(addr, "")
	d.probed(addr2, "")
	expect(t, "it may be written", d.step(0), "answers 192.0.2.1, answers 192.0.2.2, Synced")
	d.claim(map[netip.Addr]string{addr: self, addr2: self})
	expect(t, "it is written", d.step(0), "proxies 192.0.2.1 as 73, proxies 192.0.2.2 as 73, Synced")
}

// A node that restarts may have been the only one that knew that it had taken an address over.
func TestWhoRestartsHasNotWhatItAnsweredFor(t *testing.T) {
	d := newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.State.former = nil
	d.probed(addr, "x")
	expect(t, "x has it", d.step(0), "probes 192.0.2.1, Synced")
	d.Members.Standing["x"] = membership.Restarting
	o := d.step(time.Second)
	expect(t, "x restarts", o, "probes 192.0.2.1, Synced")
	if after := o.Probe[addr].After; !after.Equal(d.Now) {
		t.Errorf("what was asked after %v counts, at %v", after, d.Now)
	}
	d.probed(addr, "x") // a backup of x answers
	expect(t, "it has it all the same", d.step(time.Second), "probes 192.0.2.1, Synced")
	d.probed(addr, "")
	expect(t, "it has not", d.step(0), "answers 192.0.2.1, Synced")
}

// A node that starts does not know whether another one that is lost is in another half of the
// network, before it has seen whether that one renews its Lease.
func TestWhoWasLostBeforeThisNodeStarted(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*fixture)
		want string
	}{
		{"its Lease is renewed", func(d *fixture) {
			for i := range 4 {
				d.Leases["x"] = Lease{Renewed: d.Now.Add(time.Duration(i))}
				d.step(time.Second)
			}
		}, "probes 192.0.2.2, Synced"},
		{"its Lease expires", func(d *fixture) { d.Leases["x"] = Lease{Expired: true} }, "answers 192.0.2.1, probes 192.0.2.2, Synced"},
		{"it reports that it is isolated", func(d *fixture) { d.Isolated = map[string]bool{"x": true} }, "answers 192.0.2.1, probes 192.0.2.2, Synced"},
		{"its Lease is deleted", func(d *fixture) { delete(d.Leases, "x") }, "answers 192.0.2.1, probes 192.0.2.2, Synced"},
		{"the API server goes away", (*fixture).away, "answers 192.0.2.1 unconfirmed, probes 192.0.2.2, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.State = New(d.Options)
			d.exclude("")
			d.Cluster.Nodes[2].Excluded = "so that this node gets what x had"
			d.claim(map[netip.Addr]string{addr: "x", addr2: self})
			d.Members.Standing["x"] = membership.Unknown
			d.step(0)
			d.dead("x")
			d.Members.NeverMet = map[string]bool{"x": true}
			expect(t, "x is lost", d.step(time.Second), "probes 192.0.2.2, Synced")
			c.then(d)
			expect(t, "later", d.step(time.Second), c.want)
		})
	}
}

// A node that is back, and reads what it missed, leaves an address to a node that writes its name
// meanwhile, although it does not hear that one.
func TestWhoWritesWhileANodeReads(t *testing.T) {
	d := newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.step(0)
	d.dead("x")
	d.Members.Isolated = true
	d.step(time.Second)
	d.Members.Isolated = false
	d.API = API{Reachable: true, WasSynced: true}
	d.step(time.Second)
	expect(t, "the API server is heard", d.step(time.Second), "probes 192.0.2.1, Resyncing")
	d.probed(addr, "")
	d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
	expect(t, "it leaves the address to that node", d.step(0), "Resyncing")
	d.Leases["x"] = Lease{Expired: true}
	d.back()
	expect(t, "which dies", d.step(ConflictMemory), "probes 192.0.2.1, Synced")
}

// An owner over whose name a node wrote that it takes for dead does not write its own at once.
func TestAnOwnerIsOverwritten(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*fixture)
		want string
	}{
		{"the writer is alive: it gets the address", func(*fixture) {}, "Synced"},
		{"the writer's Lease has expired", func(d *fixture) { d.Leases["x"] = Lease{Expired: true} }, "answers 192.0.2.1, Synced"},
		{"no speaker runs on the node that the L2Claim names", func(d *fixture) { delete(d.Leases, "x") }, "answers 192.0.2.1, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.Cluster.Nodes[2].Excluded = "so that this node gets what x loses"
			d.claim(map[netip.Addr]string{addr: self})
			d.Cluster.Services = d.Cluster.Services[:1]
			expect(t, "it has the address", d.step(0), "answers 192.0.2.1, Synced")
			d.dead("x")
			d.step(time.Second)
			d.claim(map[netip.Addr]string{addr: "x"})
			expect(t, "x writes its name", d.step(time.Second), "answers 192.0.2.1 unconfirmed, probes 192.0.2.1, Synced")
			c.then(d)
			expect(t, "later", d.step(denialTime), c.want)
		})
	}
}
