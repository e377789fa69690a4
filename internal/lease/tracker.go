package lease

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// settledAfter is how many own renewals in a row must come back before this node's view of
// the cluster counts as complete.
const settledAfter = 3

// Renewal is a Lease as the watch shows it: the node that holds it, and the time of the
// last renewal by that node's clock.
type Renewal struct {
	Node    string
	Renewed time.Time
}

// Tracker decides which speakers renew their Leases, and whether the API server is
// reachable. It counts time in own renewals that came back through the watch. While the API
// server is unreachable that clock stands still, so that no Lease expires then. It reads no
// wall clock, and has no lock.
type Tracker struct {
	node     string
	interval time.Duration

	echoed  time.Time // the time in the own renewal that came back last
	heardAt time.Time // when it came back; zero: none has since Restart
	echoes  int       // how many came back in a row
	total   int       // how many ever came back: the clock by which Leases expire
	settled bool      // echoes has reached settledAfter at some time
	leases  map[string]sighting
	expired map[string]bool // replaced, never changed: callers may hold it

	doubts    map[string]doubt // of the Leases that are read one by one, not watched
	restarted bool             // Restart was called since Due
}

// sighting is the last state of a Lease that was seen.
type sighting struct {
	renewed time.Time
	since   int // Tracker.total when this renewal was first seen
}

// Change is a change of a speaker's Lease.
type Change struct {
	Node string
	Now  Presence
}

// Presence is the state of a speaker's Lease after a change.
type Presence int

const (
	Appeared Presence = iota // it was not known before
	Expired                  // it has missed too many renewals
	Returned                 // it renews again
)

// NewTracker returns the tracker of the speaker on node, which renews its Lease once per
// interval.
func NewTracker(node string, interval time.Duration) *Tracker {
	return &Tracker{node: node, interval: interval, leases: map[string]sighting{}}
}

// Reachable reports whether an own renewal came back recently enough that this speaker's
// Lease cannot have expired for any other speaker.
func (t *Tracker) Reachable(now time.Time) bool {
	return !t.heardAt.IsZero() && now.Sub(t.heardAt) < (intent.MissedHeartbeats-1)*t.interval+t.interval/2
}

// API returns whether the API server is reachable, and this node's view complete. Until it
// is Synced, this speaker may not know others that started at the same time, and must not
// take addresses without an owner: the first to start would take all of them.
func (t *Tracker) API(now time.Time) failover.API {
	reachable := t.Reachable(now)
	return failover.API{Reachable: reachable, Synced: reachable && t.echoes >= settledAfter, WasSynced: t.settled}
}

// Restart has the API server count as not reachable until an own renewal comes back
// that is newer than the last.
func (t *Tracker) Restart() { t.heardAt, t.restarted = time.Time{}, true }

// Echo records the own renewal as the watch shows it. fresh reports whether it is a new
// one; if not, the watch is behind, and the tracker's clock stands still. resync reports
// whether the API server was unreachable in between: then the L2Claims must be read past
// the cache before Observe is called.
func (t *Tracker) Echo(own, now time.Time) (fresh, resync bool) {
	if own.Equal(t.echoed) {
		return false, false
	}
	t.echoed = own
	if t.Reachable(now) {
		return true, false
	}
	t.echoes = 0
	return true, true
}

// Observe counts the renewals that the other speakers have missed. Call it after Echo has
// reported a fresh own renewal. It returns the changes of Leases, and whether the results
// of API or Expired changed.
func (t *Tracker) Observe(others []Renewal, now time.Time) (out []Change, changed bool) {
	seen := renewedAt(others)
	maps.DeleteFunc(t.leases, func(node string, _ sighting) bool { _, held := seen[node]; return !held })
	return t.record(slices.Sorted(maps.Keys(seen)), seen, now)
}

// record records what was seen of the nodes' Leases. A node that is not in seen holds none.
func (t *Tracker) record(nodes []string, seen map[string]time.Time, now time.Time) (out []Change, changed bool) {
	t.heardAt = now
	t.echoes++
	t.total++
	t.settled = t.settled || t.echoes >= settledAfter
	before, expired := t.expired, map[string]bool{}
	for node := range before {
		if _, held := t.leases[node]; held {
			expired[node] = true
		}
	}
	t.expired = expired
	for _, node := range nodes {
		if renewed, held := seen[node]; node == t.node {
		} else if !held {
			delete(t.leases, node)
			delete(t.expired, node)
		} else if c, is := t.count(node, renewed, before[node]); is {
			out = append(out, c)
		}
	}
	return out, t.echoes <= settledAfter || slices.ContainsFunc(out, func(c Change) bool { return c.Now != Appeared })
}

// count counts the own renewals since node's last one. It reports whether the node's Lease
// changed. After an outage of the API server the others may need as long as this speaker to
// renew again: until this speaker is settled their missed renewals do not count, unless
// their Leases had expired before.
func (t *Tracker) count(node string, renewed time.Time, expired bool) (Change, bool) {
	last, known := t.leases[node]
	if !known || !last.renewed.Equal(renewed) || !expired && t.echoes < settledAfter {
		last = sighting{renewed, t.total}
	}
	t.leases[node] = last
	expires := t.total-last.since >= intent.MissedHeartbeats
	if expires {
		t.expired[node] = true
	} else {
		delete(t.expired, node)
	}
	switch {
	case !known:
		return Change{node, Appeared}, true
	case expires && !expired:
		return Change{node, Expired}, true
	case expired && !expires:
		return Change{node, Returned}, true
	}
	return Change{}, false
}

// Expired returns the nodes whose speakers have missed too many renewals. Callers must not
// change the map.
func (t *Tracker) Expired() map[string]bool { return t.expired }
