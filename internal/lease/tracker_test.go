package lease

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// renewal has the n-th own renewal come back, and observes the others'.
func (t *Tracker) renewal(n int, others ...Renewal) (out []Change, changed, resync bool) {
	now := time.Unix(int64(n), 0)
	fresh, resync := t.Echo(now, now)
	if !fresh {
		return nil, false, false
	}
	out, changed = t.Observe(append(others, Renewal{"self", now}), now)
	return out, changed, resync
}

// settled returns a tracker to which settledAfter renewals have come back.
func settled() *Tracker {
	t := NewTracker("self", time.Second)
	for n := range settledAfter {
		t.renewal(n - settledAfter)
	}
	return t
}

// Each step of a story is one own renewal that came back: with the last renewals of the
// other speakers, and the nodes whose Leases have expired after it.
func TestALeaseExpiresAfterThreeMissedRenewals(t *testing.T) {
	type step struct {
		renewed map[string]int
		gone    []string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a Lease that is renewed does not expire", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 3}, nil}, {map[string]int{"a": 4}, nil}}},
		{"two missed renewals are tolerated, three are not", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"a renewal in time restarts the count", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil},
			{map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, []string{"a"}},
		}},
		{"a renewal after the Lease has expired counts at once", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}}, {map[string]int{"a": 9}, nil},
		}},
		{"the other's clock may be set back, or ahead", []step{
			{map[string]int{"a": 5000}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 9000}, nil}, {map[string]int{"a": 9001}, nil},
		}},
		{"a released Lease does not expire", []step{{map[string]int{"a": 1}, nil}, {nil, nil}, {nil, nil}, {nil, nil}}},
		{"a Lease that is taken again starts a new count", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {nil, nil},
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"one expired Lease does not affect another", []step{
			{map[string]int{"a": 1, "b": 1}, nil}, {map[string]int{"a": 1, "b": 2}, nil}, {map[string]int{"a": 1, "b": 3}, nil}, {map[string]int{"a": 1, "b": 4}, []string{"a"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := settled()
			var before []string
			for i, s := range c.steps {
				var others []Renewal
				for node, at := range s.renewed {
					others = append(others, Renewal{node, time.Unix(int64(at), 0)})
				}
				changes, changed, _ := h.renewal(i, others...)
				gone := slices.Sorted(maps.Keys(h.Expired()))
				if diff := cmp.Diff(s.gone, gone); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
				if changed != !slices.Equal(gone, before) {
					t.Errorf("step %d: reported a change: %t (%v); before %v, now %v", i, changed, changes, before, gone)
				}
				before = gone
			}
		})
	}
}

// Renewals that were missed in an outage of the API server do not count. Leases that had
// expired before stay expired until they are renewed.
func TestRenewalsMissedInAnOutageDoNotCount(t *testing.T) {
	h := settled()
	slow, dead := Renewal{"slow", time.Unix(5, 0)}, Renewal{"dead", time.Unix(1, 0)}
	h.renewal(0, dead)
	h.renewal(1, dead, slow)
	h.renewal(2, dead, slow)
	h.renewal(3, dead, slow) // dead has expired; slow has missed two
	for n := 100; n < 100+settledAfter-1; n++ {
		if _, changed, resync := h.renewal(n, slow, dead); !changed || resync != (n == 100) {
			t.Errorf("renewal %d: changed %t, resync %t", n, changed, resync)
		}
		if diff := cmp.Diff([]string{"dead"}, slices.Sorted(maps.Keys(h.Expired()))); diff != "" {
			t.Errorf("renewal %d: %s", n, diff)
		}
		if api := h.API(time.Unix(int64(n), 0)); !api.Reachable || api.Synced || !api.WasSynced {
			t.Errorf("renewal %d: %+v", n, api)
		}
	}
}

// The API server counts as reachable while no other speaker can take this Lease for expired.
func TestReachable(t *testing.T) {
	h := NewTracker("self", time.Second)
	start := time.Unix(100, 0)
	if api := h.API(start); api.Reachable || api.Synced || api.WasSynced {
		t.Errorf("at first: %+v", api)
	}
	for n := range settledAfter {
		h.renewal(100 + n)
	}
	last := start.Add((settledAfter - 1) * time.Second)
	for _, c := range []struct {
		later     time.Duration
		reachable bool
	}{{0, true}, {(intent.MissedHeartbeats - 1) * time.Second, true}, {intent.MissedHeartbeats*time.Second - time.Second/2, false}} {
		if api := h.API(last.Add(c.later)); api.Reachable != c.reachable || api.Synced != c.reachable || !api.WasSynced {
			t.Errorf("after %s: %+v", c.later, api)
		}
	}
	// The watch shows the same renewal again: that proves nothing about the present.
	if fresh, _ := h.Echo(last, last.Add(time.Minute)); fresh {
		t.Error("a renewal that has come back before counts again")
	}
	h.Restart()
	if api := h.API(last); api.Reachable || !api.WasSynced {
		t.Errorf("after Restart: %+v", api)
	}
}
