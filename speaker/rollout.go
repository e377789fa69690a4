package main

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/rollout"
)

// rolloutPause is the time between two looks at the other nodes' sessions, while one of this
// node's waits for them.
const rolloutPause = 250 * time.Millisecond

// inOrder returns the peerings with which of their sessions must not be reset yet, and how long
// to wait before it is called again (0: for ever).
func (r *reconciler) inOrder(now time.Time, peerings []announce.Peering) (_ []announce.Peering, again time.Duration) {
	waits := map[string]bool{}
	for _, s := range r.sessions.States() {
		waits[s.Peer] = s.Pending.Waits
	}
	peerings = slices.Clone(peerings)
	for i := range peerings {
		p := &peerings[i]
		p.Waits = true // until its session is to be reset: then it is the others' that count
		if !waits[p.Peer.Name] {
			delete(r.rollouts, p.Peer.Name)
			continue
		}
		if r.rollouts[p.Peer.Name] == nil {
			r.rollouts[p.Peer.Name] = new(rollout.Rollout)
		}
		p.Waits = !r.rollouts[p.Peer.Name].MayReset(rollout.Facts{
			Now: now, Self: r.node, Revision: p.Peer.Revision, Sessions: sessionsWith(p.Peer.Name, cluster.All[*v1beta1.BGPSession](r.reported)),
		})
		again = rolloutPause
	}
	return peerings, again
}

// sessionsWith returns the nodes' sessions with a peer, as the nodes say.
func sessionsWith(peer string, all []*v1beta1.BGPSession) []rollout.Session {
	var out []rollout.Session
	for _, s := range all {
		if s.Status.Peer != peer || s.Status.DuplicateOf != "" {
			continue
		}
		session := rollout.Session{
			Node: s.Status.Node, Up: s.Status.State == string(bgp.Established), Gone: s.Status.State == v1beta1.SessionUnknown,
			Revision: s.Status.PeerRevision, Waits: s.Status.Pending != nil && s.Status.Pending.Until == v1beta1.UntilOtherNodes,
		}
		if s.Status.Since != nil {
			session.Since = s.Status.Since.Time
		}
		out = append(out, session)
	}
	return out
}
