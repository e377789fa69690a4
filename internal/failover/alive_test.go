package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestWhoIsAlive(t *testing.T) {
	for _, c := range []struct {
		name     string
		leased   bool
		expired  bool
		standing membership.Standing
		known    bool
		want     bool
	}{
		{"no Lease, though heard", false, false, membership.Alive, true, false},
		{"a Lease, and nothing known of the wire", true, false, 0, false, true},
		{"a Lease that is not renewed, and nothing known of the wire", true, true, 0, false, false},
		{"not heard yet", true, false, membership.Unknown, true, true},
		{"not heard yet, and no renewals", true, true, membership.Unknown, true, false},
		{"heard, though renewals are missing", true, true, membership.Alive, true, true},
		{"restarting", true, true, membership.Restarting, true, true},
		{"gone for its watchers, though its Lease has not expired", true, false, membership.Dead, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			delete(d.Leases, "x")
			delete(d.Members.Standing, "x")
			if c.leased {
				d.Leases["x"] = Lease{Renewed: d.Now, Expired: c.expired}
			}
			if c.known {
				d.Members.Standing["x"] = c.standing
			}
			if got := d.step(0).Alive["x"]; got != c.want {
				t.Errorf("alive: %t", got)
			}
		})
	}
}

// A speaker said that it is alive, no session with it has come Up, and it reports that it is isolated.
func TestWhoReportsThatItIsIsolatedIsNotAlive(t *testing.T) {
	for _, c := range []struct {
		name     string
		down     string
		standing membership.Standing
		api      bool
		want     bool
	}{
		{"no session is Up", "x", membership.Alive, true, false},
		{"its session is Up: the report is old", "y", membership.Alive, true, true},
		{"the report may be old: the API server is away", "x", membership.Alive, false, true},
		{"it restarts", "x", membership.Restarting, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.Isolated = map[string]bool{"x": true}
			d.Members.Down, d.Members.Standing["x"], d.API.Reachable = map[string]time.Time{c.down: d.Now}, c.standing, c.api
			if got := d.step(0).Alive["x"]; got != c.want {
				t.Errorf("alive: %t", got)
			}
		})
	}
}

