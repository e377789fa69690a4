package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestLapse(t *testing.T) {
	start := time.Unix(1000, 0)
	heard := membership.View{Up: 1, Accusations: 3}
	accused := membership.View{Up: 1, Accusations: 4}
	for _, c := range []struct {
		name      string
		connected bool
		view      membership.View
		after     time.Duration
		lasts     bool
		trusted   bool
	}{
		{"it is over when the API server was asked", true, accused, time.Millisecond, false, false},
		{"without, others first get time to say something", false, heard, recovery - 1, true, false},
		{"who is heard, and was not held for gone, goes on", false, heard, recovery, false, true},
		{"who was held for gone asks on the wire", false, accused, time.Hour, false, false},
		{"so does who is not heard", false, membership.View{Accusations: 3}, time.Hour, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l lapse
			if l.look(0, true, heard, start) || l.lasts() {
				t.Fatal("a lapse, and there was none")
			}
			if !l.look(1, true, heard, start) || !l.lasts() {
				t.Fatal("no lapse, and there was one")
			}
			if l.look(1, c.connected, c.view, start.Add(c.after)) {
				t.Error("the same lapse is news again")
			}
			if l.lasts() != c.lasts || l.trusted != c.trusted {
				t.Errorf("lasts %t, trusted %t", l.lasts(), l.trusted)
			}
			if !l.look(2, c.connected, c.view, start.Add(c.after)) || !l.lasts() || l.trusted {
				t.Error("another lapse is none")
			}
		})
	}
}

// After a lapse this node takes nothing, whoever has it, until it knows more;
// then, if nobody held it for gone, what it had itself.
func TestMayTakeAfterALapse(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name   string
		lapse  lapse
		holder string
		want   bool
	}{
		{"at first, not even its own", lapse{since: time.Unix(1, 0)}, "self", false},
		{"nor that of a node that its watchers have lost: this node can't tell", lapse{since: time.Unix(1, 0)}, "watched", false},
		{"its own, when nobody held it for gone", lapse{trusted: true}, "self", true},
		{"but no other's, out of the API server's reach", lapse{trusted: true}, "there", false},
		{"without a lapse nothing, out of the API server's reach", lapse{}, "self", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reconciler{options: options{node: "self"}, beat: &heartbeat{node: "self", interval: time.Second}, lapse: c.lapse}
			view := membership.View{Standing: map[string]membership.Standing{"watched": membership.Gone}}
			d := &decision{holders: map[netip.Addr]string{a: c.holder}, live: map[string]bool{"self": true, "there": true}}
			if got := r.mayTake(t.Context(), announce.Claim{Addr: a}, d, view); got != c.want {
				t.Errorf("may take: %t", got)
			}
		})
	}
}

// Trust ends when others may have taken something over since.
func TestTrustAfterALapseEnds(t *testing.T) {
	start := time.Unix(1000, 0)
	for name, view := range map[string]membership.View{"cut off": {Up: 1, Isolated: true}, "held for gone": {Up: 1, Accusations: 1}} {
		t.Run(name, func(t *testing.T) {
			var l lapse
			l.look(1, false, membership.View{Up: 1}, start)
			l.look(1, false, membership.View{Up: 1}, start.Add(recovery))
			if !l.trusted {
				t.Fatal("who is heard, and was not held for gone, is not trusted")
			}
			l.look(1, false, view, start.Add(2*recovery))
			if l.trusted {
				t.Error("it is trusted still")
			}
		})
	}
}
