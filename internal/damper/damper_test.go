package damper

import (
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestDamper(t *testing.T) {
	web, other := ipam.Key{Name: "web"}, ipam.Key{Name: "other"}
	type look struct {
		after  time.Duration // since the look before
		serves bool
		held   string // in the text; "": it is not held back
		again  time.Duration
	}
	once := []look{{time.Second, false, "", 0}, {time.Second, true, "", 0}}
	twice := append(append([]look{{0, true, "", 0}}, once...), once...)
	third := append(twice[:len(twice):len(twice)], look{time.Second, false, "", 0}, look{time.Second, true, "came back 3 times within 20m0s; it is announced again when one has served for 10s", 10 * time.Second})
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"what serves at the first look is not held back", []look{{0, true, "", 0}}},
		{"two returns are at once", twice},
		{"after the third it must have served for some time", append(third[:len(third):len(third)], look{4 * time.Second, true, "10s", 6 * time.Second}, look{6 * time.Second, true, "", 0})},
		{"what goes meanwhile needs longer at its next return", append(third[:len(third):len(third)],
			look{time.Second, false, "", 0}, look{time.Second, true, "served for 20s", 20 * time.Second}, look{20 * time.Second, true, "", 0})},
		{"returns of long ago do not count", append(third[:len(third):len(third)], look{time.Second, false, "", 0}, look{memory, true, "", 0})},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Damper
			now := time.Unix(1000, 0)
			for i, l := range c.looks {
				now = now.Add(l.after)
				held, again := d.Follow(now, map[ipam.Key]bool{web: l.serves, other: true})
				if (held[web] == "") != (l.held == "") || !strings.Contains(held[web], l.held) || again != l.again || held[other] != "" {
					t.Errorf("look %d: %q, again in %s; want %q, %s", i+1, held, again, l.held, l.again)
				}
			}
		})
	}
}

func TestTheHoldIsBounded(t *testing.T) {
	var d Damper
	now, key := time.Unix(1000, 0), ipam.Key{Name: "web"}
	for i := range 200 {
		now = now.Add(time.Second)
		if _, again := d.Follow(now, map[ipam.Key]bool{key: i%2 == 0}); again > longestHold {
			t.Fatalf("held for %s", again)
		}
	}
	if held, again := d.Follow(now, map[ipam.Key]bool{key: true}); again != longestHold || !strings.Contains(held[key], "1m20s") {
		t.Errorf("held for %s: %s", again, held[key])
	}
	if d.Follow(now, nil); len(d.of) != 0 {
		t.Error("a Service that is gone is remembered")
	}
}
