package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// withShadowed adds the sessions that this node does not hold, and why.
func withShadowed(states []bgp.State, shadowed []announce.Shadow) []bgp.State {
	for _, x := range shadowed {
		states = append(states, bgp.State{
			Peer: x.Peer, Session: bgp.Idle,
			LastError: fmt.Sprintf("the older BGPPeer %q is for the same router: this node holds no session for this one", x.By),
		})
	}
	return states
}

func (r *reporter) reportSessions(ctx context.Context, node *corev1.Node, states []bgp.State) error {
	var list v1beta1.BGPSessionList
	if err := cluster.List(ctx, r.client, &list); err != nil {
		return err
	}
	have := map[string]*v1beta1.BGPSession{}
	for i := range list.Items {
		if s := &list.Items[i]; s.Status.Node == r.node || metav1.IsControlledBy(s, node) {
			have[s.Name] = s
		}
	}
	told := map[string]bgp.State{}
	var failed []error
	for _, state := range states {
		name := r.node + "." + state.Peer
		session := existing(have[name], name)
		delete(have, name)
		if err := r.put(ctx, node, session, func(o client.Object) { r.enter(o.(*v1beta1.BGPSession), state) }); err != nil {
			failed = append(failed, err)
		}
		for _, n := range notes(r.told[state.Peer], state) {
			r.tellPeer(ctx, session, n)
		}
		told[state.Peer] = state
	}
	r.told = told
	for _, s := range have {
		if err := r.client.Delete(ctx, s); client.IgnoreNotFound(err) != nil {
			failed = append(failed, fmt.Errorf("delete BGPSession %q: %w", s.Name, err))
		}
	}
	return errors.Join(failed...)
}

// enter puts a state in a BGPSession. From attempt to attempt nothing changes
// there: those are not worth a write each.
func (r *reporter) enter(s *v1beta1.BGPSession, state bgp.State) {
	status := v1beta1.BGPSessionStatus{
		Node: r.node, Peer: state.Peer, State: string(state.Session), LastError: state.LastError,
		BFD:   watching(state.BFD),
		Since: timeOf(state.Since), Prefixes: &v1beta1.PrefixCount{Advertised: int32(state.Advertised)},
	}
	if down(s.Status.State) && down(status.State) {
		status.State, status.Since = s.Status.State, s.Status.Since
	}
	s.Status = status
}

// watching tells how the BFD session beside a BGP session stands.
func watching(by *bfd.State) string {
	switch {
	case by == nil:
		return ""
	case by.Status == bfd.Up:
	case by.Problem != "":
		return fmt.Sprintf("%s: %s", by.Status, by.Problem)
	case by.LastDiscard != "":
		return fmt.Sprintf("%s: the router's packets are refused: %s", by.Status, by.LastDiscard)
	}
	return by.Status.String()
}

// down reports whether a session's state is known and not Established.
func down(state string) bool { return state != "" && state != string(bgp.Established) }

// note is an event on a BGPPeer.
type note struct{ kind, reason, text string }

// notes tells what has happened to a session since the state that was told of
// last; the zero state if none was.
func notes(before, now bgp.State) []note {
	var out []note
	up := before.Session == bgp.Established
	why := cmp.Or(now.LastError, "for a reason that is not known")
	if now.Resets > before.Resets {
		out = append(out, note{corev1.EventTypeNormal, v1beta1.ReasonSessionReset, "the session is made anew, since these have changed: " + now.Changed})
		up = false
	}
	if now.Drops > before.Drops {
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionDown, "the session was lost: " + why})
		up = false
	}
	switch {
	case now.Session == bgp.Established && !up:
		out = append(out, note{corev1.EventTypeNormal, v1beta1.ReasonSessionUp, fmt.Sprintf("the session with %s is up", now.Addr)})
	case now.LastError == "" || now.LastError == before.LastError || now.Drops > before.Drops:
	case now.Since.IsZero():
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionSkipped, now.LastError})
	default:
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionFailed, now.LastError})
	}
	return out
}

// tellPeer writes an event on the peer.
func (r *reporter) tellPeer(ctx context.Context, session *v1beta1.BGPSession, n note) {
	peer := &v1beta1.BGPPeer{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: session.Status.Peer}, peer); err != nil {
		return // gone meanwhile: nobody to tell
	}
	r.tell(cluster.Note{About: cluster.About(peer), Type: n.kind, Reason: n.reason, Action: "HoldSession", Message: fmt.Sprintf("node %s: %s", r.node, n.text)})
}

// reportConflicts tells, once, of advertisements that contradict others on this
// node.
func (r *reporter) reportConflicts(ctx context.Context, conflicts []announce.Conflict) {
	for _, c := range conflicts {
		if r.conflicts[c] {
			continue
		}
		var loser v1beta1.BGPAdvertisement
		if err := r.client.Get(ctx, client.ObjectKey{Name: c.Loser}, &loser); err != nil {
			continue // gone meanwhile: no conflict any more
		}
		r.tell(cluster.Note{
			About: cluster.About(&loser), Type: corev1.EventTypeWarning, Reason: v1beta1.ReasonConflicts, Action: "Announce",
			Message: fmt.Sprintf("node %s: spec.%s gives way to that of BGPAdvertisement %q, which announces the same prefix to the same peer", r.node, c.Field, c.Winner),
		})
	}
	r.conflicts = map[announce.Conflict]bool{}
	for _, c := range conflicts {
		r.conflicts[c] = true
	}
}
