package layer2

import (
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// A process that was held up neither answers what waited for it nor announces,
// until it is told anew what it has.
func TestAfterALapseThereIsSilence(t *testing.T) {
	const lapse = 10 * time.Second
	for _, c := range []struct {
		name string
		held time.Duration
		want bool // it goes on
	}{
		{"held up for less than it takes others to notice", lapse, true},
		{"held up for longer", lapse + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFake(t, Options{Lapse: lapse}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				a.Set(claimsFor(vip4))
				f.lately(5 * time.Second)
				a.Lapses() // a beat; nothing is due before the refresh
				time.Sleep(c.held)
				f.in <- question{}.arp()
				if got := f.take(); (len(got) == 1) != c.want {
					t.Errorf("a question that waited: %q", got)
				}
				if (len(a.Lapsed()) == 0) != c.want || (a.Lapses() == 0) != c.want {
					t.Errorf("told: %d, lapses: %d", len(a.Lapsed()), a.Lapses())
				}
				a.Set(claimsFor(vip4)) // by a pass that began before
				for range neighbor.Refresh / lapse {
					time.Sleep(lapse)
					a.Lapses()
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
					t.Errorf("when it was told anew: %q", got)
				}
			})
		})
	}
}
