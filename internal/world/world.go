// Package world evaluates a whole cluster from its objects: which addresses the
// controller should assign to each Service, and what each speaker should announce. It
// asks the packages that decide (intent, ipam, announce) and explains the result. It
// decides nothing itself, and it reads no API server (package collect does).
//
// The controller and the speakers know more than the objects tell: writes that are in
// flight, and which host answers on the wire. A difference between them and this
// package is therefore a hint, not a proof.
package world

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// Snapshot is the objects of a cluster that matter to addresses and announcements, in
// no order. The zero Snapshot is an empty cluster.
type Snapshot struct {
	Settings
	health.Objects
	Config     intent.Objects
	Services   []corev1.Service // of all types and classes
	Namespaces []corev1.Namespace
	Nodes      []corev1.Node
	Endpoints  []discoveryv1.EndpointSlice
	ClusterIPs []netip.Prefix // the cluster's ranges of ClusterIPs; none: not known
	// ClusterIPsUnread: the user may not read those ranges.
	ClusterIPsUnread bool
	IgnoreKept       bool     // evaluate as if no address were kept for a deleted Service or after its pool is gone
	Unread           []string // what could not be read, as sentences; what depends on it is a guess
}

// Settings are the flags of the controller and the speakers that matter to decisions.
type Settings struct {
	Class              string // the classes that Steelyard serves, by commas; an empty one: Services that name none
	Guessed            bool   // Class could not be read, and the user did not set it
	AnnotationPrefixes intent.AnnotationPrefixes
	Exclusion          intent.Exclusion
}
