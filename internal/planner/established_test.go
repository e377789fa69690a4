package planner

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestEstablished(t *testing.T) {
	session := func(node, state, failure string) v1beta1.BGPSession {
		return v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: node, Peer: "tor", State: state, LastError: failure}}
	}
	up := func(node string) v1beta1.BGPSession { return session(node, "Established", "it was lost once") }
	const refused = "dial tcp 10.9.0.1:179: connection refused"
	for _, c := range []struct {
		name     string
		sessions []v1beta1.BGPSession
		selected int
		status   metav1.ConditionStatus
		want     string
	}{
		{"no node holds one", nil, 3, metav1.ConditionFalse, "NoSessions: none of the 3 nodes that it selects holds a session to it: see whether speakers run there"},
		{"it selects no node", nil, 0, metav1.ConditionFalse, "NoNodeSelected: spec.nodeSelectors select none of 4 nodes"},
		{"it is not accepted", nil, -1, metav1.ConditionFalse, "NoSessions: no node holds a session to it"},
		{"all are up", []v1beta1.BGPSession{up("a"), up("b")}, 4, metav1.ConditionTrue, "Established: all 2"},
		{"there is one, and it is up", []v1beta1.BGPSession{up("a")}, 4, metav1.ConditionTrue, "Established: the only one"},
		{"one of two was never up", []v1beta1.BGPSession{up("a"), session("b", "Connect", "")}, 4, metav1.ConditionFalse,
			"SessionsDown: on 1 of 2 nodes (b): the session is not up yet"},
		{"those that are down have several causes", []v1beta1.BGPSession{
			session("a", "Active", "Bad Peer AS"), session("b", "Active", refused), up("c"), session("d", "Idle", refused),
		}, 4, metav1.ConditionFalse, "SessionsDown: on 3 of 4 nodes (a, b, d): on 2 " + refused + "; on 1 Bad Peer AS"},
		{"equally common causes come by name", []v1beta1.BGPSession{
			session("a", "Active", refused), session("b", "Active", "Bad Peer AS"),
		}, 4, metav1.ConditionFalse, "NoSessionEstablished: 0 of 2 sessions are up, on 2 of 2 nodes: on 1 Bad Peer AS; on 1 " + refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := established(c.sessions, countSessions(c.sessions), c.selected, 4)
			if text := got.Reason + ": " + got.Message; got.Status != c.status || text != c.want {
				t.Errorf("%s %s", got.Status, text)
			}
		})
	}
}

func TestARouterIDOfSeveralNodes(t *testing.T) {
	peer := func(name string, id string) v1beta1.BGPPeer {
		return v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.1", PeerPort: int32(len(name)), RouterID: id}}
	}
	objects := intent.Objects{Peers: []v1beta1.BGPPeer{peer("own", ""), peer("shared", "10.0.0.1")}}
	config := intent.Parse(objects)
	for nodes, want := range map[string]string{"a": "", "a b": sharedRouterID(2)} {
		r := Reports{Nodes: map[string]map[string]string{}}
		for _, n := range strings.Fields(nodes) {
			r.Nodes[n] = nil
		}
		for _, c := range Statuses(intent.Configured{Objects: objects, Config: &config}, r, &Summary{}) {
			got := health.Condition(intent.ConditionsOf(c.After), v1beta1.ConditionAccepted)
			if own := c.After.GetName() == "own"; own && got.Message != "" || !own && got.Message != want || got.Status != metav1.ConditionTrue {
				t.Errorf("%s on nodes %s: %s %q", c.After.GetName(), nodes, got.Status, got.Message)
			}
		}
	}
}

// What a former version set in its own words goes, and what others set stays.
func TestConditionsOfAFormerVersion(t *testing.T) {
	for kind, want := range map[string]string{
		"BFDProfile": "Theirs UnsupportedField Accepted ResolvedRefs", "IPAddressPool": "Theirs UnsupportedField Accepted", "BGPPeer": "Theirs UnsupportedField Accepted ResolvedRefs",
	} {
		conditions := []metav1.Condition{
			{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Accepted"}, {Type: "InEffect", Status: metav1.ConditionFalse, Reason: "NoEffectYet"},
			{Type: "example.com/Other", Status: metav1.ConditionTrue, Reason: "Theirs"},
		}
		setConditions(&conditions, kind, intent.Validation{NoEffect: []string{"spec.echoMode"}}, "", 1)
		if got := reasonsOf(conditions); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// One finding does not hide another.
func TestFaultsOfSeveralConditions(t *testing.T) {
	var conditions []metav1.Condition
	setConditions(&conditions, "BGPPeer", intent.Validation{
		Accepted: intent.Finding{Reason: v1beta1.ReasonOverlaps, Message: "an older one"},
		Refs:     intent.Finding{Reason: v1beta1.ReasonNotFound, Message: "no BFDProfile"},
	}, "", 1)
	if got := reasonsOf(conditions); got != "NotAccepted Overlaps NotFound" {
		t.Error(got)
	}
	if c := meta.FindStatusCondition(conditions, v1beta1.ConditionProgrammed); c.Message != "an older one; no BFDProfile" {
		t.Error(c)
	}
	if c := meta.FindStatusCondition(conditions, v1beta1.ConditionResolvedRefs); c.Status != metav1.ConditionFalse || c.Message != "no BFDProfile" {
		t.Error(c)
	}
}

// A Service that is no load balancer any more keeps others' conditions alone.
func TestWithoutOurs(t *testing.T) {
	var conditions []metav1.Condition
	for _, of := range []string{v1beta1.ConditionAllocated, v1beta1.ConditionServiceAnnounced, v1beta1.ConditionSharing, "example.com/Other", v1beta1.ConditionContested} {
		conditions = append(conditions, metav1.Condition{Type: of, Reason: of})
	}
	if got := reasonsOf(WithoutOurs(conditions)); got != "example.com/Other" {
		t.Error(got)
	}
}
