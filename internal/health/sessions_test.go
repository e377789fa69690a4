package health

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// A dead router on 100 nodes is one problem, and so is one that a part of them has lost.
func TestSessionsAreOneProblemForEachPeer(t *testing.T) {
	o := &Objects{Now: noon, Leases: []coordinationv1.Lease{lease(LeaseController, "c_1", 0)}}
	enter := func(node, peer, state, failure string) {
		o.Sessions = append(o.Sessions, v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: node, Peer: peer, State: state, LastError: failure}})
	}
	for i := range 100 {
		node := fmt.Sprintf("n%02d", i)
		o.Speakers, o.Leases = append(o.Speakers, speaker(node)), append(o.Leases, lease("speaker-"+node, node, 0))
		enter(node, "dead", "Active", "connection refused")
		enter(node, "fine", Established, "it was lost once")
		if i < 50 {
			enter(node, "half", []string{"Active", Established}[i%2], "the hold timer expired")
		}
	}
	enter("n07", "mixed", "Active", "Bad Peer AS")
	enter("n08", "mixed", "Idle", "connection refused")
	enter("n09", "mixed", "Connect", "")
	enter("n10", "mixed", "Connect", "it is of another family")
	enter("n11", "mixed", "Connect", "connection refused")
	enter("n12", "mixed", Established, "")
	enter("n07", "own", "Idle", "no route to host")
	var got []string
	for _, p := range o.Problems() {
		got = append(got, fmt.Sprintf("%s %s %s: %s (%s)", p.Kind, p.Name, p.Reason, p.Message, p.Alert))
	}
	want := []string{
		"BGPPeer dead SessionsDown: on 100 of 100 nodes: connection refused (SteelyardRouterLost)",
		"BGPPeer half SessionsDown: on 25 of 50 nodes (n00, n02, n04, 22 more): the hold timer expired (SteelyardBGPSessionDown)",
		"BGPPeer mixed SessionsDown: on 5 of 6 nodes (n07, n08, n09, 2 more): on 2 connection refused; on 1 Bad Peer AS; on 1 it is of another family; on others other causes (SteelyardBGPSessionDown)",
		"BGPPeer own SessionsDown: on n07: no route to host (SteelyardRouterLost)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}
