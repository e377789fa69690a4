package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// tellGenerations tells the generation of an address whenever it changes, when an
// opponent was heard at these times, and every Step is made when it is due.
func tellGenerations(heard []time.Duration) []string {
	r, start := new(reannouncements), time.Unix(1000, 0)
	keeps := []announce.Claim{{Addr: addr}}
	var out []string
	opponents := map[netip.Addr]Opponent{}
	pass := func(at time.Duration) {
		before := r.generation(addr)
		r.announceAgainst(start.Add(at), keeps, opponents)
		if now := r.generation(addr); now != before {
			out = append(out, fmt.Sprintf("%v: %d", at, now))
		}
	}
	for i, at := range heard {
		o := opponents[addr]
		if o.First.IsZero() {
			o = Opponent{Node: "b", First: start.Add(at)}
		}
		o.Last = start.Add(at)
		opponents[addr] = o
		pass(at)
		for {
			next, ok := r.next(opponents, opponents, map[netip.Addr]bool{addr: true}, true)
			if !ok || !next.Before(o.Last.Add(ConflictMemory)) || i+1 < len(heard) && !next.Before(start.Add(heard[i+1])) {
				break
			}
			pass(next.Sub(start))
		}
	}
	return out
}

func TestAnOpponentIsContradicted(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		heard []time.Duration
		want  []string
	}{
		{"not at once, for it may be about to stop; and once, if it does then", []time.Duration{0, 100 * ms}, []string{"250ms: 1"}},
		{"again when it goes on, but not all the time", []time.Duration{0, 100 * ms, 300 * ms, 500 * ms, 2000 * ms}, []string{"250ms: 1", "1.25s: 2", "2.25s: 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, tellGenerations(c.heard)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}

func TestAllIsAnnouncedAgainWhenANodeIsBack(t *testing.T) {
	start := time.Unix(1000, 0)
	var r reannouncements
	alive := map[nodeOrLink]bool{{node: self}: true, {node: "b"}: true}
	var before map[nodeOrLink]bool
	step := func(name string, at time.Duration, now map[nodeOrLink]bool, reachable bool, want uint64) {
		t.Helper()
		r.healed(start.Add(at), returned(before, now), reachable)
		before = now
		if got := r.generation(addr); got != want {
			t.Errorf("%s: generation %d, want %d", name, got, want)
		}
	}
	next := func(reachable bool, want time.Duration) {
		t.Helper()
		if at, ok := r.next(nil, nil, nil, reachable); !ok || !at.Equal(start.Add(want)) {
			t.Errorf("next at %v, %t; want %v", at.Sub(start), ok, want)
		}
	}
	lost := map[nodeOrLink]bool{{node: self}: true, {node: "b"}: false}
	step("at the start", 0, alive, true, 0)
	step("a node is lost", time.Second, lost, true, 0)
	step("it is back", 2*time.Second, alive, true, 0)
	next(true, 2*time.Second+settleDelay)
	step("what is on its way has settled", 2*time.Second+settleDelay, alive, true, 1)
	step("a node is added", 3*time.Second, map[nodeOrLink]bool{{node: self}: true, {node: "b"}: true, {node: "c"}: true}, true, 1)
	step("it is lost again", 4*time.Second, lost, true, 1)
	step("and back too soon", 5*time.Second, alive, true, 1)
	next(true, 2*time.Second+settleDelay+reannounceInterval)
	step("later", 2*time.Second+settleDelay+reannounceInterval, alive, true, 2)
	if _, ok := r.next(nil, nil, nil, true); ok {
		t.Error("there is something left to do")
	}
	step("it is lost a third time", time.Hour, lost, true, 2)
	step("who can't ask the API server lets others speak first", time.Hour+time.Second, alive, false, 2)
	next(false, time.Hour+time.Second+yieldLate)
	next(true, time.Hour+time.Second+settleDelay)
	step("and then also announces", time.Hour+time.Second+yieldLate, alive, false, 3)
}

// What Step makes of it.
func TestGenerations(t *testing.T) {
	d := newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	generation := func(o Output) uint64 { return o.Plan.Claims[0].Generation }
	d.step(0)
	d.heard(addr, "x", d.Now)
	o := d.step(0)
	if generation(o) != 0 || o.Wake == 0 || o.Wake > settleDelay+2*time.Millisecond {
		t.Fatalf("generation %d, wakes after %v", generation(o), o.Wake)
	}
	d.Facts.Conflicts[0].Last = d.Now.Add(time.Millisecond)
	if got := generation(d.step(o.Wake)); got != 1 {
		t.Errorf("generation %d", got)
	}
}

// Without the API server a node that keeps an address lets an opponent speak. If that one dies,
// clients still send to it.
func TestADeadOpponentIsContradicted(t *testing.T) {
	d := newFixture()
	d.claim(map[netip.Addr]string{addr: self, addr2: "y"})
	d.step(0)
	d.away()
	d.heard(addr, "x", d.Now)
	generation := func(after time.Duration) uint64 { return d.step(after).Plan.Claims[0].Generation }
	if got := generation(settleDelay); got != 0 {
		t.Errorf("generation %d while it lives", got)
	}
	d.dead("x")
	if got := generation(time.Millisecond); got != 1 {
		t.Errorf("generation %d when it is dead", got)
	}
}
