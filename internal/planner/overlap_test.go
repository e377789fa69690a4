package planner

import (
	"fmt"
	"testing"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

func TestOverlap(t *testing.T) {
	session := func(node, peer, older string) v1beta1.BGPSession {
		return v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: node, Peer: peer, DuplicateOf: older}}
	}
	var sessions []v1beta1.BGPSession
	for i := range 5 {
		sessions = append(sessions, session(fmt.Sprintf("node%d", 5-i), "young", "old"))
	}
	const remedy = "; no session is held for this one there: delete one of them, or give them different nodeSelectors"
	for _, c := range []struct {
		name            string
		sessions        []v1beta1.BGPSession
		reason, message string
	}{
		{"no session at all", nil, "", ""},
		{"others yield, this one does not", []v1beta1.BGPSession{session("node1", "young", ""), session("node1", "younger", "old")}, "", ""},
		{"it yields on one node of two", []v1beta1.BGPSession{session("node1", "young", ""), session("node2", "young", "old")},
			"Overlaps", `on node2 the older BGPPeer "old" is for the same router` + remedy},
		{"to two peers", []v1beta1.BGPSession{session("node2", "young", "old"), session("node1", "young", "elder")},
			"Overlaps", `on node1 the older BGPPeer "elder" is for the same router; on node2 the older BGPPeer "old" is for the same router` + remedy},
		{"on many nodes", sessions, "Overlaps", `on node1, node2, node3 and 2 more nodes the older BGPPeer "old" is for the same router` + remedy},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := overlap(byPeer(c.sessions)["young"]); got.Reason != c.reason || got.Message != c.message {
				t.Errorf("%q", got)
			}
		})
	}
}
