package planner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// world is what the controller of a test sees.
type staleWorld struct {
	Reports
	now   time.Time
	stale Stale
}

var staleStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// aWorld has a speaker, a session and a claim on each node; all are alive.
func aWorld(nodes ...string) *staleWorld {
	w := &staleWorld{now: staleStart, Reports: Reports{Presences: Presences{}, Nodes: map[string]map[string]string{}}}
	for i, n := range nodes {
		w.Nodes[n] = map[string]string{}
		w.Presences[n] = Presence{State: health.Alive, Heard: staleStart}
		s := v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: n, UID: types.UID("speaker " + n)}}
		intent.SetCondition(&s.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRunning})
		s.Status.Sessions = &v1beta1.SessionCount{Established: 1, Total: 1}
		w.Speakers = append(w.Speakers, s)
		w.Sessions = append(w.Sessions, v1beta1.BGPSession{
			ObjectMeta: metav1.ObjectMeta{Name: n + ".tor", UID: types.UID("session " + n)},
			Status:     v1beta1.BGPSessionStatus{Node: n, Peer: "tor", State: health.Established, BFD: "Up", Prefixes: &v1beta1.PrefixCount{Advertised: 1}},
		})
		w.Claims = append(w.Claims, aClaim(n, fmt.Sprintf("10.0.%d.%d", i/200, i%200+1)))
	}
	return w
}

func aClaim(node, address string) v1beta1.L2Claim {
	c := v1beta1.L2Claim{
		ObjectMeta: metav1.ObjectMeta{Name: address, UID: types.UID("claim " + address)},
		Spec:       v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address), Node: node},
		Status:     v1beta1.L2ClaimStatus{Node: node, Links: []v1beta1.ClaimLink{{Name: "eth0"}}},
	}
	intent.SetCondition(&c.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced})
	return c
}

// report lets d pass, makes the changes that are due, and returns them in words.
func (w *staleWorld) report(d time.Duration) []string {
	w.now = w.now.Add(d)
	changes, _ := w.stale.Due(w.now, w.Reports)
	var out []string
	for _, c := range changes {
		switch x := c.After.(type) {
		case *v1beta1.Speaker:
			*c.Before.(*v1beta1.Speaker) = *x
			ready := health.Condition(x.Status.Conditions, v1beta1.ConditionReady)
			out = append(out, fmt.Sprintf("speaker %s %s %s", x.Name, ready.Status, ready.Reason))
		case *v1beta1.BGPSession:
			*c.Before.(*v1beta1.BGPSession) = *x
			out = append(out, fmt.Sprintf("session %s %s", x.Name, x.Status.State))
		case *v1beta1.L2Claim:
			*c.Before.(*v1beta1.L2Claim) = *x
			a := health.Condition(x.Status.Conditions, v1beta1.ConditionAnnounced)
			out = append(out, fmt.Sprintf("claim %s %s %s", x.Name, a.Status, a.Reason))
		}
	}
	return out
}

func (w *staleWorld) expect(t *testing.T, after time.Duration, want ...string) {
	t.Helper()
	if got := w.report(after); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("after %s more: %q, want %q", after, got, want)
	}
}

func (w *staleWorld) dies(node string, state health.PresenceState) {
	w.Presences[node] = Presence{State: state, Heard: w.Presences[node].Heard}
}

func TestTheDeadAreMarked(t *testing.T) {
	w := aWorld("a", "b")
	w.expect(t, 0)
	w.expect(t, time.Hour)
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, staleAfter-1)
	w.expect(t, 1, "speaker a Unknown LeaseExpired", "session a.tor Unknown")
	w.expect(t, claimsAfter-staleAfter, "claim 10.0.0.1 Unknown NodeNotLive")
	w.expect(t, time.Hour)
	if w.Speakers[0].Status.Sessions != nil || w.Sessions[0].Status.BFD != "" || !health.WasUp(&w.Sessions[0].Status) || len(w.Claims[0].Status.Links) != 1 {
		t.Errorf("%+v\n%+v\n%+v", w.Speakers[0].Status, w.Sessions[0].Status, w.Claims[0].Status)
	}
	for _, text := range []string{
		health.Condition(w.Speakers[0].Status.Conditions, v1beta1.ConditionReady).Message, w.Sessions[0].Status.LastError,
		health.Condition(w.Claims[0].Status.Conditions, v1beta1.ConditionAnnounced).Message,
	} {
		if !strings.Contains(text, "not heard of its speaker since 2026-01-02T03:04:05Z") || !strings.Contains(text, seeSpeaker) {
			t.Errorf("no cause or remedy: %s", text)
		}
	}
	if intent.NeedsDAD(&w.Claims[0]) {
		t.Error("the next owner would probe an address that a node of the cluster had")
	}
}

