package lease

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
)

// With few speakers each watches all Leases. With n speakers that is n² events a second.
// So beyond Largest each watches only its own Lease, as its clock, and reads the Leases of
// the members that are not reachable on the wire.

// Largest is the number of speakers up to which each watches all Leases.
const Largest = 32

const (
	// fresh is for how many own renewals a Lease that came into doubt is read each time.
	fresh = 2 * settledAfter
	// share: a Lease that has been in doubt for longer is read once in n/share own
	// renewals, n being the number of speakers, but no more often than once in settledAfter.
	share = 100
)

// Peer is a node that should have a speaker.
type Peer struct {
	Node   string
	Heard  bool      // it is reachable on the wire: its Lease need not be read
	Called time.Time // when it was last heard although it counts as dead: a change puts its Lease in doubt again
}

// doubt is the state of a Lease in doubt.
type doubt struct {
	called time.Time
	first  int // Tracker.total when it came into doubt
	asked  int // Tracker.total when it was due last
	read   bool
}

// Due returns the nodes whose Leases must be read, sorted. Call it after Echo has reported
// a fresh own renewal; then read these Leases and call ObserveRead.
func (t *Tracker) Due(peers []Peer) []string {
	doubts, held := map[string]doubt{}, 0
	pace := max(settledAfter, len(peers)/share)
	var due []string
	for _, p := range peers {
		lease, known := t.leases[p.Node]
		if known {
			held++
		}
		if p.Node == t.node || p.Heard && known {
			continue
		}
		d, before := t.doubts[p.Node]
		if !before || !d.called.Equal(p.Called) {
			d = doubt{called: p.Called, first: t.total, read: d.read}
		}
		missing := d.read && known && !t.expired[p.Node] && lease.since <= d.asked // unchanged at the last read
		if missing || t.total-d.first < fresh || t.echoes < fresh || t.total-d.asked >= pace {
			d.asked = t.total
			due = append(due, p.Node)
		}
		doubts[p.Node] = d
	}
	t.forget(peers, held)
	t.doubts, t.restarted = doubts, false
	slices.Sort(due)
	return due
}

// forget drops the Leases of nodes that are not among the peers, of whom so many hold one.
func (t *Tracker) forget(peers []Peer, held int) {
	if held == len(t.leases) { // the usual case
		return
	}
	there := make(map[string]bool, len(peers))
	for _, p := range peers {
		there[p.Node] = true
	}
	maps.DeleteFunc(t.leases, func(node string, _ sighting) bool { return !there[node] })
}

// ObserveRead does what Observe does, for the Leases that Due returned; read has those that
// are held. It ignores them if Restart was called meanwhile.
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
	out, changed = t.record(due, renewedAt(read), now)
	return out, changed || len(t.leases) != held || len(t.expired) != len(before)
}

// Leases returns the Leases that other speakers hold, as far as they were read, by node.
// The renewal time of one that is not in doubt is unknown, and zero.
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
