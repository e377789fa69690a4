package failover

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Two nodes have one address.
func TestConflicts(t *testing.T) {
	low, high := "x", self
	if announce.Rank(low, addr) > announce.Rank(high, addr) {
		low, high = high, low
	}
	t.Run("the opponent is the first that was heard, and no MAC of this node or an unknown one", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: self, addr2: self})
		d.Facts.Conflicts = []Conflict{
			{addr, macOf("x"), d.Now.Add(time.Second), d.Now.Add(time.Second)}, {addr, macOf("y"), d.Now, d.Now.Add(time.Second)},
			{addr2, macOf(self), d.Now, d.Now}, {addr2, macOf("zebra"), d.Now, d.Now},
		}
		want := map[netip.Addr]Opponent{addr: {"y", macOf("y"), d.Now, d.Now.Add(time.Second)}}
		if diff := cmp.Diff(want, d.step(0).Conflicts, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
	t.Run("of several the one that it was taken over from gets it back at once", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: "x", addr2: self})
		d.step(0)
		d.away()
		d.dead("x")
		if o := d.step(time.Second); !o.Claimed[addr] {
			t.Fatal("it was not taken over")
		}
		d.Facts.Conflicts = []Conflict{{addr, macOf("y"), d.Now, d.Now}, {addr, macOf("x"), d.Now.Add(time.Millisecond), d.Now.Add(time.Millisecond)}}
		d.alive("x")
		if o := d.step(time.Millisecond); o.Claimed[addr] || o.Conflicts[addr].Node != "x" {
			t.Errorf("it keeps it against %+v", o.Conflicts[addr])
		}
	})
	for _, c := range []struct {
		name      string
		reachable bool
		heard     time.Duration
		keeps     bool
	}{
		{"who can ask the API server, whatever others say", true, time.Hour, true},
		{"who can't ask keeps it at first", false, yieldSoon - 1, true},
		{"and leaves it to who goes on, in the end", false, yieldLate, false},
		{"sooner, if the opponent ranks higher", false, yieldSoon, high == self},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
			d.step(0)
			first := d.Now
			if !c.reachable {
				d.away()
			}
			d.Now = d.Now.Add(c.heard)
			d.heard(addr, "x", first)
			if got := d.step(0).Claimed[addr]; got != c.keeps {
				t.Errorf("keeps it: %t", got)
			}
		})
	}
	t.Run("what was left to an opponent, and no node has, is taken back", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		d.step(0)
		d.away()
		d.heard(addr, "x", d.Now.Add(-yieldLate))
		if o := d.step(0); o.Claimed[addr] || len(o.Probe[addr].Links) == 0 {
			t.Fatalf("it keeps it: %t, and probes %v", o.Claimed[addr], o.Probe)
		}
		d.Facts.Conflicts = nil
		for _, has := range []string{"x", ""} {
			d.Now = d.Now.Add(time.Second)
			d.probed(addr, has)
			if got := d.step(0).Claimed[addr]; got != (has == "") {
				t.Errorf("%q has it: taken back: %t", has, got)
			}
		}
	})
	t.Run("an opponent that is not heard any more gets nothing", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		d.step(0)
		d.away()
		d.heard(addr, "x", d.Now.Add(-yieldLate))
		if !d.step(yieldSoon).Claimed[addr] {
			t.Error("it leaves it")
		}
	})
	t.Run("who is heard is alive, and what is given up to it is not answered for any longer", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		d.step(0)
		d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
		d.dead("x")
		d.heard(addr, "x", d.Now)
		o := d.step(time.Second)
		expect(t, "it gives way", o, "Synced")
		if !o.Alive["x"] {
			t.Error("who was heard counts as dead")
		}
	})
	t.Run("who is dead for its watchers and for the API server is ignored, whichever host uses its name", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
		d.step(0)
		d.dead("x")
		d.Leases["x"] = Lease{Expired: true}
		d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
		d.heard(addr, "x", d.Now)
		o := d.step(time.Second)
		if o.Alive["x"] || len(o.Conflicts) > 0 || !o.Claimed[addr] {
			t.Errorf("alive: %t, conflicts %v, answers: %t", o.Alive["x"], o.Conflicts, o.Claimed[addr])
		}
	})
	t.Run("what was left to an opponent stays with it, also when no more is heard of it", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: "x", addr2: "x"})
		d.step(0)
		d.dead("x")
		d.away()
		first := d.Now
		o := d.step(time.Second)
		mine := slices.Collect(maps.Keys(o.Claimed))
		if len(mine) == 0 {
			t.Fatal("it takes nothing of what x had, so that this proves nothing")
		}
		d.Now = d.Now.Add(yieldLate)
		d.heard(mine[0], "y", first)
		for range 5 {
			if d.step(0).Claimed[mine[0]] {
				t.Fatal("it takes it back at once")
			}
			d.step(ConflictMemory)
			d.Facts.Conflicts = nil
		}
		d.dead("y")
		if !d.step(0).Claimed[mine[0]] {
			t.Error("it does not take it when the opponent is also dead")
		}
	})
	t.Run("an owner named while the API server was away was alive", func(t *testing.T) {
		d := newFixture()
		d.claim(map[netip.Addr]string{addr: "y", addr2: "y"})
		d.away()
		d.step(0)
		d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
		d.dead("x")
		d.back()
		if o := d.step(time.Second); o.Claimed[addr] || o.Conflicts[addr].Node != "x" {
			t.Errorf("it takes what x was given: %s", summary(o))
		}
		d.step(ConflictMemory)
		if o := d.step(0); o.Conflicts[addr].Node != "" || len(d.otherOwners) > 0 {
			t.Errorf("it is remembered: %v", o.Conflicts)
		}
	})
}
