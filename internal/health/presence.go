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

// grace is added to the duration of a Lease, since a reader of the API server sees
// renewals late.
const grace = 3 * time.Second

// hold is how long a node keeps its addresses while its speaker restarts
// (membership.Hold).
const hold = 10 * time.Second

// Presence is the state of a node's speaker, as the objects report it.
type Presence struct {
	State   PresenceState
	Message string // why the speaker does not count, as a sentence; "": it does
}

// Heard returns when the speaker of a node last renewed its Lease; the zero time: it holds
// none.
func (w *Objects) Heard(node string) time.Time { return w.renewals(node).renewed }

// PresenceState is whether a node's speaker counts.
type PresenceState string

// The states of a speaker.
const (
	Alive    PresenceState = "Alive"    // it renews its Lease, or its node keeps its addresses for a restart
	Never    PresenceState = "Never"    // no speaker has reported yet: it announces nothing
	Stopped  PresenceState = "Stopped"  // it reported that it stops: it announces nothing
	Isolated PresenceState = "Isolated" // it reports that it answers for nothing on the local network
	// Unknown: the API server does not hear from it. It may have stopped, or have
	// lost the API server only; then it keeps announcing what it knew last.
	Unknown PresenceState = "Unknown"
)

// Absent explains why the speaker of a node does not count; "": it does.
func (w *Objects) Absent(node string) string { return w.Presence(node).Message }

// Presence returns the state of a node's speaker, by the age of its Lease. The age is
// measured against the latest renewal of all Leases, so only the nodes' clocks need
// to agree. Without Leases it goes by the Speaker object.
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
	case w.Leases == nil && Condition(speaker.Status.Conditions, v1beta1.ConditionReady).Status == metav1.ConditionUnknown:
		return Presence{Unknown, "the controller does not hear of its speaker" + w.lastKnown(speaker)}
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

// lastKnown describes what a speaker that the API server has lost may do. The other
// speakers still hear it on the network, or take over its addresses there and write
// that to the L2Claims. Only the routers know about its routes.
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

// Kept returns the addresses that a node reported to answer for, and that no other
// node has taken over. The controller marks those of a node that it does not hear of as
// Unknown.
func (w *Objects) Kept(node string) []string {
	var out []string
	for i := range w.Claims {
		c := &w.Claims[i]
		status := Condition(c.Status.Conditions, v1beta1.ConditionAnnounced).Status
		if c.Spec.Node == node && c.Status.Node == node && (status == metav1.ConditionTrue || status == metav1.ConditionUnknown) {
			out = append(out, string(c.Spec.Address))
		}
	}
	return out
}

// Routes returns how many routes a node reported to advertise.
func (w *Objects) Routes(node string) (n int) {
	for i := range w.Sessions {
		if s := &w.Sessions[i].Status; s.Node == node && s.Prefixes != nil {
			n += int(s.Prefixes.Advertised)
		}
	}
	return n
}

// renewal is the state of a speaker's Lease.
type renewal struct {
	renewed  time.Time // zero: the speaker holds no Lease
	length   time.Duration
	released bool // the speaker released it
}

// renewals returns the state of the Lease of a node's speaker.
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

// renewed returns when a Lease was renewed. A time in the future counts as Now, since
// it would make this Lease last longer and all others look old. The zero time: there
// was no renewal, or its clock is too wrong to be used.
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

// Newest returns when the latest renewal of any Lease was; Now if that is long ago,
// when no Lease is renewed.
func (w *Objects) Newest() time.Time { return w.leases().newest }

// leaseIndex makes lookups of Leases fast.
type leaseIndex struct {
	now    time.Time             // with first and n: what it was built from
	first  *coordinationv1.Lease // nil: there is none
	n      int
	newest time.Time
	byName map[string]*coordinationv1.Lease
}

// leases returns the index, and builds it if the Leases have changed.
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

// LeaseController is the Lease of the active controller.
const LeaseController = "steelyard-controller"

// clocks is the maximum difference between clocks. A Lease that is older than it has
// expired in any case.
const clocks = time.Minute

// Controller returns the name of the active controller, or explains why there seems
// to be none.
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
		// The identity is the host's name with a unique suffix.
		host, _, _ := strings.Cut(intent.LeaseHolder(l), "_")
		return host, ""
	}
	return "", fmt.Sprintf("no controller runs: no replica holds Lease %s in namespace %s", LeaseController, w.Namespace)
}

// ControllerVersion returns the version of the active controller, as its Lease tells it; "":
// it is not known.
func (w *Objects) ControllerVersion() string {
	for i := range w.Leases {
		if l := &w.Leases[i]; l.Name == LeaseController && intent.LeaseHolder(l) != "" {
			return l.Labels[intent.LabelVersion]
		}
	}
	return ""
}

// Speaker returns the Speaker object of a node, or nil.
func (w *Objects) Speaker(node string) *v1beta1.Speaker {
	for i := range w.Speakers {
		if w.Speakers[i].Name == node {
			return &w.Speakers[i]
		}
	}
	return nil
}
