// Command controller assigns addresses to Services of type LoadBalancer, and reports on
// the configuration. It reads the cluster, has package planner decide, and writes what
// differs. Of several replicas one leads. It announces nothing: speakers do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announcer"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/logs"
	"github.com/steelyard-lb/steelyard/internal/overview/page"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/report"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/writer"
)

// options are the flags. (The flag --kubeconfig is controller-runtime's.)
type options struct {
	namespace string
	class     string
	metrics   cluster.Metrics
	probes    string
	pprof     string
	logLevel  slog.Level
	logFormat logs.Format
	version   bool
	compat    string
	prefixes  intent.AnnotationPrefixes
	page      bool
	hosts     string
	finalize  bool
	apply     bool
	exclusion intent.Exclusion
}

func main() {
	var o options
	flag.StringVar(&o.namespace, "namespace", "steelyard-system", "namespace of Steelyard itself: of its Secrets and Leases")
	flag.Func("load-balancer-class", "serve "+intent.ClassUsage, intent.AddClass(&o.class))
	o.metrics.AddFlags(flag.CommandLine)
	flag.BoolVar(&o.page, "page", true, "serve GET / beside the metrics: a page of pools, addresses, sessions and Services with a problem, for clients that can reach that port and, with --metrics-secure, may get /")
	flag.StringVar(&o.hosts, "page-hosts", "", "names, by commas, beside localhost and addresses, that the page may be asked for by, as a browser sends them: such as steelyard.example.org, for a page behind a proxy. Other names get 421, so that no foreign site can read the page by leading its own name here")
	flag.StringVar(&o.probes, "health-probe-bind-address", "0", "address to serve /healthz and /readyz on, such as :7473; 0: none")
	flag.StringVar(&o.pprof, "pprof-bind-address", "0", "address to serve Go's profiles on, such as 127.0.0.1:7474; 0: none")
	flag.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	flag.TextVar(&o.logFormat, "log-format", logs.Text, "text, or json: one JSON object a line")
	flag.StringVar(&o.compat, "compat-annotations", "", "also honor the annotations of: metallb.io (metallb.io/ and metallb.universe.tf/ address-pool, loadBalancerIPs and allow-shared-ip)")
	flag.BoolVar(&o.exclusion.IgnoreLabel, "ignore-exclude-label", false, intent.IgnoreExcludeLabelUsage)
	flag.TextVar(&o.exclusion.Unschedulable, "unschedulable", intent.UnschedulableIgnore, intent.UnschedulableUsage)
	flag.BoolVar(&o.finalize, "cleanup-finalizer", false, "set the finalizer service.kubernetes.io/load-balancer-cleanup on Services that have an address, so that a deletion waits until the controller has taken it back; without the flag it is taken off again where the controller had set it. Run without it before you uninstall")
	flag.BoolVar(&o.apply, "apply", false, "apply the pools, peers and advertisements that are the arguments, each as JSON, delete those that were applied so before and are not among them, and exit; the chart's Job does it")
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

// pageHosts are the names that the page may be asked for by.
func (o options) pageHosts() []string {
	return strings.FieldsFunc(o.hosts, func(r rune) bool { return r == ',' || r == ' ' })
}

// run works until ctx ends.
func run(ctx context.Context, o options, logger *slog.Logger) error {
	if flag.NArg() > 0 && !o.apply {
		return fmt.Errorf("unknown argument %q: see -help", flag.Arg(0))
	}
	log.SetLogger(logr.FromSlogHandler(logger.Handler()))
	cfg, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server (run in a cluster, or set --kubeconfig): %w", err)
	}
	if err := o.metrics.Validate(); err != nil {
		return err
	}
	if o.prefixes, err = intent.ParseAnnotationPrefixes(o.compat); err != nil {
		return fmt.Errorf("--compat-annotations: %w", err)
	}
	klog.SetSlogLogger(logger)
	cluster.SaveMemory()
	cfg = cluster.Connect(cfg, cluster.ManagerController)
	if err := cluster.AwaitAPI(ctx, cfg); err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	revisions := new(cluster.Revisions)
	if o.apply {
		c, err := client.New(cfg, client.Options{})
		if err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		return applyValues(ctx, c, flag.Args(), logger)
	}
	mgr, err := newManager(cfg, o, revisions, logger)
	if err != nil {
		return err
	}
	if err := assemble(ctx, mgr, cfg, o, revisions, logger); err != nil {
		return err
	}
	logger.Info("started", "version", version.String(), "namespace", o.namespace, "loadBalancerClass", o.class)
	if err := mgr.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// assemble makes the parts and has mgr run them.
func assemble(ctx context.Context, mgr manager.Manager, cfg *rest.Config, o options, revisions *cluster.Revisions, logger *slog.Logger) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this replica: %w", err)
	}
	elect, err := leader.New(cfg, o.namespace, host, logger)
	if err != nil {
		return err
	}
	counted := report.NewCounters()
	tells := cluster.NewEventRecorder(mgr.GetClient(), logger, cluster.ManagerController, host)
	writes := writer.New(writer.Options{Client: mgr.GetClient(), Log: logger, Record: tells.Record, Count: counted.Patch})
	tells.IdleFor = writes.IdleFor // events wait for writes of addresses
	r := newReconciler(mgr.GetClient(), mgr.GetAPIReader(), writes, planner.New(o.prefixes, planner.Finalizer{Wanted: o.finalize, Class: o.class}))
	r.readFrom(mgr.GetCache())
	r.log, r.leading, r.observePass = logger, elect.Leading, counted.Pass
	elect.Drain, revisions.Restored = r.drain, r.restored(elect)
	finds := newAnnouncer(r, o)
	rep := report.New(report.Options{
		Client: r.client, Direct: r.direct, Log: logger, Class: o.class, Finalizer: r.state.Finalizer(), Configuration: r.configuration, Services: r.services,
		Leading: r.leading, Plan: r.summary, Released: r.released, Planned: r.planned, Count: counted.Patch,
		Presences: finds.Presences, Programmed: finds.Programmed, Heard: finds.Heard, Record: tells.Record,
	})
	for _, c := range rep.Collectors(counted) {
		if err := metrics.Registry.Register(c); err != nil {
			return fmt.Errorf("set up metrics: %w", err)
		}
	}
	if o.page && o.metrics.Address != "0" {
		pages, err := page.New(page.Options{
			Cached: r.client, Direct: r.direct, Configuration: r.configuration, Services: r.services, Class: o.class, Namespace: o.namespace, Exclusion: o.exclusion,
			Replica: host, Leads: func() bool { return r.leading() != nil }, Log: logger,
		})
		if err != nil {
			return err
		}
		if err := pages.AddTo(ctx, mgr, o.pageHosts()); err != nil {
			return err
		}
	}
	for _, loop := range []cluster.Loop{r.loop(elect.Changed, writes.Written, finds.Changed, r.clusterIPs.Changed, r.ipamAnswered), finds.Loop(), rep.Loop()} {
		if err := loop.AddTo(ctx, mgr); err != nil {
			return err
		}
	}
	key := cluster.MembershipSecret{Client: r.client, Direct: r.direct, Log: logger, Namespace: o.namespace}
	// A replica that could not serve at once does not stand for election.
	candidate := func(ctx context.Context) error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return nil
		}
		return elect.Run(ctx)
	}
	for _, task := range []manager.RunnableFunc{candidate, tells.Run, cluster.ReleaseMemory(writes.IdleFor), key.Run, r.clusterIPs.Run} {
		if err := mgr.Add(task); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// loop returns the loop that runs the reconciler.
func (r *reconciler) loop(signals ...<-chan struct{}) cluster.Loop {
	return cluster.Loop{
		Name: "controller", Log: r.log, Reconcile: r.reconcile, Ignore: r.ignores, Triggers: signals,
		MinInterval: cluster.Share(6, 30*time.Millisecond), Used: cluster.Used, Burst: 50 * time.Millisecond,
		Kinds: []client.Object{
			&corev1.Service{}, &corev1.Namespace{}, &v1beta1.IPAddressPool{}, &v1beta1.AddressReservation{}, &v1beta1.AddressQuota{},
			&v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BGPPeer{}, &v1beta1.Community{},
			&corev1.Node{}, &v1beta1.Speaker{}, // they tell which addresses nodes have
			&v1beta1.L2Claim{},           // they tell which ones foreign hosts have
			&discoveryv1.EndpointSlice{}, // they tell which Services can share
		},
	}
}

func newManager(cfg *rest.Config, o options, revisions *cluster.Revisions, logger *slog.Logger) (manager.Manager, error) {
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cluster.CacheOptions(o.namespace, cluster.ControllerFields(), revisions),
		Metrics:                o.metrics.Options(cfg, logger),
		HealthProbeBindAddress: o.probes,
		PprofBindAddress:       o.pprof,
	})
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("set up /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("set up /readyz: %w", err)
	}
	return mgr, nil
}

// newAnnouncer returns the announcer of r, which reads what r does.
func newAnnouncer(r *reconciler, o options) *announcer.Announcer {
	a := announcer.New(announcer.Options{
		Client: r.client, Direct: r.direct, Configuration: r.configuration, Services: r.services, Leading: r.leading, Log: r.log,
		Namespace: o.namespace, Class: o.class, Exclusion: o.exclusion,
		Endpoints: r.endpoints,
	})
	r.announced = a.Found
	return a
}
