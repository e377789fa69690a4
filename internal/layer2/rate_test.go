package layer2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// A node that takes over many addresses, where a switch allows few frames: each
// address is announced once before any is again, and no second sees more frames than
// the rate, wherever it begins.
func TestAnnouncementsKeepTheRate(t *testing.T) {
	const rate = 10
	var vips []string
	for i := range 25 {
		vips = append(vips, fmt.Sprintf("198.51.100.%d", i+1))
	}
	onFake(t, Options{Rate: rate, Defend: true}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.Set(claimsFor(vips...))
		sent := f.lately(3*time.Second - time.Millisecond)
		if len(sent) != 3*rate {
			t.Errorf("%d frames in 3 s, want %d", len(sent), 3*rate)
		}
		first := map[string]bool{}
		for _, s := range sent[:len(vips)] {
			fields := strings.Fields(s)
			first[fields[7]] = fields[2] == "request"
		}
		if len(first) != len(vips) {
			t.Errorf("the first %d frames are about %d addresses:\n%s", len(vips), len(first), strings.Join(sent, "\n"))
		}
		a.Set(newClaims(append(vips, "203.0.113.1", "203.0.113.2")...))
		for range 30 {
			f.in <- foreignSays(vips[0])
			f.in <- question{target: vips[1]}.arp()
			sent = append(sent, f.lately(time.Second)...)
		}
		var times []time.Duration
		forms := map[string]bool{}
		for _, s := range sent {
			fields := strings.Fields(s)
			at, err := time.ParseDuration(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			times = append(times, at)
			forms[fields[7]+" "+fields[2]] = true
		}
		for i := rate; i < len(times); i++ {
			if times[i]-times[i-rate] < time.Second-2*time.Millisecond && !strings.Contains(sent[i], "reply to 02") {
				t.Errorf("%d frames from %v to %v", rate+1, times[i-rate], times[i])
			}
		}
		for _, v := range vips {
			if !forms[v+" request"] || !forms[v+" reply"] {
				t.Errorf("%s was not announced in both forms", v)
			}
		}
		if got := standing(a); !strings.Contains(got, "203.0.113.2 Announced") {
			t.Errorf("the new addresses were not announced: %s", got)
		}
	})
}

// Without a rate a takeover sends both forms at once, then one after the other, and
// both again each minute.
func TestTakeoverWithoutARate(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.Set(claimsFor(vip4))
		got := f.lately(999 * time.Millisecond)
		if len(got) != 5 {
			t.Errorf("%d frames in the first second, want 5", len(got))
		}
		got = append(got, f.lately(4*time.Second)...)
		requests := strings.Count(strings.Join(got, "\n"), " request ")
		if len(got) != arpFrames || 2*requests != arpFrames {
			t.Errorf("%d frames in 5 s, %d of them requests, want %d, half of them requests:\n%s", len(got), requests, arpFrames, strings.Join(got, "\n"))
		}
		if got = f.lately(2 * neighbor.Refresh); len(got) != 4 {
			t.Errorf("%d frames in the next 2 minutes, want 4: both forms each minute", len(got))
		}
	})
}
