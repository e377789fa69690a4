package lease

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// settledAfter is how many own renewals in a row must have come back until this
// node's view of the cluster counts as complete.
const settledAfter = 3

// Renewal is a Lease as the watch shows it: the node that holds it, and when, by
// that node's clock, it was renewed.
type Renewal struct {
	Node    string
	Renewed time.Time
}

// Tracker tells which speakers renew their Leases, and how well the API server is
// heard. It counts time in own renewals that came back through the watch: while the
// API server is away it stands still, so that nobody is taken for gone because
// nobody could be heard. It is pure: it reads no clock, and has no lock.
type Tracker struct {
	node     string
	interval time.Duration

	echoed  time.Time // the own renewal that came back last, by this node's wall clock
	heardAt time.Time // when it did; zero: not since Restart
	echoes  int       // how many in a row came back
	total   int       // how many ever did: the clock by which Leases expire
	settled bool      // settledAfter did, once
	leases  map[string]sighting
	expired map[string]bool // replaced, never changed: others may hold it

	doubts    map[string]doubt // of the Leases that are read one by one, not watched
	restarted bool             // since Due was called
}

// sighting is what was seen last of a Lease.
type sighting struct {
	renewed time.Time
	since   int // Tracker.total when that was seen first
}

// Change is what became of a speaker.
type Change struct {
	Node string
	Now  Presence
}

// Presence is how a speaker stands by its Lease.
type Presence int

const (
	Appeared Presence = iota // it was not known
	Expired                  // it has missed too many renewals
	Returned                 // it renews again
)

// NewTracker returns the tracker of the speaker on node, which renews its Lease
// once in an interval.
func NewTracker(node string, interval time.Duration) *Tracker {
	return &Tracker{node: node, interval: interval, leases: map[string]sighting{}}
}

// Reachable reports whether the API server was heard lately: so lately that no
// other speaker takes this one for gone.
func (t *Tracker) Reachable(now time.Time) bool {
	return !t.heardAt.IsZero() && now.Sub(t.heardAt) < (intent.MissedHeartbeats-1)*t.interval+t.interval/2
}

// API says how well the API server is heard. Until it is Synced this speaker may not
// know of others that started with it, and takes nothing that nobody has: the first
// to start would take everything.
func (t *Tracker) API(now time.Time) failover.API {
	reachable := t.Reachable(now)
	return failover.API{Reachable: reachable, Synced: reachable && t.echoes >= settledAfter, WasSynced: t.settled}
}

// Restart has the API server count as not reachable until an own renewal comes back
// that is newer than the last.
func (t *Tracker) Restart() { t.heardAt, t.restarted = time.Time{}, true }

// Echo takes in the own renewal as the watch shows it. It reports whether that is
// another one than the last: if not, the watch is behind, and time stands still;
// and whether the claims must be read past the cache before Observe may count it,
// since this node did not hear the API server in between.
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

// Observe counts the renewals that the other speakers have missed, after Echo has
// told of a fresh own one. It returns what became of them; and whether API or
// Expired tell something new.
func (t *Tracker) Observe(others []Renewal, now time.Time) (out []Change, changed bool) {
	seen := renewedAt(others)
	maps.DeleteFunc(t.leases, func(node string, _ sighting) bool { _, held := seen[node]; return !held })
	return t.take(slices.Sorted(maps.Keys(seen)), seen, now)
}

// take takes in what was seen of the Leases of some nodes: one that is not among those
// seen is not held.
func (t *Tracker) take(nodes []string, seen map[string]time.Time, now time.Time) (out []Change, changed bool) {
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
		} else if c, news := t.judge(node, renewed, before[node]); news {
			out = append(out, c)
		}
	}
	return out, t.echoes <= settledAfter || slices.ContainsFunc(out, func(c Change) bool { return c.Now != Appeared })
}

// judge counts the own renewals without one of a node. While this speaker is not
// settled the others may need as long as itself to be heard again: what they missed
// until then is forgiven, unless they count as gone already.
func (t *Tracker) judge(node string, renewed time.Time, expired bool) (Change, bool) {
	last, known := t.leases[node]
	if !known || !last.renewed.Equal(renewed) || !expired && t.echoes < settledAfter {
		last = sighting{renewed, t.total}
	}
	t.leases[node] = last
	is := t.total-last.since >= intent.MissedHeartbeats
	if is {
		t.expired[node] = true
	} else {
		delete(t.expired, node)
	}
	switch {
	case !known:
		return Change{node, Appeared}, true
	case is && !expired:
		return Change{node, Expired}, true
	case expired && !is:
		return Change{node, Returned}, true
	}
	return Change{}, false
}

// Expired returns the nodes whose speakers have missed too many renewals. Nobody may
// change the map.
func (t *Tracker) Expired() map[string]bool { return t.expired }
