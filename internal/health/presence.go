package health

import (
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// grace is how much longer than its Lease a speaker is taken to be there: who
// looks from outside sees renewals late.
const grace = 3 * time.Second

// hold is how long a node keeps its addresses while its speaker restarts
// (membership.Hold).
const hold = 10 * time.Second

// Presence is what the objects tell of a node's speaker.
type Presence struct {
	State PresenceState
	Why   string // in words why it can't be counted on; "" if it can
}

// PresenceState is whether a node's speaker can be counted on.
type PresenceState string

// The states.
const (
	Alive    PresenceState = "Alive"    // it renews its Lease, or its node keeps its addresses for a restart
	Never    PresenceState = "Never"    // none has told of itself yet: it announces nothing
	Stopped  PresenceState = "Stopped"  // it said so itself: it announces nothing
	Isolated PresenceState = "Isolated" // it says that it answers for nothing on the local network
	// Unknown: the API server has not heard of it. It may have stopped, or have lost
	// the API server alone; then it goes on with what it knew last.
	Unknown PresenceState = "Unknown"
)

// Absent says in words why the speaker of a node can't be counted on, or "".
func (w *Objects) Absent(node string) string { return w.Presence(node).Why }

// Presence tells whether the speaker of a node can be counted on. It goes by its
// Lease, measured against the youngest renewal of all, so that no clock has to
// be right but the nodes' among themselves; if no Lease could be read, by its
// Speaker object.
func (w *Objects) Presence(node string) Presence {
	speaker := w.Speaker(node)
	if speaker == nil {
		return Presence{Never, "no speaker has ever run there"}
	}
	restarting := Condition(speaker.Status.Conditions, v1beta1.ConditionRestarting)
	newest, lease := w.Newest(), w.renewals(node)
	switch {
	case restarting.Status == metav1.ConditionTrue:
		if w.Leases == nil || newest.Sub(restarting.LastTransitionTime.Time) <= hold+grace {
			return Presence{State: Alive}
		}
		return Presence{Stopped, "its speaker has stopped, and has not come back"}
	case Condition(speaker.Status.Conditions, v1beta1.ConditionReady).Status == metav1.ConditionFalse, lease.released:
		return Presence{Stopped, "its speaker has stopped"}
	case w.Leases != nil && lease.renewed.IsZero():
		return Presence{Unknown, "its speaker holds no Lease" + w.lastKnown(speaker)}
	case w.Leases != nil && newest.Sub(lease.renewed) > lease.length+grace:
		silent := newest.Sub(lease.renewed).Truncate(time.Second)
		return Presence{Unknown, fmt.Sprintf("the API server has not heard of its speaker for %s", silent) + w.lastKnown(speaker)}
	}
	if c := Condition(speaker.Status.Conditions, v1beta1.ConditionIsolated); c.Status == metav1.ConditionTrue {
		return Presence{Isolated, "its speaker has cut itself off: " + c.Message}
	}
	return Presence{State: Alive}
}

// lastKnown says what a speaker that is not heard of may be doing. The other
// speakers hear it on the wire, or don't: then they take its addresses on the
// local network and enter themselves in the L2Claims. Of its routes only the
// routers know.
func (w *Objects) lastKnown(of *v1beta1.Speaker) string {
	text := ": it may announce still"
	kept := len(w.Kept(of.Name))
	switch {
	case kept == 1:
		text += "; no other node has taken over its address on the local network"
	case kept > 1:
		text += fmt.Sprintf("; no other node has taken over its %d addresses on the local network", kept)
	case of.Status.Addresses > 0:
		text += "; no L2Claim names it any more"
	}
	switch routes := w.Routes(of.Name); {
	case routes == 1:
		text += "; when last heard of it offered 1 route by BGP"
	case routes > 1:
		text += fmt.Sprintf("; when last heard of it offered %d routes by BGP", routes)
	}
	return text
}

// Kept returns the addresses that a node said it answers for, and that no other
// has taken over.
func (w *Objects) Kept(node string) []string {
	var out []string
	for i := range w.Claims {
		c := &w.Claims[i]
		if c.Spec.Node == node && c.Status.Node == node && Condition(c.Status.Conditions, v1beta1.ConditionAnnounced).Status == metav1.ConditionTrue {
			out = append(out, string(c.Spec.Address))
		}
	}
	return out
}

// Routes counts what a node said it advertises in its BGP sessions.
func (w *Objects) Routes(node string) (n int) {
	for i := range w.Sessions {
		if s := &w.Sessions[i].Status; s.Node == node && s.Prefixes != nil {
			n += int(s.Prefixes.Advertised)
		}
	}
	return n
}

// renewal is what the Lease of a speaker tells.
type renewal struct {
	renewed  time.Time // zero: it holds none
	length   time.Duration
	released bool // it gave the Lease up
}

// renewals returns what the Lease of a node's speaker tells.
func (w *Objects) renewals(node string) renewal {
	l := w.leases().byName[intent.LeaseName(node)]
	if l == nil {
		return renewal{}
	}
	own := renewal{released: intent.LeaseHolder(l) == ""}
	if intent.LeaseNode(l) == node {
		own.renewed, own.length = w.renewed(l), intent.LeaseLasts(l)
	}
	return own
}

// renewed returns when a Lease was renewed, and no later time than Now: a renewal
// in the future would make it last longer, and all others look old. The zero time:
// it was not, or the clock that says so is so wrong that it tells nothing.
func (w *Objects) renewed(l *coordinationv1.Lease) time.Time {
	switch t := l.Spec.RenewTime; {
	case t == nil || t.After(w.Now.Add(clocks)):
		return time.Time{}
	case t.After(w.Now):
		return w.Now
	default:
		return t.Time
	}
}

// Newest returns when the youngest of all Leases was renewed, or Now if that is
// long ago: then nobody renews.
func (w *Objects) Newest() time.Time { return w.leases().newest }

// leaseIndex answers questions about the Leases, which are asked for each session.
type leaseIndex struct {
	now    time.Time             // with the first Lease and their number: what it was made of
	first  *coordinationv1.Lease // nil: there is none
	n      int
	newest time.Time
	byName map[string]*coordinationv1.Lease
}

// leases returns the index of the Leases, and makes it where there is none of these.
func (w *Objects) leases() *leaseIndex {
	x := &leaseIndex{now: w.Now, n: len(w.Leases)}
	if x.n > 0 {
		x.first = &w.Leases[0]
	}
	if old := w.index; old != nil && old.now.Equal(x.now) && old.first == x.first && old.n == x.n {
		return old
	}
	x.byName = make(map[string]*coordinationv1.Lease, x.n)
	for i := range w.Leases {
		l := &w.Leases[i]
		x.byName[l.Name] = l
		if t := w.renewed(l); t.After(x.newest) {
			x.newest = t
		}
	}
	if w.Now.Sub(x.newest) > clocks {
		x.newest = w.Now
	}
	w.index = x
	return x
}

// LeaseController is the Lease that the active controller holds.
const LeaseController = "steelyard-controller"

// clocks is how far clocks may be apart: beyond that age alone makes a Lease stale.
const clocks = time.Minute

// Controller returns the name of the active controller, or says in words why
// there seems to be none.
func (w *Objects) Controller() (name, absent string) {
	if w.Leases == nil {
		return "not known", ""
	}
	newest := w.Newest()
	for i := range w.Leases {
		l := &w.Leases[i]
		if l.Name != LeaseController || intent.LeaseHolder(l) == "" || l.Spec.RenewTime == nil {
			continue
		}
		renewed := w.renewed(l)
		if renewed.IsZero() {
			return "", "no controller runs: Lease " + LeaseController + " tells of a renewal in the future"
		}
		age := w.Now.Sub(renewed)
		if behind := newest.Sub(renewed); behind > intent.ControllerLease+grace || age > clocks {
			return "", "no controller runs: the last one renewed its Lease " + max(age, behind).Truncate(time.Second).String() + " ago"
		}
		// The identity ends in something that makes it unique.
		host, _, _ := strings.Cut(intent.LeaseHolder(l), "_")
		return host, ""
	}
	return "", fmt.Sprintf("no controller runs: nobody holds Lease %s in namespace %s", LeaseController, w.Home)
}

// Speaker returns what the speaker of a node tells; nil: nothing.
func (w *Objects) Speaker(node string) *v1beta1.Speaker {
	for i := range w.Speakers {
		if w.Speakers[i].Name == node {
			return &w.Speakers[i]
		}
	}
	return nil
}
