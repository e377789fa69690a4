// Command speaker announces the addresses of Services from one node: by ARP and NDP on its
// links, by BGP to its peers. It reads the cluster, has package failover decide, and hands
// the plan to packages layer2 and bgp.
//
// It does not decide which node announces an address: packages failover and announce do.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/debug"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/kubeproxy"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/logs"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/nullroute"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/privileges"
	"github.com/steelyard-lb/steelyard/internal/readiness"
	"github.com/steelyard-lb/steelyard/internal/rollout"
	"github.com/steelyard-lb/steelyard/internal/status"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

func main() {
	var o options
	flag.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of the Node that this speaker runs on; default: the environment variable NODE_NAME")
	flag.StringVar(&o.pod, "pod-name", os.Getenv("POD_NAME"), "name of the Pod that this speaker runs in, which it reads when it is asked to stop: one that is not deleted ends with its machine, and no router is to keep the routes; default: the environment variable POD_NAME. Empty: that is not known")
	flag.StringVar(&o.namespace, "namespace", "steelyard-system", "namespace of Steelyard itself: of its Secrets and Leases")
	flag.Func("load-balancer-class", "announce "+intent.ClassUsage, intent.AddClass(&o.class))
	o.metrics.AddFlags(flag.CommandLine)
	flag.StringVar(&o.probes, "health-probe-bind-address", "0", "address to serve /healthz and /readyz on, such as :7473; 0: none")
	flag.StringVar(&o.debug, "debug-bind-address", "0", "loopback address to serve GET /debug/announcements and /debug/routes on, such as 127.0.0.1:7476; 0: none. The plugin's command routes asks there")
	flag.StringVar(&o.pprof, "pprof-bind-address", "0", "address to serve Go's profiles on, such as 127.0.0.1:7477; 0: none")
	flag.StringVar(&o.ignore, "ignore-links", strings.Join(link.Ignored(), ","), "comma list of the names (globs) of network interfaces never to speak ARP and NDP on")
	flag.BoolVar(&o.defend, "defend", false, "announce an address again when another host claims it, at most once in 10 s (RFC 5227 section 2.4)")
	flag.UintVar(&o.rate, "announce-rate", 0, "limit of the ARP frames, and of the NDP frames, that this speaker sends unasked per second and link, for switches that shut a port above a rate (dynamic ARP inspection: 15 a second by default). Answers count, but are always sent. A node that takes over more addresses at once needs longer to announce them. 0: no limit")
	flag.BoolVar(&o.exclusion.IgnoreLabel, "ignore-exclude-label", false, intent.IgnoreExcludeLabelUsage)
	flag.TextVar(&o.exclusion.Unschedulable, "unschedulable", intent.UnschedulableIgnore, intent.UnschedulableUsage)
	flag.DurationVar(&o.heartbeatInterval, "heartbeat", time.Second, "how often to renew this speaker's Lease, 100ms to 10s; a speaker that misses three renewals counts as dead")
	flag.DurationVar(&o.drain, "drain-time", 5*time.Second, "how long a node that becomes excluded keeps advertising its BGP routes, with GRACEFUL_SHUTDOWN (RFC 8326), before it withdraws them, so that routers switch to others first; 0: it withdraws them at once")
	flag.DurationVar(&o.endpointWait, "endpoint-wait", 2*time.Second, "for Services with externalTrafficPolicy Local: the longest time for which BGP routes wait until kube-proxy reports, at the Service's health check port, that it sends to a new endpoint on this node, and how long they stay for a terminating endpoint that still serves. 0 disables both")
	flag.StringVar(&o.ready, "ready-check", "http://127.0.0.1:10256/healthz", "URL, by default of kube-proxy on this node, that must answer 200 before the first BGP routes are advertised; the speaker waits for at most a minute. Where nothing listens there, Cilium, Calico or kube-router is asked at its own health port instead. Empty: it does not wait")
	flag.UintVar(&o.nulls, "null-route-table", nullroute.DefaultTable, "number of the routing table, which no other program may use, for unreachable routes. Without them, packets for an announced address or aggregate that no Service takes would follow the default route back to the router, and loop until their TTL ends. 0: no such routes")
	flag.UintVar(&o.membershipPort, "membership-port", 7480, "UDP port at which the speakers monitor one another by BFD; they also use the next port. 0 disables BFD: speaker liveness then comes from Leases only")
	flag.DurationVar(&o.membershipInterval, "membership-interval", 100*time.Millisecond, "how often to send a BFD packet to the speakers that monitor this one; at least 50ms")
	flag.TextVar(&o.isolation, "isolation", membership.ByGateway, membership.IsolationUsage)
	flag.UintVar(&o.membershipMultiplier, "membership-multiplier", 4, "after how many missed BFD packets a speaker is suspected, 3 to 50")
	flag.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	flag.TextVar(&o.logFormat, "log-format", logs.Text, "text, or json: one JSON object a line")
	flag.StringVar(&o.staticClaims, "static-claims", "", "file of addresses for the API server itself, which this speaker announces among the control-plane nodes that the file lists, in place of Services: it needs no API server. It is read again when it changes. Of the other flags those of Kubernetes (--kubeconfig, --namespace, classes, exclusion, drain, --heartbeat, --ready-check, --null-route-table) have no effect")
	flag.BoolVar(&o.version, "version", false, "print the version and exit")
	flag.Parse()
	if o.version {
		fmt.Println(version.String())
		return
	}
	logger := logs.New(os.Stderr, o.logLevel, o.logFormat)
	if err := run(ctrl.SetupSignalHandler(), o, logger); err != nil {
		logger.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// maxRate is higher than any rate at which a speaker sends.
const maxRate = 100_000

func (o options) validate() error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unknown argument %q: see -help", flag.Arg(0))
	case o.node == "":
		return errors.New("set --node-name, or NODE_NAME, to the name of this Node")
	case o.heartbeatInterval < 100*time.Millisecond || o.heartbeatInterval > intent.LongestHeartbeat:
		return fmt.Errorf("--heartbeat is %s; it must be from 100ms to %s", o.heartbeatInterval, intent.LongestHeartbeat)
	case o.rate > maxRate:
		return fmt.Errorf("--announce-rate is %d; it must be at most %d, or 0", o.rate, maxRate)
	case o.drain < 0 || o.drain > time.Hour:
		return fmt.Errorf("--drain-time is %s; it must be from 0 to 1h", o.drain)
	case o.endpointWait < 0 || o.endpointWait > time.Minute:
		return fmt.Errorf("--endpoint-wait is %s; it must be from 0 to 1m", o.endpointWait)
	}
	return cmp.Or(o.metrics.Validate(), o.validateRoutes(), o.validateMembership(), o.validateLayer2())
}

