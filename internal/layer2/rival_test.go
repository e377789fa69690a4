package layer2

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A series lasts as long as no rivalPause is too long, and is told of at intervals.
func TestRivalsAreForgotten(t *testing.T) {
	var r rivals
	addr, start := netip.MustParseAddr("192.0.2.100"), time.Unix(1000, 0)
	tell := func(at time.Duration) string {
		_, told := r.Hear(addr, net.HardwareAddr{2, 0, 0, 0, 0, 2}, start.Add(at))
		v := r.Lately(start.Add(at))[0]
		return fmt.Sprint(told, " ", v.First.Sub(start), " ", v.Last.Sub(start))
	}
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{0, "true 0s 0s"},
		{rivalPause / 2, "false 0s 100ms"},
		{rivalPause, "true 0s 200ms"},
		{rivalPause + RivalMemory, "true 3.2s 3.2s"},
	} {
		if got := tell(c.at); got != c.want {
			t.Errorf("at %v: %s, want %s", c.at, got, c.want)
		}
	}
	if got := r.Lately(start.Add(rivalPause + 2*RivalMemory)); len(got) != 0 || len(r.heard) != 0 {
		t.Errorf("long after: %v", got)
	}
}

// Whoever forges the names of all speakers fills a fixed amount of memory, and is
// told as new once.
func TestRivalsAreBounded(t *testing.T) {
	var r rivals
	addr, now, fresh := netip.MustParseAddr("192.0.2.100"), time.Unix(1000, 0), 0
	for i := range 1000 {
		if isNew, _ := r.Hear(addr, net.HardwareAddr{2, 0, 0, 0, byte(i % 100), 2}, now.Add(time.Duration(i)*time.Millisecond)); isNew {
			fresh++
		}
	}
	if got := len(r.Lately(now.Add(time.Second))); got != maxRivals || fresh != maxRivals {
		t.Errorf("%d rivals, %d told as new; want %d", got, fresh, maxRivals)
	}
}
