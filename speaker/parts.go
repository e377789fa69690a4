package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/damper"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
	"github.com/steelyard-lb/steelyard/internal/nullroute"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/rollout"
	"github.com/steelyard-lb/steelyard/internal/status"
)

// options are the flags. (The flag --kubeconfig is controller-runtime's.)
type options struct {
	exclusion         intent.Exclusion
	node              string
	namespace         string
	pod               string
	class             string
	metrics           cluster.Metrics
	probes            string
	debug             string
	pprof             string
	heartbeatInterval time.Duration
	ignore            string
	defend            bool
	rate              uint
	logLevel          slog.Level
	logFormat         cluster.LogFormat
	version           bool

	drain        time.Duration
	endpointWait time.Duration
	ready        string
	nulls        uint

	portsTaken []string // no flag: what other programs have of these ports

	membershipPort       uint
	membershipInterval   time.Duration
	membershipMultiplier uint
	isolation            membership.Isolation
}

// reconciler reads a snapshot, has package failover decide, and sets the adapters. It does
// not write to the API server: the status reporter does, after the adapters have changed.
type reconciler struct {
	options
	log *slog.Logger
	sources
	adapters
	failover    *failover.State
	routes      intent.RouteDrain
	damper      damper.Damper
	known       knownServices
	rollouts    map[string]*rollout.Rollout    // of the sessions that wait for other nodes', by peer
	withdraws   atomic.Bool                    // intent.Config.Withdraws, at the last pass
	plan        atomic.Pointer[status.Applied] // the plan in force; nil before the first
	takeovers   atomic.Uint64                  // how many addresses were taken over from other nodes
	report      chan struct{}                  // signaled after every pass
	observePass func(time.Duration)            // called with the duration of every pass
	lastPass    atomic.Int64                   // when the last pass ended, in nanoseconds since 1970
}

// sources are the parts of Kubernetes that a pass reads. A pass also restarts the heartbeat,
// and begins it.
type sources struct {
	reader        client.Reader
	configuration *cluster.Configuration
	services      toolscache.Store // the cache's, like endpoints and cachedClaims
	endpoints     toolscache.Store
	cachedClaims  toolscache.Store // the L2Claims
	reported      toolscache.Store // the BGPSessions
	claimOverlay  *overlay.Objects[*v1beta1.L2Claim]
	heartbeat     *lease.Heartbeat
}

// adapters are the parts that a pass sets, and whose state it reads.
type adapters struct {
	links      *layer2.Announcer
	sessions   *bgp.Sessions
	group      *membership.Group
	neighbors  *network.Neighbors
	prober     *network.Prober
	forwards   *kubeproxy.Readiness
	arrivals   *kubeproxy.Endpoints
	nullRoutes *nullroute.Routes
}

// snapshot is all that the decision depends on, and the other values that a pass needs.
type snapshot struct {
	failover.Facts
	nodes []corev1.Node
	keys  [][]byte // of the membership
	// drains is how long this node, being excluded, must still advertise its routes.
	drains time.Duration
	// excluded is why this node must not announce anything, with the remedy; "": it may.
	excluded string
	// nextEndpoint is the time until the next terminating endpoint must be checked again.
	nextEndpoint time.Duration
}

// network returns which addresses this node itself has, its gateways, and its links without
// addresses.
func (a adapters) network() (out status.Network, err error) {
	for _, l := range a.links.Links() {
		if l.Unnumbered {
			out.Unnumbered = append(out.Unnumbered, l.Name)
		}
	}
	addrs, err := link.HostAddresses()
	if err != nil {
		return out, err
	}
	for _, a := range addrs {
		out.Addrs = append(out.Addrs, v1beta1.HostAddress{Address: a.Addr.String(), Link: a.Link})
	}
	out.Gateways, err = network.Gateways()
	return out, err
}

// mayOffer reports whether the plan's BGP sessions, if it has any, may be opened.
func (r *reconciler) mayOffer() bool {
	d := r.plan.Load()
	return d != nil && (d.Offers || len(d.Plan.Peerings) == 0)
}