// Speakers that can't hear one another, and all reach the API server.
func TestWhoGoesOnRenewingIsAliveAfterAll(t *testing.T) {
	d := newFixture()
	d.Cluster.Nodes = d.Cluster.Nodes[:1]
	names := []string{"alive", "dead", "early", "late"}
	for _, n := range names {
		node := d.Cluster.Nodes[0]
		node.Name = n
		d.Cluster.Nodes = append(d.Cluster.Nodes, node)
		d.dead(n)
	}
	var have []string
	for s := range 6 {
		d.Leases = map[string]Lease{
			"alive": {Renewed: time.Unix(int64(s), 0)}, "dead": {Renewed: time.Unix(min(int64(s), 1), 0)},
			"early": {Renewed: time.Unix(int64(s-3600*min(s, 1)), 0)}, // its clock was set back
			"late":  {Renewed: time.Unix(3600*min(int64(s), 1), 0)},   // and that of a dead one ahead
		}
		o := d.step(time.Second)
		line := fmt.Sprintf("%d:", s)
		for _, n := range names {
			line += fmt.Sprintf(" %s %t", n, o.Alive[n])
		}
		if o.Wake == 0 || o.Wake > d.Heartbeat {
			t.Errorf("renewals alone cause no Step, and it wakes after %v", o.Wake)
		}
		have = append(have, line)
	}
	want := []string{
		"0: alive false dead false early false late false", "1: alive false dead false early false late false",
		"2: alive false dead false early false late false", "3: alive true dead false early true late false",
		"4: alive true dead false early true late false", "5: alive true dead false early true late false",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	d.alive("alive")
	d.step(0)
	if _, known := d.renewals[nodeOrLink{node: "alive"}]; known {
		t.Error("who is back is remembered as gone")
	}
}

func TestWhoIsToBeWatched(t *testing.T) {
	d := newFixture()
	d.Leases = map[string]Lease{"heard": {Expired: true}, "new": {}, "cut": {}, "off": {Expired: true}}
	d.Members.Standing = map[string]membership.Standing{"heard": membership.Alive, "cut": membership.Dead, "off": membership.Dead}
	want := map[string]Watched{"cut": {}, "heard": {LeaseExpired: true}, "new": {}, self: {}}
	if diff := cmp.Diff(want, d.step(0).Watched); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	d = newFixture()
	d.API = API{}
	if d.step(0).Join {
		t.Error("others may count on a speaker that has not heard the API server")
	}
	d.API.Reachable = true
	d.step(0)
	d.API = API{}
	if !d.step(0).Join {
		t.Error("it leaves when the API server is away")
	}
}

// What a Lease says of a speaker that was heard after it had expired counts when this node has asked
// the API server since.
func TestWhoWasHeardIsNotSilent(t *testing.T) {
	d := newFixture()
	expect := func(what string, want bool) {
		t.Helper()
		if w, watched := d.step(time.Second).Watched["x"]; !watched || w.LeaseExpired != want {
			t.Errorf("%s: watched %t, its Lease expired %t", what, watched, w.LeaseExpired)
		}
	}
	d.Leases["x"] = Lease{Expired: true}
	expect("it is not heard", true)
	d.Members.Up = 1
	expect("it is heard", false)
	d.Members.Up = 0
	d.away()
	for range 10 {
		expect("all are lost, and the API server is away", false)
	}
	d.back()
	expect("the Lease has not come back", true)
	d.Members.Up = 1
	expect("it is heard again", false)
	d.Leases["x"] = Lease{}
	expect("its Lease is back", false)
	d.Members.Up = 0
	d.Leases["x"] = Lease{Expired: true}
	expect("its Lease has expired again", true)
}

// What a node remembers of a speaker whose Lease has expired ends although nothing else happens.
func TestWhoIsHeardNoMoreIsForgotten(t *testing.T) {
	for _, c := range []struct {
		name     string
		standing membership.Standing
		heard    func(*fixture, bool)
		before   string
		after    string
	}{
		{"it called", membership.Unknown, func(d *fixture, is bool) {
			d.Members.Callers = nil
			if is {
				d.Members.Callers = map[string]time.Time{"x": d.Now}
			}
		}, "true, its Lease expired true", "false, its Lease expired false"},
		{"it was heard", membership.Alive, func(d *fixture, is bool) {
			d.Members.Up = 0
			if is {
				d.Members.Up = 1
			}
		}, "true, its Lease expired false", "true, its Lease expired true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: "y", addr2: "y"})
			d.Leases["x"], d.Members.Standing["x"] = Lease{Expired: true}, c.standing
			see := func(what string, o Output, want string) {
				t.Helper()
				w, watched := o.Watched["x"]
				if got := fmt.Sprintf("%t, its Lease expired %t", watched, w.LeaseExpired); got != want {
					t.Errorf("%s: watched %s", what, got)
				}
			}
			c.heard(d, true)
			see("it is heard", d.step(0), c.before)
			c.heard(d, false)
			o := d.step(time.Second)
			see("it is heard no more", o, c.before)
			if o.Wake == 0 {
				t.Fatal("nothing causes another Step")
			}
			see("later", d.step(o.Wake), c.after)
		})
	}
}

