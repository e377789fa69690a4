package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestLapse(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name      string
		connected bool
		after     time.Duration
		lasts     bool
	}{
		{"it is over when the API server was asked", true, time.Millisecond, false},
		{"without, others first get time to take what it had", false, recovery - 1, true},
		{"then it asks on the wire", false, recovery, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l lapse
			if l.look(0, true, start) || l.lasts() {
				t.Fatal("a lapse, and there was none")
			}
			if !l.look(1, true, start) || !l.lasts() {
				t.Fatal("no lapse, and there was one")
			}
			if l.look(1, c.connected, start.Add(c.after)) {
				t.Error("the same lapse is news again")
			}
			if l.lasts() != c.lasts {
				t.Errorf("lasts %t", l.lasts())
			}
			if !l.look(2, c.connected, start.Add(c.after)) || !l.lasts() {
				t.Error("another lapse is none")
			}
		})
	}
}

// While a lapse lasts this node takes nothing, whoever has it: it can't tell.
// Then, without the API server, it asks who has what it had itself.
func TestMayTakeAfterALapse(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name   string
		lapse  lapse
		holder string
		asks   bool
	}{
		{"at first, not even its own", lapse{since: time.Unix(1, 0)}, "self", false},
		{"nor that of a node that its watchers have lost", lapse{since: time.Unix(1, 0)}, "watched", false},
		{"then its own, if nobody has it", lapse{}, "self", true},
		{"and that of a node that its watchers have lost, if nobody has it", lapse{}, "watched", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat{node: "self", interval: time.Second}
			h.ready.Store(true)
			r := &reconciler{options: options{node: "self"}, beat: h, lapse: c.lapse, missed: true}
			view := membership.View{Standing: map[string]membership.Standing{"watched": membership.Gone}}
			d := &decision{holders: map[netip.Addr]string{a: c.holder}, live: map[string]bool{"self": true}}
			if may, ask := r.mayTake(a, d, view); may || ask != c.asks {
				t.Errorf("may take: %t, is to ask: %t", may, ask)
			}
		})
	}
}
