package main

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// bgpDrain has this node still offer its routes for a while when it becomes excluded,
// and ask the routers to use others (RFC 8326).
type bgpDrain struct {
	time  time.Duration
	here  bool // at the last look the node was not excluded
	until time.Time
}

// remaining returns for how long the routes of n, which is excluded or not, are yet
// to be offered; 0 also if n is not. A node whose network is not there, or that
// was excluded before this speaker began, has nothing to drain.
func (d *bgpDrain) remaining(n *corev1.Node, now time.Time) time.Duration {
	switch {
	case intent.Excluded(n) == "":
		d.here, d.until = true, time.Time{}
	case intent.Unreachable(n):
		d.here, d.until = false, time.Time{}
	case d.here:
		d.here, d.until = false, now.Add(d.time)
	}
	return max(0, d.until.Sub(now))
}
