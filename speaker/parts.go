package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/damper"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/logs"
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
	logFormat         logs.Format
	version           bool
	staticClaims      string

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
	core
	sources
	routes    intent.RouteDrain
	damper    damper.Damper
	known     knownServices
	rollouts  map[string]*rollout.Rollout // of the sessions that wait for other nodes', by peer
	withdraws atomic.Bool                 // intent.Config.Withdraws, at the last pass
	report    chan struct{}               // signaled after every pass
	lastPass  atomic.Int64                // when the last pass ended, in nanoseconds since 1970
}

// core is what decides and announces, whether the facts come from Kubernetes or from a file of
// static claims.
type core struct {
	options
	log *slog.Logger
	adapters
	failover    *failover.State
	plan        atomic.Pointer[status.Applied] // the plan in force; nil before the first
	takeovers   atomic.Uint64                  // how many addresses were taken over from other nodes
	observePass func(time.Duration)            // called with the duration of every pass
}

// sources are the parts of Kubernetes that a pass reads. A pass also restarts the heartbeat,
// and begins it.
type sources struct {
	reader        client.Reader
	configuration *cluster.Configuration
	services      toolscache.Store // the cache's, like those that follow
	nodes         toolscache.Store
	speakers      toolscache.Store
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
	forwards   *kubeproxy.Readiness // nil with static claims, like arrivals and nullRoutes
	arrivals   *kubeproxy.Endpoints
	nullRoutes *nullroute.Routes
}

// snapshot is all that the decision depends on, and the other values that a pass needs.
type snapshot struct {
	failover.Facts
	nodes []corev1.Node
	keys  [][]byte // of the membership
	fixed bool     // all nodes stay members, also those whose reports are missing
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
func (c *core) mayOffer() bool {
	d := c.plan.Load()
	return d != nil && (d.Offers || len(d.Plan.Peerings) == 0)
}

func newCore(o options, logger *slog.Logger, a adapters, f failover.Options) core {
	f.Node = o.node
	return core{options: o, log: logger, adapters: a, failover: failover.New(f)}
}

// wire makes the parts that use the network.
func (o options) wire(logger *slog.Logger) adapters {
	prober := network.NewHostProber(logger, o.silence())
	prober.Limit(int(o.rate))
	signed := udp.New()
	signed.Authenticated = true
	return adapters{
		links:    layer2.New(logger, layer2.Options{Ignore: o.ignored(), Defend: o.defend, StallLimit: o.noticed(), Rate: int(o.rate)}),
		sessions: bgp.New(logger, o.node, bfd.New(udp.New(), logger)),
		group: membership.New(
			o.node, uint64(time.Now().UnixMilli()),
			bfd.New(signed, logger), network.NewTransport(uint16(o.membershipPort)+1), prober, logger,
		),
		neighbors: network.NewNeighbors(logger),
		prober:    network.NewProber(prober.Has),
	}
}

// tasks are the adapters' background tasks.
func (a adapters) tasks(o options) []manager.RunnableFunc {
	out := []manager.RunnableFunc{a.links.Run, a.sessions.Run, a.prober.Run}
	if a.forwards != nil {
		out = append(out, a.forwards.Run, a.arrivals.Run, a.nullRoutes.Run)
	}
	if o.membershipPort != 0 {
		out = append(out, a.group.Run, a.neighbors.Run)
	}
	return out
}
