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
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
	"github.com/steelyard-lb/steelyard/internal/nullroute"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/status"
)

// options are the flags. (The flag --kubeconfig is controller-runtime's.)
type options struct {
	node      string
	namespace string
	class     string
	metrics   cluster.Metrics
	probes    string
	debug     string
	pprof     string
	heartbeat time.Duration
	ignore    string
	defend    bool
	rate      uint
	logLevel  slog.Level
	version   bool

	drain time.Duration
	turn  time.Duration
	ready string
	nulls uint

	membershipPort       uint
	membershipInterval   time.Duration
	membershipMultiplier uint
}

// reconciler reads, has package failover decide, and sets what the adapters are to
// do. It writes nothing to the API server: the reporter does, after the wire has
// changed.
type reconciler struct {
	options
	log *slog.Logger
	sources
	adapters
	failover  *failover.State
	routes    bgpDrain
	plan      atomic.Pointer[status.Applied] // what is in force; nil at first
	takeovers atomic.Uint64                  // of addresses from other nodes
	report    chan struct{}                  // told after every pass
	took      func(time.Duration)            // told of every pass
	passed    atomic.Int64                   // when the last pass ended, in nanoseconds since 1970
}

// sources are what a pass reads of Kubernetes.
type sources struct {
	reader        client.Reader
	configuration *cluster.Configuration
	services      toolscache.Store // of the cache, as endpoints and held are
	endpoints     toolscache.Store
	held          toolscache.Store // the L2Claims
	claims        *overlay.Objects[*v1beta1.L2Claim]
	beat          *lease.Heartbeat
}

// adapters are what a pass sets, and asks how it is.
type adapters struct {
	links      *layer2.Announcer
	sessions   *bgp.Sessions
	group      *membership.Group
	neighbors  *network.Neighbors
	prober     *network.Prober
	forwards   *kubeproxy.Readiness
	turns      *kubeproxy.Endpoints
	nullRoutes *nullroute.Routes
}

// snapshot is all that the decision depends on, and what else a pass needs.
type snapshot struct {
	failover.Facts
	nodes []corev1.Node
	keys  [][]byte // of the speakers
	// drains is how long this node, which is excluded, still offers its routes.
	drains time.Duration
	// nextEndpoint is when the soonest of the endpoints that go is to be looked at again.
	nextEndpoint time.Duration
}
