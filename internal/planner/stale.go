package planner

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// staleAfter is how long a speaker must have been dead until its reports are replaced, so
	// that an API server that was away, and hears of one speaker after the other again, costs
	// no writes.
	staleAfter = 5 * time.Second
	// claimsAfter is for how long no other node must have taken over an L2Claim of the dead
	// one, so that these writes do not meet those of a takeover.
	claimsAfter = 10 * time.Second
	// MaxStale is how many objects of dead speakers one report marks at most.
	MaxStale = 50
)

// Presences is what the leader knows of the speakers, by their Leases, by node.
type Presences map[string]Presence

// Presence is the state of a speaker.
type Presence struct {
	State health.PresenceState
	Heard time.Time // when it last renewed its Lease; zero: it holds none
}

// Reports are what the speakers report.
type Reports struct {
	Now        time.Time
	ConfigMaps []corev1.ConfigMap           // of Steelyard's own namespace
	Presences  Presences                    // nil: not known
	Nodes      map[string]map[string]string // their labels, by name
	Speakers   []v1beta1.Speaker
	Sessions   []v1beta1.BGPSession
	Claims     []v1beta1.L2Claim
	// Programmed are the counts of advertisements whose statuses are to show others.
	Programmed map[intent.Ref]v1beta1.AdvertisementCount
}

// Stale finds the reports of dead speakers that still read as if these were alive: Speakers
// that are Ready, BGPSessions with a state, L2Claims that are Announced. A speaker that is
// heard of replaces by itself what is written there. An object is marked once for each
// expiry of its speaker's Lease: a speaker that writes on, although it renews no Lease, has
// the last word. The zero Stale is ready to use.
type Stale struct {
	nodes  map[string]deadNode
	marked map[types.UID]time.Time // by object: when its speaker had last been heard
}

// deadNode is a node whose speaker is dead.
type deadNode struct {
	Presence
	gone   bool      // there is no such Node
	since  time.Time // when that was first seen
	claims int       // how many L2Claims read as if it announced them
	steady time.Time // since when these are as many
}

// Due returns at most MaxStale of the changes that are due, and when to look again if
// nothing happens before; 0: never.
func (s *Stale) Due(now time.Time, r Reports) ([]StatusChange, time.Duration) {
	if r.Presences == nil {
		return nil, 0
	}
	s.observe(now, r)
	m := marking{now: now, before: s.marked, kept: make(map[types.UID]time.Time, len(s.marked))}
	for i := range r.Speakers {
		x := &r.Speakers[i]
		if dead, is := s.nodes[x.Name]; is && !dead.gone && readsAlive(x, dead) { // with its Node it is deleted
			m.add("Speaker", x, dead, dead.since.Add(staleAfter), func() Object { return markedSpeaker(x, dead) })
		}
	}
	for i := range r.Sessions {
		x := &r.Sessions[i]
		if dead, is := s.nodes[x.Status.Node]; is && !dead.gone && x.Status.State != v1beta1.SessionUnknown {
			m.add("BGPSession", x, dead, dead.since.Add(staleAfter), func() Object { return markedSession(x, dead, now) })
		}
	}
	for i := range r.Claims {
		x := &r.Claims[i]
		if dead, is := s.nodes[x.Status.Node]; is && announces(x) {
			m.add("L2Claim", x, dead, dead.steady.Add(claimsAfter), func() Object { return markedClaim(x, dead) })
		}
	}
	s.marked = m.kept
	return m.changes, m.again
}

// Failed has an object marked again at the next report: the write failed.
func (s *Stale) Failed(uid types.UID) { delete(s.marked, uid) }

// observe finds the dead nodes among those that report anything.
func (s *Stale) observe(now time.Time, r Reports) {
	claims := map[string]int{}
	for i := range r.Claims {
		if announces(&r.Claims[i]) {
			claims[r.Claims[i].Status.Node]++
		}
	}
	before := s.nodes
	s.nodes = map[string]deadNode{}
	see := func(node string) {
		p, known := r.Presences[node]
		if !known {
			p.State = health.Never
		}
		_, there := r.Nodes[node]
		gone := !there
		if _, done := s.nodes[node]; done || !gone && (p.State == health.Alive || p.State == health.Isolated) {
			return
		}
		x := deadNode{Presence: p, gone: gone, since: now, claims: claims[node], steady: now}
		if was, is := before[node]; is && was.State == p.State && was.gone == gone {
			x.since = was.since
			if was.claims == x.claims {
				x.steady = was.steady
			}
		}
		s.nodes[node] = x
	}
	for i := range r.Speakers {
		see(r.Speakers[i].Name)
	}
	for i := range r.Sessions {
		see(r.Sessions[i].Status.Node)
	}
	for node := range claims {
		see(node)
	}
}

