package intent

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// RouteDrain keeps this node's routes advertised for a while after the node becomes excluded,
// or yields to others, with GRACEFUL_SHUTDOWN, so that routers switch to those first (RFC 8326).
type RouteDrain struct {
	Time  time.Duration // for how long
	Rule  Exclusion
	here  bool // the node neither was excluded nor yielded at the last call
	until time.Time
}

// Remaining returns how long the routes of n, one of nodes, must still be advertised; 0 if n is
// not excluded and does not yield. A node whose network is unavailable, or that was excluded before this speaker
// started, has nothing to drain.
func (d *RouteDrain) Remaining(n *corev1.Node, nodes []corev1.Node, now time.Time) time.Duration {
	yields := d.Rule.Yields(n) && slices.ContainsFunc(nodes, func(o corev1.Node) bool {
		return o.Name != n.Name && d.Rule.Reason(&o) == "" && !d.Rule.Yields(&o)
	})
	switch {
	case d.Rule.Reason(n) == "" && !yields:
		d.here, d.until = true, time.Time{}
	case Unreachable(n):
		d.here, d.until = false, time.Time{}
	case d.here:
		d.here, d.until = false, now.Add(d.Time)
	}
	return max(0, d.until.Sub(now))
}
