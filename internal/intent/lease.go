package intent

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// A client that may write a Lease can write any duration into it. So a reader believes
// none that is longer than what the programs themselves write.
const (
	// ControllerLease is how long the controller's Lease lasts.
	ControllerLease = 6 * time.Second
	// LongestHeartbeat is how seldom a speaker may renew its Lease.
	LongestHeartbeat = 10 * time.Second
	// MissedHeartbeats is how many renewals a speaker may miss before it counts as gone.
	MissedHeartbeats = 3
)

// LeaseName returns the name of the Lease of a node's speaker.
func LeaseName(node string) string { return "speaker-" + node }

// LabelVersion is the label of the controller's Lease with the version of its holder.
const LabelVersion = "app.kubernetes.io/version"

// LeaseHolder returns who holds the Lease; "" if it was released.
func LeaseHolder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// LeaseNode returns the node whose speaker holds the Lease. It returns "" if the
// Lease was released or never renewed, or if it bears another node's name: then it
// tells nothing.
func LeaseNode(l *coordinationv1.Lease) string {
	if node := LeaseHolder(l); node != "" && l.Name == LeaseName(node) && l.Spec.RenewTime != nil {
		return node
	}
	return ""
}

// LeaseLasts returns how long the Lease of a speaker lasts without a renewal: as it
// tells, but never longer than a speaker's can. One that tells nothing sensible
// lasts as long as by default.
func LeaseLasts(l *coordinationv1.Lease) time.Duration {
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		return min(time.Duration(*s)*time.Second, MissedHeartbeats*LongestHeartbeat)
	}
	return MissedHeartbeats * time.Second
}
