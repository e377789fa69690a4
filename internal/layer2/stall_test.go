package layer2

import (
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// A process that was stalled neither answers what waited for it nor announces,
// until its claims are set again.
func TestAfterAStallThereIsSilence(t *testing.T) {
	const stall = 10 * time.Second
	for _, c := range []struct {
		name string
		held time.Duration
		want bool // it goes on
	}{
		{"stalled for less than it takes others to notice", stall, true},
		{"stalled for longer", stall + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFake(t, Options{StallLimit: stall}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				a.Set(claimsFor(vip4))
				f.lately(5 * time.Second)
				a.Stalls() // a beat; nothing is due before the refresh
				time.Sleep(c.held)
				f.in <- question{}.arp()
				if got := f.take(); (len(got) == 1) != c.want {
					t.Errorf("a question that waited: %q", got)
				}
				if (len(a.Stalled()) == 0) != c.want || (a.Stalls() == 0) != c.want {
					t.Errorf("told: %d, stalls: %d", len(a.Stalled()), a.Stalls())
				}
				a.Set(claimsFor(vip4)) // by a pass that began before
				for range neighbor.Refresh / stall {
					time.Sleep(stall)
					a.Stalls()
				}
				if got := f.take(); (len(got) == 2) != c.want {
					t.Errorf("an announcement that was due: %q", got)
				}
				a.Set(nil)
				f.take()
				a.Set(claimsFor(vip4))
				f.take()
				f.in <- question{}.arp()
				if got := strings.Join(f.take(), ""); !strings.Contains(got, "ARP reply") {
					t.Errorf("after its claims were set again: %q", got)
				}
			})
		})
	}
}
