package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// overlapNodes is how many nodes a condition names.
const overlapNodes = 3

// byPeer sorts sessions by the peer that they are to.
func byPeer(sessions []v1beta1.BGPSession) map[string][]v1beta1.BGPSession {
	out := map[string][]v1beta1.BGPSession{}
	for _, x := range sessions {
		out[x.Status.Peer] = append(out[x.Status.Peer], x)
	}
	return out
}

// overlap tells, of the sessions to a peer, on which nodes an older peer has the
// one to the same router, as their speakers say: where two peers meet depends on
// the nodes' labels, which the objects alone don't show. Without a Reason: on none.
func overlap(sessions []v1beta1.BGPSession) intent.Finding {
	nodes := map[string][]string{} // by the older peer
	for _, x := range sessions {
		if x.Status.DuplicateOf != "" {
			nodes[x.Status.DuplicateOf] = append(nodes[x.Status.DuplicateOf], x.Status.Node)
		}
	}
	if len(nodes) == 0 {
		return intent.Finding{}
	}
	var found []string
	for _, older := range slices.Sorted(maps.Keys(nodes)) {
		found = append(found, fmt.Sprintf("on %s the older BGPPeer %q is for the same router", some(nodes[older]), older))
	}
	return intent.Finding{Reason: v1beta1.ReasonOverlaps, Message: strings.Join(found, "; ") + "; no session is held for this one there: delete one of them, or give them different nodeSelectors"}
}

// some names a few nodes, and counts the rest.
func some(nodes []string) string {
	slices.Sort(nodes)
	if rest := len(nodes) - overlapNodes; rest > 0 {
		return fmt.Sprintf("%s and %d more nodes", strings.Join(nodes[:overlapNodes], ", "), rest)
	}
	return strings.Join(nodes, ", ")
}
