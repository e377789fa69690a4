package status

import (
	"net"
	"net/netip"
	"testing"

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
