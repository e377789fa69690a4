package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestWhoIsThere(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name     string
		leased   bool
		lost     bool
		standing membership.Standing
		known    bool
		want     bool
	}{
		{"no Lease, though heard", false, false, membership.Present, true, false},
		{"a Lease, and nothing known of the wire", true, false, 0, false, true},
		{"a Lease that is not renewed, and nothing known of the wire", true, true, 0, false, false},
		{"not heard yet", true, false, membership.Unheard, true, true},
		{"not heard yet, and no renewals", true, true, membership.Unheard, true, false},
		{"heard, though renewals are missing", true, true, membership.Present, true, true},
		{"restarting", true, true, membership.Restarting, true, true},
		{"gone for its watchers, though its Lease is not over", true, false, membership.Gone, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := presence{leased: map[string]time.Time{}, lost: map[string]bool{"n": c.lost}}
			if c.leased {
				p.leased["n"] = now
			}
			if c.known {
				p.Standing = map[string]membership.Standing{"n": c.standing}
			}
			if got := p.there("n"); got != c.want {
				t.Errorf("there: %t", got)
			}
		})
	}
}

// Speakers that can't hear one another, and all reach the API server.
func TestWhoGoesOnRenewingIsThereAfterAll(t *testing.T) {
	r := &reconciler{options: options{heartbeat: time.Second}, goneFor: map[string]renewals{}}
	var have []string
	for second := range 6 {
		p := presence{
			leased: map[string]time.Time{
				"alive": time.Unix(int64(second), 0), "dead": time.Unix(min(int64(second), 1), 0),
				"early": time.Unix(int64(second-3600*min(second, 1)), 0), // its clock was set back
				"late":  time.Unix(3600*min(int64(second), 1), 0),        // and that of a dead one ahead
			},
			View: membership.View{Standing: map[string]membership.Standing{
				"alive": membership.Gone, "dead": membership.Gone, "early": membership.Gone, "late": membership.Gone,
			}},
		}
		r.prove(&p)
		have = append(have, fmt.Sprintf("%d: alive %t, dead %t, early %t, late %t", second, p.there("alive"), p.there("dead"), p.there("early"), p.there("late")))
	}
	want := []string{
		"0: alive false, dead false, early false, late false", "1: alive false, dead false, early false, late false",
		"2: alive false, dead false, early false, late false", "3: alive true, dead false, early true, late false",
		"4: alive true, dead false, early true, late false", "5: alive true, dead false, early true, late false",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	p := presence{leased: map[string]time.Time{}, View: membership.View{Standing: map[string]membership.Standing{"alive": membership.Present}}}
	r.prove(&p)
	if _, known := r.goneFor["alive"]; known {
		t.Error("who is back is remembered as gone")
	}
}

func TestWhoIsToBeWatched(t *testing.T) {
	now := time.Unix(1000, 0)
	p := presence{
		leased: map[string]time.Time{"heard": now, "new": now, "cut": now, "off": now},
		lost:   map[string]bool{"off": true},
		View: membership.View{Standing: map[string]membership.Standing{
			"heard": membership.Present, "cut": membership.Gone, "off": membership.Gone,
		}},
	}
	have := slices.Sorted(slices.Values(p.members("self")))
	if diff := cmp.Diff([]string{"cut", "heard", "new", "self"}, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}