func (o options) validateRoutes() error {
	if o.nulls > math.MaxInt32 || o.nulls >= 253 && o.nulls <= 255 {
		return fmt.Errorf("--null-route-table is %d; it must be from 1 to %d and none of the kernel's own (253 to 255), or 0", o.nulls, math.MaxInt32)
	}
	if u, err := url.Parse(o.ready); o.ready != "" && (err != nil || u.Scheme != "http" || u.Host == "") {
		return fmt.Errorf("--ready-check is %q; it must be a URL such as http://127.0.0.1:10256/healthz", o.ready)
	}
	return nil
}

func (o options) validateMembership() error {
	switch {
	case o.membershipPort > math.MaxUint16-1:
		return fmt.Errorf("--membership-port is %d; it must be below 65535, because the next port is used as well", o.membershipPort)
	case o.membershipInterval < 50*time.Millisecond || o.membershipInterval > 10*time.Second:
		return fmt.Errorf("--membership-interval is %s; it must be from 50ms to 10s", o.membershipInterval)
	case o.membershipMultiplier < 3 || o.membershipMultiplier > 50:
		return fmt.Errorf("--membership-multiplier is %d; it must be from 3 to 50", o.membershipMultiplier)
	}
	return nil
}

func (o options) validateLayer2() error {
	for _, glob := range o.ignored() {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("--ignore-links: %q: %w", glob, err)
		}
	}
	if o.debug == "0" {
		return nil
	}
	if addr, err := netip.ParseAddrPort(o.debug); err != nil || !addr.Addr().IsLoopback() {
		return fmt.Errorf("--debug-bind-address is %q; it must be a loopback address with a port, such as 127.0.0.1:7476, or 0", o.debug)
	}
	return nil
}

func (o options) ignored() []string {
	if o.ignore == "" {
		return nil
	}
	return strings.Split(o.ignore, ",")
}

// noticed is how long this speaker can stall before others may notice.
func (o options) noticed() time.Duration {
	if o.membershipPort == 0 {
		return intent.MissedHeartbeats * o.heartbeatInterval
	}
	return membership.Answers + time.Duration(o.membershipMultiplier)*o.membershipInterval
}

