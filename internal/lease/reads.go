package lease

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
)

// Where there are few speakers each watches all Leases. Among many that would be n²
// renewals for n speakers, so each watches its own Lease alone, as its clock, and reads
// the Leases of those of whom the wire tells nothing good.

// Largest is the number of speakers up to which each watches all Leases.
const Largest = 32

const (
	// fresh is for how many own renewals in a row a Lease is read that came into doubt.
	fresh = 2 * settledAfter
	// share is how many speakers there are for each own renewal that is let pass between
	// two reads of a Lease that has been in doubt for longer.
	share = 100
)

// Peer is a node that should have a speaker.
type Peer struct {
	Node   string
	Heard  bool      // it is found alive on the wire: its Lease need not be read
	Called time.Time // when it was last heard though it counts as gone: a change puts its Lease in doubt again
}

// doubt is what the reads of a Lease in doubt came to.
type doubt struct {
	called time.Time
	first  int // Tracker.total when it came into doubt
	asked  int // when it was to be read last
	read   bool
}

// Due returns the nodes whose Leases are to be read, sorted, after Echo has told of a fresh
// own renewal. What is read counts by ObserveRead.
func (t *Tracker) Due(peers []Peer) []string {
	doubts, held := map[string]doubt{}, map[string]sighting{}
	pace := max(settledAfter, len(peers)/share)
	var due []string
	for _, p := range peers {
		lease, known := t.leases[p.Node]
		if known {
			held[p.Node] = lease
		}
		if p.Node == t.node || p.Heard && known {
			continue
		}
		d, before := t.doubts[p.Node]
		if !before || !d.called.Equal(p.Called) {
			d = doubt{called: p.Called, first: t.total, read: d.read}
		}
		missing := d.read && known && !t.expired[p.Node] && lease.since <= d.asked // when it was read last
		if missing || t.total-d.first < fresh || t.echoes < fresh || t.total-d.asked >= pace {
			d.asked = t.total
			due = append(due, p.Node)
		}
		doubts[p.Node] = d
	}
	t.doubts, t.leases, t.restarted = doubts, held, false
	slices.Sort(due)
	return due
}

// ObserveRead takes in the Leases that Due named, of those that hold one, as Observe does.
// They count for nothing if this speaker has restarted its count meanwhile.
func (t *Tracker) ObserveRead(due []string, read []Renewal, now time.Time) (out []Change, changed bool) {
	if t.restarted {
		return nil, false
	}
	for _, node := range due {
		if d, doubted := t.doubts[node]; doubted {
			d.read = true
			t.doubts[node] = d
		}
	}
	before := t.expired
	t.expired = maps.Clone(before)
	maps.DeleteFunc(t.expired, func(node string, _ bool) bool { _, doubted := t.doubts[node]; return !doubted })
	held := len(t.leases)
	out, changed = t.take(due, renewedAt(read), now)
	return out, changed || len(t.leases) != held || len(t.expired) != len(before)
}

// Leases returns the Leases that other speakers hold, as far as was read, by node. When
// one was renewed that is not in doubt is not known.
func (t *Tracker) Leases() map[string]failover.Lease {
	out := make(map[string]failover.Lease, len(t.leases))
	for node, l := range t.leases {
		if t.doubts[node].read {
			out[node] = failover.Lease{Renewed: l.renewed, Expired: t.expired[node]}
		} else {
			out[node] = failover.Lease{}
		}
	}
	return out
}

func renewedAt(all []Renewal) map[string]time.Time {
	out := make(map[string]time.Time, len(all))
	for _, l := range all {
		out[l.Node] = l.Renewed
	}
	return out
}
