package status

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
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// withSuperseded adds the sessions that this node does not hold, and the reason.
func withSuperseded(states []bgp.State, superseded []announce.Superseded) []bgp.State {
	for _, x := range superseded {
		states = append(states, bgp.State{
			Peer: x.Peer, Session: bgp.Idle,
			LastError: fmt.Sprintf("the older BGPPeer %q is for the same router: this node holds no session for this one", x.By),
		})
	}
	return states
}

func (r *Reporter) reportSessions(ctx context.Context, node *corev1.Node, states []bgp.State, superseded []announce.Superseded) error {
	var list v1beta1.BGPSessionList
	if err := cluster.List(ctx, r.Client, &list); err != nil {
		return err
	}
	have := map[string]*v1beta1.BGPSession{}
	for i := range list.Items {
		if s := &list.Items[i]; s.Status.Node == r.Node || metav1.IsControlledBy(s, node) {
			have[s.Name] = s
		}
	}
	older := map[string]string{}
	for _, x := range superseded {
		older[x.Peer] = x.By
	}
	reported := map[string]bgp.State{}
	var failed []error
	for _, state := range states {
		name := v1beta1.SessionName(r.Node, state.Peer)
		session := existing(have[name], name)
		delete(have, name)
		if err := r.put(ctx, node, session, func(o client.Object) { r.enter(o.(*v1beta1.BGPSession), state, older[state.Peer]) }); err != nil {
			failed = append(failed, err)
		}
		for _, n := range notes(r.reported[state.Peer], state) {
			r.sessionEvent(session, n, state.Failure)
		}
		reported[state.Peer] = state
	}
	r.reported = reported
	for _, s := range have {
		if err := r.Client.Delete(ctx, s); client.IgnoreNotFound(err) != nil {
			failed = append(failed, fmt.Errorf("delete BGPSession %q: %w", s.Name, err))
		}
	}
	return errors.Join(failed...)
}

// enter writes a state into a BGPSession, and the older peer that has the session, if there
// is one. While attempts to connect fail the state does not change, so that they need no
// writes.
func (r *Reporter) enter(s *v1beta1.BGPSession, state bgp.State, older string) {
	status := v1beta1.BGPSessionStatus{
		Node: r.Node, Peer: state.Peer, State: string(state.Session), LastError: printable.Message(state.LastError),
		BFD: printable.Message(bfdStatus(state.BFD)), DuplicateOf: older,
		Since: timeOf(state.Since), Prefixes: &v1beta1.PrefixCount{Advertised: int32(state.Advertised)},
		PeerRevision: state.Revision, Pending: pending(state.Pending),
	}
	if before := s.Status.Prefixes; before != nil {
		status.Prefixes.Advertised = r.count(state.Peer, before.Advertised, status.Prefixes.Advertised)
	}
	if down(s.Status.State) && down(status.State) {
		status.State, status.Since = s.Status.State, s.Status.Since
	}
	s.Status = status
}

// pending returns what a BGPSession is to say of changes that are not in force.
func pending(p bgp.Pending) *v1beta1.PendingChanges {
	switch {
	case p.Fields == "":
		return nil
	case p.Waits:
		return &v1beta1.PendingChanges{Fields: p.Fields, Until: v1beta1.UntilOtherNodes}
	}
	return &v1beta1.PendingChanges{Fields: p.Fields, Until: v1beta1.UntilNextSession}
}

// bfdStatus returns the state of the BFD session of a BGP session, and what to do about it.
func bfdStatus(by *bfd.State) string {
	if by == nil {
		return ""
	}
	cause := cmp.Or(refusal(by), noReply(by))
	if by.Status == bfd.Up || cause == "" {
		return by.Status.String()
	}
	return fmt.Sprintf("%s: %s", by.Status, cause)
}

// refusal returns why a BFD session can't come up with this configuration; "" if no reason
// is known.
func refusal(by *bfd.State) string {
	switch {
	case by == nil || by.Status == bfd.Up:
	case by.Problem != "":
		return by.Problem
	case by.Refused && by.TTL != 0 && by.Session.Hops == bfd.Multihop && by.TTL >= by.Session.MinTTL:
		return "" // minimumTtl has been changed since
	case by.Refused && by.TTL != 0 && by.Session.Hops == bfd.Multihop:
		return fmt.Sprintf("the router's packets arrive with TTL %d, and the BFDProfile's minimumTtl takes none below %d; if the router is no farther away than it should be, "+
			"it sends a TTL below 255, as BIRD does: set minimumTtl to %[1]d", by.TTL, by.Session.MinTTL)
	case by.Refused && by.TTL != 0:
		return fmt.Sprintf("the router's packets arrive with TTL %d, and the BFDProfile's hopMode single takes 255 alone: "+
			"if the router is more than one hop away, set hopMode to multi, and likewise at the router", by.TTL)
	case by.Refused:
		return "the router's packets are refused: " + by.LastDiscard
	}
	return ""
}