// probeMargin is added to the stall limit. A speaker that does not answer for longer than
// both has released its addresses.
const probeMargin = 50 * time.Millisecond

// silence is how long probes for an address must stay unanswered before it has no owner: a
// speaker that stalls for longer releases its addresses.
func (o options) silence() time.Duration {
	return min(o.noticed(), intent.MissedHeartbeats*time.Second) + probeMargin
}

// run works until ctx ends.
func run(ctx context.Context, o options, logger *slog.Logger) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := privileges.Check(logger); err != nil {
		return err
	}
	log.SetLogger(logr.FromSlogHandler(logger.Handler()))
	klog.SetSlogLogger(logger)
	cluster.SaveMemory()
	o, o.portsTaken = o.withoutTaken(ctx, portTimeout, logger)
	if o.staticClaims != "" {
		return runStatic(ctx, o, logger)
	}
	revisions := new(cluster.Revisions)
	mgr, err := newManager(ctx, o, revisions, logger)
	if err != nil {
		return err
	}
	r, err := assemble(ctx, mgr, o, revisions, logger)
	if err != nil {
		return err
	}
	logger.Info("started", "version", version.String(), "node", o.node, "namespace", o.namespace, "loadBalancerClass", o.class)
	if err := mgr.Start(r.stopping(ctx, mgr.GetAPIReader())); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// assemble makes the parts and has mgr run them. It returns the one that decides.
func assemble(ctx context.Context, mgr manager.Manager, o options, revisions *cluster.Revisions, logger *slog.Logger) (*reconciler, error) {
	speakers, err := cluster.Store(ctx, mgr.GetCache(), &v1beta1.Speaker{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	events := cluster.NewEventRecorder(mgr.GetClient(), logger, "steelyard-speaker", o.node)
	wire := newAdapters(o, func() string { return formerForwarder(speakers, o.node) }, events.Record, logger)
	claims := new(overlay.Objects[*v1beta1.L2Claim])
	var r *reconciler
	restarts := func() bool { return r.restarts() }
	heartbeat := lease.New(lease.Options{
		Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Log: logger, Node: o.node, Namespace: o.namespace, Interval: o.heartbeatInterval,
		Claims: claims, Restarts: restarts,
		Watch: func(ctx context.Context, all bool, changed func()) (client.Reader, error) {
			name := intent.LeaseName(o.node)
			if all {
				name = ""
			}
			return revisions.WatchLeases(ctx, mgr, o.namespace, name, changed)
		},
		Peers: func() ([]lease.Peer, bool) { return peers(speakers, wire.group.View(), o.membershipPort != 0) },
	})
	revisions.Restored = func() {
		claims.Reset()
		heartbeat.Restart()
	}
	host := status.NewHost(wire.forwards, wire.group, wire.nullRoutes.Problem, status.Token(mgr.GetClient(), o.node, logger), wire.network, o.portsTaken)
	r = &reconciler{
		core: newCore(o, logger, wire, failover.Options{Heartbeat: o.heartbeatInterval, Misses: intent.MissedHeartbeats}),
		sources: sources{
			reader: mgr.GetClient(), configuration: cluster.NewConfiguration(cluster.Cached(mgr.GetCache())),
			claimOverlay: claims, heartbeat: heartbeat,
		},
		routes:   intent.RouteDrain{Time: o.drain, Rule: o.exclusion},
		rollouts: map[string]*rollout.Rollout{},
		report:   make(chan struct{}, 1),
	}
	if err = r.open(ctx, mgr.GetCache()); err != nil {
		return nil, err
	}
	rep := status.New(status.Options{
		Client: mgr.GetClient(), Record: events.Record, Log: logger, Node: o.node,
		Cached: r.cachedClaims, Claims: claims, Links: wire.links, Sessions: wire.sessions, Group: wire.group, Host: host, Plan: &r.plan, Trigger: r.report,
		Restarts: restarts,
	})
	if err := r.expose(mgr, r.heartbeat.API); err != nil {
		return nil, err
	}
	if err := addLoop(ctx, mgr, r); err != nil {
		return nil, err
	}
	tasks := []manager.RunnableFunc{heartbeat.Run, rep.Run, events.Run, host.Run, cluster.ReleaseMemory(r.idleFor)}
	for _, task := range slices.Concat(tasks, wire.tasks(o)) {
		if err := mgr.Add(task); err != nil {
			return nil, fmt.Errorf("set up: %w", err)
		}
	}
	return r, nil
}

// newAdapters makes the parts that use the network, the kernel or kube-proxy.
func newAdapters(o options, former func() string, record func(cluster.Event), logger *slog.Logger) adapters {
	out := o.wire(logger)
	out.forwards = kubeproxy.NewReadiness(o.ready, o.node, former, record, logger)
	out.arrivals = kubeproxy.NewEndpoints(o.endpointWait)
	out.nullRoutes = nullroute.New(logger, int(o.nulls))
	return out
}

// addLoop has mgr run r.
func addLoop(ctx context.Context, mgr manager.Manager, r *reconciler) error {
	if err := r.loop().AddTo(ctx, mgr); err != nil {
		return err
	}
	// BGPSessions are read, but do not trigger a pass: they are this speaker's own report.
	sessions, err := mgr.GetCache().GetInformer(ctx, &v1beta1.BGPSession{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = sessions.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, after any) { r.reportAgain(after) }})
	}
	if err != nil {
		return fmt.Errorf("watch BGPSessions: %w", err)
	}
	return nil
}

