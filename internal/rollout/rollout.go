// Package rollout decides when a node may reset its session with a peer that was edited, so
// that a router does not lose all nodes' routes at once: node after node, by name. It is
// pure; its user reads the clock and what the nodes say of their sessions (BGPSession).
package rollout

import (
	"slices"
	"strings"
	"time"
)

const (
	// Longest is how long a node waits for one other: a wrong edit spreads slowly, but it
	// spreads.
	Longest = 10 * time.Second
	// settle is how long a node waits at least. Edits come in groups, such as a peer and its
	// Secret, and the others' sessions are read with a delay.
	settle = 500 * time.Millisecond
	// share: of so many nodes one may reset its session at a time.
	share = 20
)

// Session is one node's session with the peer.
type Session struct {
	Node     string
	Up       bool      // it is Established
	Gone     bool      // its speaker is not alive
	Revision string    // of the peer that is in force
	Waits    bool      // it is to be reset
	Since    time.Time // when Up changed
}

// Facts are what a decision depends on.
type Facts struct {
	Now      time.Time
	Self     string    // this node, whose session is up and to be reset
	Revision string    // of the peer as it is configured
	Sessions []Session // of all nodes with the peer; this node's does not count
}

// Rollout remembers for how long a node has waited, for one edit of one peer. The zero
// Rollout is ready for use.
type Rollout struct {
	revision string
	since    time.Time
	until    map[string]time.Time // how long to wait for a node
}

// MayReset reports whether the node may reset its session now. A node waits for each one
// whose name is less, and whose session is still to be reset, and for each session that is
// coming up. So of any 20 nodes at most one is without its session.
func (r *Rollout) MayReset(f Facts) bool {
	if r.until == nil || r.revision != f.Revision {
		*r = Rollout{f.Revision, f.Now, map[string]time.Time{}}
	}
	if f.Now.Sub(r.since) < settle {
		return false
	}
	ahead := slices.DeleteFunc(slices.Clone(f.Sessions), func(s Session) bool {
		until, known := r.until[s.Node]
		return known && !f.Now.Before(until) || !s.before(f)
	})
	slices.SortFunc(ahead, func(a, b Session) int { return strings.Compare(a.Node, b.Node) })
	width := max(1, (len(f.Sessions)+share-1)/share)
	for _, s := range ahead[:min(width, len(ahead))] {
		if _, known := r.until[s.Node]; !known {
			r.until[s.Node] = f.Now.Add(Longest)
		}
	}
	return len(ahead) < width
}

// before reports whether this node waits for s. A session that has been down for long is not
// coming up because of an edit.
func (s Session) before(f Facts) bool {
	switch {
	case s.Node == f.Self || s.Gone:
		return false
	case s.Up:
		return s.Node < f.Self && (s.Waits || s.Revision != f.Revision)
	}
	return f.Now.Sub(s.Since) < Longest
}