// noReply returns why the router does not take part in a BFD session; "" if it does.
func noReply(by *bfd.State) string {
	mode := v1beta1.HopModeSingle
	if by.Session.Hops == bfd.Multihop {
		mode = v1beta1.HopModeMulti
	}
	switch {
	case !by.Session.Peer.IsValid(): // not started
		return ""
	case by.Received > 0 && by.RemoteStatus == bfd.AdminDown:
		return "it was ended at the router (AdminDown)"
	case by.Received > 0 || by.Discarded > 0:
		return ""
	case by.Session.Passive:
		return fmt.Sprintf("the router has sent no packet yet to port %d (hopMode %s), which must send first because of passiveMode", by.Session.ListenPort(), mode)
	}
	text := fmt.Sprintf("the router has sent no packet yet to port %d (hopMode %s)", by.Session.ListenPort(), mode)
	if len(by.Session.Keys) > 0 {
		text += "; one that waits for the first packet refuses it unless it has the same authentication: type, key ID and secret"
	}
	return text
}

// down reports whether a session's state is known and not Established.
func down(state string) bool {
	return state != "" && state != string(bgp.Established) && state != v1beta1.SessionUnknown
}

// note is an event on a BGPSession.
type note struct{ kind, reason, text string }

// notes returns the events of a session since the state that was reported last, which is the
// zero State if none was.
func notes(before, now bgp.State) []note {
	var out []note
	up := before.Session == bgp.Established
	cause := cmp.Or(now.LastError, "for an unknown reason")
	if now.Resets > before.Resets {
		out = append(out, note{corev1.EventTypeNormal, v1beta1.ReasonSessionReset, "the session restarts because these fields have changed: " + now.Changed})
		up = false
	}
	if now.Drops > before.Drops {
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionDown, "the session was lost: " + cause})
		up = false
	}
	switch {
	case now.Session == bgp.Established && !up:
		out = append(out, note{corev1.EventTypeNormal, v1beta1.ReasonSessionUp, fmt.Sprintf("the session with %s is up", now.Addr)})
	case !worse(before, now) || now.Drops > before.Drops:
	case now.Since.IsZero():
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionSkipped, now.LastError})
	default:
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonSessionFailed, now.LastError})
	}
	if cause := refusal(now.BFD); cause != "" && cause != refusal(before.BFD) {
		out = append(out, note{corev1.EventTypeWarning, v1beta1.ReasonBFDFailed, "BFD does not come up: " + cause})
	}
	return out
}

// worse reports whether a session has an error that was not reported yet: one of another
// class, or of the same with another text. The text for an unreachable router changes from
// attempt to attempt, so it does not count.
func worse(before, now bgp.State) bool {
	switch {
	case now.LastError == "":
		return false
	case now.Failure != before.Failure:
		return true
	default:
		return now.LastError != before.LastError && now.Failure != bgp.Unreachable
	}
}

// sessionEvent records an event on the session. The leader's events on the peer sum up those
// of all nodes: a dead router has as many sessions as there are nodes.
func (r *Reporter) sessionEvent(session *v1beta1.BGPSession, n note, class bgp.Failure) {
	r.Record(cluster.Event{About: cluster.About(session), Type: n.kind, Reason: n.reason, Action: "HoldSession", Kind: string(class), Message: fmt.Sprintf("node %s: %s", r.Node, n.text)})
}

// reportClashes records an event, once, for each advertisement that contradicts another on
// this node.
func (r *Reporter) reportClashes(ctx context.Context, clashes []announce.AttributeClash) {
	for _, c := range clashes {
		if r.clashes[c] {
			continue
		}
		var loser v1beta1.BGPAdvertisement
		if err := r.Client.Get(ctx, client.ObjectKey{Name: c.Loser}, &loser); err != nil {
			continue // deleted meanwhile: there is no clash any more
		}
		r.Record(cluster.Event{
			About: cluster.About(&loser), Type: corev1.EventTypeWarning, Reason: v1beta1.ReasonConflicts, Action: "Announce", Detail: c.Field + " " + c.Winner,
			Message: fmt.Sprintf("node %s: spec.%s gives way to that of BGPAdvertisement %q, which announces the same prefix to the same peer", r.Node, c.Field, c.Winner),
		})
	}
	r.clashes = map[announce.AttributeClash]bool{}
	for _, c := range clashes {
		r.clashes[c] = true
	}
}