func TestOneThatStopsOrIsDeleted(t *testing.T) {
	w := aWorld("a", "b", "c")
	w.dies("a", health.Stopped)
	delete(w.Nodes, "b") // its Speaker and BGPSession are deleted with it
	intent.SetCondition(&w.Speakers[0].Status.Conditions, metav1.Condition{Type: v1beta1.ConditionRestarting, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRestarting})
	w.expect(t, 0)
	w.expect(t, claimsAfter, "speaker a False Stopped", "session a.tor Unknown", "claim 10.0.0.1 False NodeNotLive", "claim 10.0.0.2 False NodeNotLive")
	w.expect(t, time.Hour)
	if x := health.Condition(w.Speakers[0].Status.Conditions, v1beta1.ConditionRestarting); x.Status != "" {
		t.Errorf("it still restarts: %v", x)
	}
}

// What a node never announced, or a foreign host has, is not touched: NeedsDAD tells by it
// whether to probe first.
func TestOnlyAnnouncedClaimsAreMarked(t *testing.T) {
	w := aWorld("a")
	w.Claims = append(w.Claims, v1beta1.L2Claim{Status: v1beta1.L2ClaimStatus{Node: "a"}}, aClaim("a", "10.0.9.9"))
	intent.SetCondition(&w.Claims[2].Status.Conditions, metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonAddressConflict})
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, claimsAfter, "speaker a Unknown LeaseExpired", "session a.tor Unknown", "claim 10.0.0.1 Unknown NodeNotLive")
}

// A speaker that is heard of for a moment, and an API server that was away.
func TestAShortSilenceCostsNothing(t *testing.T) {
	w := aWorld("a")
	for range 5 {
		w.dies("a", health.Unknown)
		w.expect(t, 0)
		w.expect(t, staleAfter-1)
		w.dies("a", health.Alive)
		w.expect(t, 0)
	}
}

// A speaker that writes, although it renews no Lease, has the last word. When it is heard of,
// and its Lease expires once more, it is marked once more.
func TestALivingSpeakerWins(t *testing.T) {
	w := aWorld("a")
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, claimsAfter, "speaker a Unknown LeaseExpired", "session a.tor Unknown", "claim 10.0.0.1 Unknown NodeNotLive")
	again := aWorld("a")
	w.Speakers, w.Sessions, w.Claims = again.Speakers, again.Sessions, again.Claims
	w.expect(t, claimsAfter)
	w.expect(t, time.Hour)
	w.Presences["a"] = Presence{health.Alive, w.now}
	w.expect(t, 0)
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, claimsAfter, "speaker a Unknown LeaseExpired", "session a.tor Unknown", "claim 10.0.0.1 Unknown NodeNotLive")
}

// A write that failed is made again.
func TestAFailedMarkIsMadeAgain(t *testing.T) {
	w := aWorld("a")
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, staleAfter, "speaker a Unknown LeaseExpired", "session a.tor Unknown")
	w.Sessions[0] = aWorld("a").Sessions[0]
	w.stale.Failed(w.Sessions[0].UID)
	w.expect(t, 0, "session a.tor Unknown")
}

// While other nodes take over the claims of a dead one, nothing is written to these.
func TestATakeoverIsNotDisturbed(t *testing.T) {
	w := aWorld("a", "b")
	for i := range 9 {
		w.Claims = append(w.Claims, aClaim("a", fmt.Sprintf("10.1.0.%d", i)))
	}
	w.dies("a", health.Unknown)
	w.expect(t, 0)
	w.expect(t, staleAfter, "speaker a Unknown LeaseExpired", "session a.tor Unknown")
	for i := 2; i < len(w.Claims)-1; i++ {
		w.Claims[i].Spec.Node, w.Claims[i].Status.Node = "b", "b"
		w.expect(t, staleAfter)
	}
	w.expect(t, claimsAfter, "claim 10.0.0.1 Unknown NodeNotLive", "claim 10.1.0.8 Unknown NodeNotLive")
}

// Of a thousand dead nodes' objects few are written at once, and all in the end.
func TestWritesAreBounded(t *testing.T) {
	var nodes []string
	for i := range 1000 {
		nodes = append(nodes, fmt.Sprintf("n%d", i))
	}
	w := aWorld(nodes...)
	for _, n := range nodes {
		w.dies(n, health.Unknown)
	}
	w.expect(t, 0)
	w.now = w.now.Add(claimsAfter)
	total := 0
	for range 3 * 1000 / MaxStale {
		n := len(w.report(0))
		if n != MaxStale {
			t.Fatalf("%d writes at once", n)
		}
		total += n
	}
	if rest := w.report(time.Hour); total != 3000 || len(rest) > 0 {
		t.Errorf("%d writes, and then %d", total, len(rest))
	}
}
