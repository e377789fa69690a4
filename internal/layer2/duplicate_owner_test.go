package layer2

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A series lasts as long as no peerPause is too long, and is reported at intervals.
func TestDuplicateOwnersAreForgotten(t *testing.T) {
	var r duplicateOwners
	addr, start := netip.MustParseAddr("192.0.2.100"), time.Unix(1000, 0)
	report := func(at time.Duration) string {
		_, reported := r.Hear(addr, net.HardwareAddr{2, 0, 0, 0, 0, 2}, start.Add(at))
		v := r.Recent(start.Add(at))[0]
		return fmt.Sprint(reported, " ", v.First.Sub(start), " ", v.Last.Sub(start))
	}
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{0, "true 0s 0s"},
		{duplicatePause / 2, "false 0s 100ms"},
		{duplicatePause, "true 0s 200ms"},
		{duplicatePause + DuplicateMemory, "true 3.2s 3.2s"},
	} {
		if got := report(c.at); got != c.want {
			t.Errorf("at %v: %s, want %s", c.at, got, c.want)
		}
	}
	if got := r.Recent(start.Add(duplicatePause + 2*DuplicateMemory)); len(got) != 0 || len(r.heard) != 0 {
		t.Errorf("long after: %v", got)
	}
}

// Whichever host forges the names of all speakers fills a fixed amount of memory, and is
// reported as new once.
func TestDuplicateOwnersAreBounded(t *testing.T) {
	var r duplicateOwners
	addr, now, fresh := netip.MustParseAddr("192.0.2.100"), time.Unix(1000, 0), 0
	for i := range 1000 {
		if isNew, _ := r.Hear(addr, net.HardwareAddr{2, 0, 0, 0, byte(i % 100), 2}, now.Add(time.Duration(i)*time.Millisecond)); isNew {
			fresh++
		}
	}
	if got := len(r.Recent(now.Add(time.Second))); got != maxDuplicates || fresh != maxDuplicates {
		t.Errorf("%d duplicate owners, %d told as new; want %d", got, fresh, maxDuplicates)
	}
}
