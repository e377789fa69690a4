package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
)

// countSessions counts the sessions to a peer.
func countSessions(sessions []v1beta1.BGPSession) *v1beta1.SessionCount {
	var n v1beta1.SessionCount
	for _, x := range sessions {
		n.Total++
		if x.Status.State == health.Established {
			n.Established++
		}
	}
	return &n
}

// established returns the condition of a peer that tells of its sessions, which are
// counted.
func established(sessions []v1beta1.BGPSession, n *v1beta1.SessionCount) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionEstablished, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonSessionsDown}
	switch {
	case n.Total == 0:
		c.Reason, c.Message = v1beta1.ReasonNoSessions, "no node holds a session to it"
	case n.Established == n.Total:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1beta1.ReasonEstablished, fmt.Sprintf("all %d", n.Total)
		if n.Total == 1 {
			c.Message = "the only one"
		}
	default:
		reason, nodes := commonest(sessions)
		c.Message = fmt.Sprintf("%d of %d are up; on %s: %s", n.Established, n.Total, some(nodes), reason)
	}
	return c
}

// commonest returns why most of the sessions that are not up are not, and on which nodes.
func commonest(sessions []v1beta1.BGPSession) (reason string, nodes []string) {
	by := map[string][]string{}
	for i := range sessions {
		if s := &sessions[i].Status; s.State != health.Established {
			reason := cmp.Or(s.LastError, "the session is not up yet")
			by[reason] = append(by[reason], s.Node)
		}
	}
	reason = slices.MinFunc(slices.Collect(maps.Keys(by)), func(a, b string) int {
		return cmp.Or(-cmp.Compare(len(by[a]), len(by[b])), cmp.Compare(a, b))
	})
	return reason, by[reason]
}