// marking collects the changes of one report.
type marking struct {
	now          time.Time
	before, kept map[types.UID]time.Time
	changes      []StatusChange
	again        time.Duration
}

// add adds the change of an object, if it is due.
func (m *marking) add(kind string, before Object, dead deadNode, due time.Time, after func() Object) {
	uid := before.GetUID()
	heard, done := m.before[uid]
	switch left := due.Sub(m.now); {
	case done && heard.Equal(dead.Heard): // its speaker has written since
		m.kept[uid] = heard
	case left > 0:
		m.again = wait.Soonest(m.again, left)
	case len(m.changes) == MaxStale:
		m.again = wait.Soonest(m.again, time.Millisecond)
	default:
		m.kept[uid] = dead.Heard
		m.changes = append(m.changes, StatusChange{Kind: kind, Before: before, After: after(), Locked: true})
	}
}

// readsAlive reports whether a Speaker says other than that its speaker is dead.
func readsAlive(s *v1beta1.Speaker, dead deadNode) bool {
	ready := health.Condition(s.Status.Conditions, v1beta1.ConditionReady).Status
	if dead.State == health.Stopped {
		return ready != metav1.ConditionFalse || meta.IsStatusConditionTrue(s.Status.Conditions, v1beta1.ConditionRestarting)
	}
	return ready == metav1.ConditionTrue
}

// announces reports whether a claim says that its node answers for the address.
func announces(c *v1beta1.L2Claim) bool {
	return meta.IsStatusConditionTrue(c.Status.Conditions, v1beta1.ConditionAnnounced)
}

// last describes a dead speaker.
func (d deadNode) last() string {
	switch {
	case d.gone:
		return "the node is not in the cluster any more"
	case d.State == health.Stopped:
		return "its speaker has stopped"
	case d.State == health.Never:
		return "the node has no Speaker"
	case d.Heard.IsZero():
		return "its speaker holds no Lease"
	}
	return "the API server has not heard of its speaker since " + d.Heard.UTC().Format(time.RFC3339)
}

// where to look when a speaker is dead.
const seeSpeaker = "see the speaker's Pod on the node, and whether the node runs and reaches the API server"

func markedSpeaker(x *v1beta1.Speaker, dead deadNode) Object {
	out := x.DeepCopy()
	out.Status.Sessions = nil
	c := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1beta1.ReasonLeaseExpired, Message: dead.last() + ": " + seeSpeaker}
	if dead.State == health.Stopped {
		c.Status, c.Reason = metav1.ConditionFalse, v1beta1.ReasonStopped
		meta.RemoveStatusCondition(&out.Status.Conditions, v1beta1.ConditionRestarting)
	}
	intent.SetCondition(&out.Status.Conditions, c)
	return out
}

func markedSession(x *v1beta1.BGPSession, dead deadNode, now time.Time) Object {
	out := x.DeepCopy()
	since := metav1.NewTime(now.Truncate(time.Second))
	out.Status.State, out.Status.Since, out.Status.BFD = v1beta1.SessionUnknown, &since, ""
	out.Status.LastError = fmt.Sprintf("%s; the session was %s: %s", dead.last(), cmp.Or(x.Status.State, "not reported"), seeSpeaker)
	return out
}

func markedClaim(x *v1beta1.L2Claim, dead deadNode) Object {
	out := x.DeepCopy()
	c := metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNodeNotLive, ObservedGeneration: x.Generation}
	c.Message = fmt.Sprintf("node %s: %s; no other node has taken over the address: kubectl steelyard explain %s gives the reason of each", x.Status.Node, dead.last(), x.Spec.Address)
	if !dead.gone && dead.State == health.Unknown {
		c.Status = metav1.ConditionUnknown
		c.Message = fmt.Sprintf("node %s: %s; it may announce the address still, and no other node has taken it over: %s", x.Status.Node, dead.last(), seeSpeaker)
	} else {
		out.Status.Links = nil
	}
	intent.SetCondition(&out.Status.Conditions, c)
	return out
}
