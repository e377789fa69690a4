package main

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// bgpDrain keeps this node's routes advertised for a while after the node becomes excluded,
// with GRACEFUL_SHUTDOWN, so that routers switch to others first (RFC 8326).
type bgpDrain struct {
	time  time.Duration
	rule  intent.Exclusion
	here  bool // the node was not excluded at the last call
	until time.Time
}

// remaining returns how long the routes of n must still be advertised; 0 if n is not
// excluded. A node whose network is unavailable, or that was excluded before this speaker
// started, has nothing to drain.
func (d *bgpDrain) remaining(n *corev1.Node, now time.Time) time.Duration {
	switch {
	case d.rule.Reason(n) == "":
		d.here, d.until = true, time.Time{}
	case intent.Unreachable(n):
		d.here, d.until = false, time.Time{}
	case d.here:
		d.here, d.until = false, now.Add(d.time)
	}
	return max(0, d.until.Sub(now))
}