// The network has split, and both halves reach the API server, which then goes away:
// this node knows x as alive by its Lease only, and can't ask any more.
func TestAnotherHalfWhenTheAPIServerGoesAway(t *testing.T) {
	split := func(t *testing.T) *fixture {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: "x", addr2: "x"})
		d.exclude("an administrator excludes it, so that it takes nothing at first")
		d.dead("x")
		d.dead("y")
		delete(d.Leases, "y")
		for range 5 {
			d.Leases["x"] = Lease{Renewed: d.Now}
			d.step(time.Second)
		}
		d.exclude("")
		expect(t, "the API server says that x lives", d.step(0), "Synced")
		return d
	}
	away := func(t *testing.T) *fixture {
		d := split(t)
		d.away()
		expect(t, "the API server is away: x may answer here", d.step(time.Second), "probes 192.0.2.1, probes 192.0.2.2, Synced")
		d.probed(addr, "")
		d.probed(addr2, "x")
		expect(t, "it answers for one address only", d.step(0), "answers 192.0.2.1 unconfirmed, probes 192.0.2.2, Synced")
		d.back()
		return d
	}
	t.Run("back, and x has not renewed yet", func(t *testing.T) {
		d := away(t)
		d.probed(addr, "")
		expect(t, "no address is released meanwhile", d.step(time.Second), "answers 192.0.2.1 unconfirmed, probes 192.0.2.1, probes 192.0.2.2, Synced")
	})
	t.Run("back, and x renews its Lease", func(t *testing.T) {
		d := away(t)
		for range 4 {
			d.Leases["x"] = Lease{Renewed: d.Now}
			d.step(time.Second)
		}
		expect(t, "the L2Claim decides", d.step(0), "Synced")
	})
	t.Run("back, and x does not", func(t *testing.T) {
		d := away(t)
		d.Leases["x"] = Lease{Renewed: d.Leases["x"].Renewed, Expired: true}
		expect(t, "x is dead everywhere", d.step(time.Second), "answers 192.0.2.1, answers 192.0.2.2, Synced")
	})
	t.Run("x reports that it is isolated", func(t *testing.T) {
		d := split(t)
		d.Facts.Isolated = map[string]bool{"x": true}
		expect(t, "it answers for nothing", d.step(time.Second), "answers 192.0.2.1, answers 192.0.2.2, Synced")
	})
}

// Only a node in one of its subnets can answer ARP in the place of one that restarts.
func TestWhoStandsInForANodeThatRestarts(t *testing.T) {
	a, b := netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("192.0.2.128/25")
	wide := netip.MustParsePrefix("192.0.2.0/24")
	linked := func(name string, prefixes ...netip.Prefix) announce.Node {
		n := announce.Node{Name: name}
		for i, p := range prefixes {
			n.Links = append(n.Links, announce.Link{Name: fmt.Sprint("eth", i), Prefixes: []netip.Prefix{p}})
		}
		return n
	}
	for _, c := range []struct {
		name     string
		of       announce.Node
		others   []announce.Node
		watchers []string
		want     []string
	}{
		{"those of its subnet, in the watchers' order", linked("of", a), []announce.Node{linked("x", a), linked("y", b), linked("z", a)}, []string{"z", "y", "x"}, []string{"z", "x"}},
		{"one that shares one of several", linked("of", a, b), []announce.Node{linked("x", b), linked("y", b, a)}, []string{"x", "y"}, []string{"x", "y"}},
		{"none with a wider prefix only", linked("of", a), []announce.Node{linked("x", wide)}, []string{"x"}, nil},
		{"none without links", linked("of", a), []announce.Node{linked("x")}, []string{"x"}, nil},
		{"none, if its own links are unknown", linked("of"), []announce.Node{linked("x", a)}, []string{"x"}, nil},
		{"no node whose Node object is deleted", linked("of", a), nil, []string{"x"}, nil},
		{"the first six", linked("of", a), []announce.Node{linked("1", a), linked("2", a), linked("3", a), linked("4", a), linked("5", a), linked("6", a), linked("7", a)},
			[]string{"1", "2", "3", "4", "5", "6", "7"}, []string{"1", "2", "3", "4", "5", "6"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &pass{}
			p.Cluster.Nodes = append([]announce.Node{c.of}, c.others...)
			p.Members.Backups = map[string][]string{"of": c.watchers}
			if diff := cmp.Diff(c.want, p.backups(&c.of)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}