// reportAgain has the speaker report if the controller has taken it for dead.
func (r *reconciler) reportAgain(after any) {
	if o, ok := after.(client.Object); ok && status.Doubted(o, r.node) {
		wait.Signal(r.report)
	}
}

// open finds the cache's stores.
func (s *sources) open(ctx context.Context, c cache.Cache) (err error) {
	for _, x := range []struct {
		of   *toolscache.Store
		kind client.Object
	}{{&s.services, &corev1.Service{}}, {&s.nodes, &corev1.Node{}}, {&s.speakers, &v1beta1.Speaker{}}, {&s.endpoints, &discoveryv1.EndpointSlice{}}, {&s.cachedClaims, &v1beta1.L2Claim{}}, {&s.reported, &v1beta1.BGPSession{}}} {
		if *x.of, err = cluster.Store(ctx, c, x.kind, cache.BlockUntilSynced(false)); err != nil {
			return err
		}
	}
	return nil
}

// expose registers the metrics, the readiness check and the debug server. api returns how well the
// API server is heard, or what stands in for it.
func (c *core) expose(mgr manager.Manager, api func(time.Time) failover.API) error {
	self := status.NewSelfMetrics(func() bool { return api(time.Now()).Reachable }, c.links.KernelAnswers)
	c.observePass = self.Pass
	members := status.MemberMetrics{View: c.group.View, Discarded: c.group.Discarded, Takeovers: c.takeovers.Load, Plan: c.plan.Load}
	for _, m := range status.Collectors(self, c.links, c.sessions.States, members) {
		if err := metrics.Registry.Register(m); err != nil {
			return fmt.Errorf("set up metrics: %w", err)
		}
	}
	ready := &readiness.Check{Settled: func() bool { return api(time.Now()).WasSynced }, Offers: c.mayOffer, Sessions: c.sessions.States, Clock: time.Now}
	if err := mgr.AddReadyzCheck("announces", func(*http.Request) error { return ready.Ready() }); err != nil {
		return fmt.Errorf("set up /readyz: %w", err)
	}
	if c.debug == "0" {
		return nil
	}
	if err := mgr.Add(manager.RunnableFunc(debug.Server{Addr: c.debug, Links: c.links, Sessions: c.sessions, Log: c.log}.Run)); err != nil {
		return fmt.Errorf("set up --debug-bind-address: %w", err)
	}
	return nil
}

func newManager(ctx context.Context, o options, revisions *cluster.Revisions, logger *slog.Logger) (manager.Manager, error) {
	cfg, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server (run in a cluster, or set --kubeconfig): %w", err)
	}
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	cfg = cluster.Connect(cfg, cluster.ManagerSpeaker)
	if err := cluster.AwaitAPI(ctx, cfg); err != nil {
		return nil, err
	}
	return o.manager(cfg, ctrl.Options{Scheme: scheme, Cache: cluster.CacheOptions(o.namespace, cluster.SpeakerFields(), revisions), Metrics: o.metrics.Options(cfg, logger)})
}

// manager makes the manager, which runs the tasks and serves probes, metrics and profiles.
func (o options) manager(cfg *rest.Config, with ctrl.Options) (manager.Manager, error) {
	with.HealthProbeBindAddress, with.PprofBindAddress = o.probes, o.pprof
	mgr, err := ctrl.NewManager(cfg, with)
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("set up /healthz: %w", err)
	}
	return mgr, nil
}
