package main

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// bgpDrain keeps this node's routes advertised for a while after the node becomes excluded,
// or yields to others, with GRACEFUL_SHUTDOWN, so that routers switch to those first (RFC 8326).
type bgpDrain struct {
	time  time.Duration
	rule  intent.Exclusion
	here  bool // the node neither was excluded nor yielded at the last call
	until time.Time
}

// remaining returns how long the routes of n, one of nodes, must still be advertised; 0 if n is
// not excluded and does not yield. A node whose network is unavailable, or that was excluded before this speaker
// started, has nothing to drain.
func (d *bgpDrain) remaining(n *corev1.Node, nodes []corev1.Node, now time.Time) time.Duration {
	yields := d.rule.Yields(n) && slices.ContainsFunc(nodes, func(o corev1.Node) bool {
		return o.Name != n.Name && d.rule.Reason(&o) == "" && !d.rule.Yields(&o)
	})
	switch {
	case d.rule.Reason(n) == "" && !yields:
		d.here, d.until = true, time.Time{}
	case intent.Unreachable(n):
		d.here, d.until = false, time.Time{}
	case d.here:
		d.here, d.until = false, now.Add(d.time)
	}
	return max(0, d.until.Sub(now))
}
