package planner

import (
	"fmt"

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
// counted. The peer selects so many of all nodes; -1: it is not accepted.
func established(sessions []v1beta1.BGPSession, n *v1beta1.SessionCount, selected, all int) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionEstablished, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonSessionsDown}
	switch {
	case n.Total == 0 && selected == 0:
		c.Reason, c.Message = v1beta1.ReasonNoNodeSelected, fmt.Sprintf("spec.nodeSelectors select none of %d nodes", all)
	case n.Total == 0 && selected < 0:
		c.Reason, c.Message = v1beta1.ReasonNoSessions, "no node holds a session to it"
	case n.Total == 0:
		c.Reason, c.Message = v1beta1.ReasonNoSessions, fmt.Sprintf("none of the %d nodes that it selects holds a session to it: see whether speakers run there", selected)
	case n.Established == n.Total:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1beta1.ReasonEstablished, fmt.Sprintf("all %d", n.Total)
		if n.Total == 1 {
			c.Message = "the only one"
		}
	case n.Established == 0:
		c.Reason, c.Message = v1beta1.ReasonNoSessionEstablished, fmt.Sprintf("0 of %d sessions are up, %s", n.Total, health.Failures(failures(sessions), int(n.Total)))
	default:
		c.Message = health.Failures(failures(sessions), int(n.Total))
	}
	return c
}

// failures returns why those of the sessions are not up that are not.
func failures(sessions []v1beta1.BGPSession) []health.Failure {
	var out []health.Failure
	for i := range sessions {
		if s := &sessions[i].Status; s.State != health.Established {
			out = append(out, health.FailureOf(s))
		}
	}
	return out
}
