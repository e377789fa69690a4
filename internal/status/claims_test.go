package status

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/layer2"
)

func TestConflictOf(t *testing.T) {
	s := layer2.Standing{Addr: netip.MustParseAddr("192.0.2.1"), State: layer2.Announced}
	if got := conflictOf(s, "a"); got != "" {
		t.Errorf("without a stranger: %q", got)
	}
	s.Foreign = []layer2.Foreign{{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Link: "eth0"}}
	if got, want := conflictOf(s, "a"), "machine 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1, too"; got != want {
		t.Errorf("announced: %q, want %q", got, want)
	}
	s.State = layer2.Taken
	if got, want := conflictOf(s, "a"), "machine 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1, so that it is not announced"; got != want {
		t.Errorf("taken: %q, want %q", got, want)
	}
	for i := range byte(2) {
		s.Foreign = append(s.Foreign, layer2.Foreign{MAC: net.HardwareAddr{2, 0, 0, 0, 1, i}, Link: "eth0"})
	}
	if got, want := conflictOf(s, "a"), "machine 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1 (and so have 02:00:00:00:01:00, 02:00:00:00:01:01), so that it is not announced"; got != want {
		t.Errorf("several: %q, want %q", got, want)
	}
}

// Claims of new addresses give way to what a busy API server has to do for others, and
// those of addresses that move do so no more than they must.
func TestWritesOfClaimsYieldToABusyAPIServer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name       string
		before     []time.Duration // what writes took
		took, want time.Duration
		urgent     bool
	}{
		{"the first write tells nothing yet", nil, 4 * ms, 4 * ms, false},
		{"an API server at rest", []time.Duration{4 * ms, 5 * ms}, 4 * ms, 4 * ms, false},
		{"one that takes five times as long", []time.Duration{4 * ms}, 20 * ms, 100 * ms, false},
		{"the same, and the address moves", []time.Duration{4 * ms}, 20 * ms, 20 * ms, true},
		{"one that hangs", []time.Duration{4 * ms}, time.Second, longestYield, false},
		{"one that hangs, and the address moves", []time.Duration{4 * ms}, 3 * time.Second, longestYield, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var y yield
			for _, took := range c.before {
				y.after(took, false)
			}
			if have := y.after(c.took, c.urgent); have < c.want*99/100 || have > c.want {
				t.Errorf("want %s, have %s", c.want, have)
			}
		})
	}
	var y yield
	y.after(4*ms, false)
	for range 3 * slower {
		y.after(20*ms, false)
	}
	if have := y.after(20*ms, false); have > 21*ms {
		t.Errorf("one that has become slower for good: still %s", have)
	}
}
