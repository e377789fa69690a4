package lease

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// beat has an own renewal come back, the n-th, and shows the others'.
func (t *Tracker) beat(n int, others ...Renewal) (out []Change, changed, resync bool) {
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
		t.beat(n - settledAfter)
	}
	return t
}

// Each step of a story is one own renewal that came back: when the other
// speakers were last seen to renew, and who counts as gone then.
func TestWhoMissesRenewalsIsGone(t *testing.T) {
	type step struct {
		renewed map[string]int
		gone    []string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one that renews is there", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 3}, nil}, {map[string]int{"a": 4}, nil}}},
		{"one that misses two renewals is there, after three it is gone", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"one that renews in time is counted anew", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil},
			{map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, []string{"a"}},
		}},
		{"one that comes back is there at once", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}}, {map[string]int{"a": 9}, nil},
		}},
		{"one whose clock is set back, or ahead, is there as long as it renews", []step{
			{map[string]int{"a": 5000}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 9000}, nil}, {map[string]int{"a": 9001}, nil},
		}},
		{"one that released its Lease needs no counting", []step{{map[string]int{"a": 1}, nil}, {nil, nil}, {nil, nil}, {nil, nil}}},
		{"one that released its Lease and takes it again is counted anew", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {nil, nil},
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"one that fell silent does not take another with it", []step{
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
				news, changed, _ := h.beat(i, others...)
				gone := slices.Sorted(maps.Keys(h.Expired()))
				if diff := cmp.Diff(s.gone, gone); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
				if changed != !slices.Equal(gone, before) {
					t.Errorf("step %d: told of a change: %t (%v); before %v, now %v", i, changed, news, before, gone)
				}
				before = gone
			}
		})
	}
}

// After an outage of the API nobody is taken for gone for what was missed in
// it, and those that were gone before stay so until they are heard.
func TestWhatWasMissedInAnOutageIsForgiven(t *testing.T) {
	h := settled()
	slow, dead := Renewal{"slow", time.Unix(5, 0)}, Renewal{"dead", time.Unix(1, 0)}
	h.beat(0, dead)
	h.beat(1, dead, slow)
	h.beat(2, dead, slow)
	h.beat(3, dead, slow) // dead is gone, and slow has missed two
	for n := 100; n < 100+settledAfter-1; n++ {
		if _, changed, resync := h.beat(n, slow, dead); !changed || resync != (n == 100) {
			t.Errorf("renewal %d: told %t, read anew %t", n, changed, resync)
		}
		if diff := cmp.Diff([]string{"dead"}, slices.Sorted(maps.Keys(h.Expired()))); diff != "" {
			t.Errorf("renewal %d: %s", n, diff)
		}
		if api := h.API(time.Unix(int64(n), 0)); !api.Reachable || api.Synced || !api.WasSynced {
			t.Errorf("renewal %d: %+v", n, api)
		}
	}
}

// The API server is reachable for as long as nobody takes this node for gone.
func TestReachable(t *testing.T) {
	h := NewTracker("self", time.Second)
	start := time.Unix(100, 0)
	if api := h.API(start); api.Reachable || api.Synced || api.WasSynced {
		t.Errorf("at first: %+v", api)
	}
	for n := range settledAfter {
		h.beat(100 + n)
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
	// The watch shows the same renewal again: that is no answer of now.
	if fresh, _ := h.Echo(last, last.Add(time.Minute)); fresh {
		t.Error("a renewal that has come back before counts again")
	}
	h.Restart()
	if api := h.API(last); api.Reachable || !api.WasSynced {
		t.Errorf("after Restart: %+v", api)
	}
}
