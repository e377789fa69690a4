// Package world is the whole cluster as one value, and what the controller and
// the speakers make of it: which address each Service gets, and what each node
// says. It takes the objects as they are at one moment and asks the packages
// that decide (intent, ipam, announce); it decides nothing, and it reads no API
// server (package cluster does).
//
// The controller and the speakers keep more in mind than objects can tell:
// writes that are under way, and who was found on the wire. Where they differ
// from what this package says, that is worth a look.
package world

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// World is the objects of a cluster that matter to addresses and announcements,
// in no order. The zero World is an empty cluster.
type World struct {
	Settings
	health.Objects
	Config     intent.Objects
	Services   []corev1.Service // of all types and classes
	Namespaces []corev1.Namespace
	Nodes      []corev1.Node
	Endpoints  []discoveryv1.EndpointSlice
	Eventually bool     // what is kept for a time only counts for nothing
	Unread     []string // what could not be read, in words: what follows from it is a guess
}

// Settings are the controller's and speakers' flags that matter to decisions.
type Settings struct {
	Class   string // of the Services that are served; empty: of those that name none
	Guessed bool   // Class could not be read, and nobody said it
	Dialect intent.Dialect
}
