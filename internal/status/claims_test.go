package status

import (
	"net"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/layer2"
)

func TestConflictOf(t *testing.T) {
	s := layer2.Standing{Addr: netip.MustParseAddr("192.0.2.1"), State: layer2.Announced, Link: "eth0"}
	if got := conflictOf(s, "a"); got != "" {
		t.Errorf("without a stranger: %q", got)
	}
	s.Stranger = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	if got, want := conflictOf(s, "a"), "machine 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1, too"; got != want {
		t.Errorf("announced: %q, want %q", got, want)
	}
	s.State = layer2.Taken
	if got, want := conflictOf(s, "a"), "machine 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1, so that it is not announced"; got != want {
		t.Errorf("taken: %q, want %q", got, want)
	}
}
