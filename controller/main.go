// Command controller gives every Service of type LoadBalancer its addresses,
// and reports on the configuration. It reads the cluster, has package ipam
// decide, and writes what differs. Of several replicas one is active.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// options are the flags. (The flag --kubeconfig is controller-runtime's.)
type options struct {
	namespace string
	class     string
	metrics   string
	probes    string
	logLevel  slog.Level
}

func main() {
	var o options
	flag.StringVar(&o.namespace, "namespace", "steelyard-system", "namespace of Steelyard itself: of its Secrets and Leases")
	flag.StringVar(&o.class, "load-balancer-class", "", "serve Services of this spec.loadBalancerClass; empty: those without one")
	flag.StringVar(&o.metrics, "metrics-bind-address", "0", "address to serve metrics on, such as :7472; 0: none")
	flag.StringVar(&o.probes, "health-probe-bind-address", "0", "address to serve /healthz and /readyz on, such as :7473; 0: none")
	flag.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	if err := run(ctrl.SetupSignalHandler(), o, logger); err != nil {
		logger.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// run works until ctx ends.
func run(ctx context.Context, o options, logger *slog.Logger) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: see -help", flag.Arg(0))
	}
	log.SetLogger(logr.FromSlogHandler(logger.Handler()))
	cfg, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server (run in a cluster, or set --kubeconfig): %w", err)
	}
	mgr, err := newManager(cluster.Connect(cfg), o)
	if err != nil {
		return err
	}
	r := &reconciler{
		client:    mgr.GetClient(),
		direct:    mgr.GetAPIReader(),
		events:    mgr.GetEventRecorder("steelyard-controller"),
		log:       logger,
		namespace: o.namespace,
		class:     o.class,
	}
	loop := cluster.Loop{
		Name:  "controller",
		Think: r.reconcile,
		Kinds: append(cluster.Kinds(), &corev1.Namespace{}, &v1beta1.BGPSession{}, &v1beta1.L2Claim{}),
	}
	if err := loop.AddTo(mgr); err != nil {
		return err
	}
	logger.Info("started", "namespace", o.namespace, "loadBalancerClass", o.class)
	if err := mgr.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func newManager(cfg *rest.Config, o options) (manager.Manager, error) {
	scheme, err := cluster.Scheme()
	if err != nil {
		return nil, err
	}
	// A crashed leader is replaced after the lease; one that stops hands over.
	lease, renew, retry := 10*time.Second, 7*time.Second, time.Second
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cluster.CacheOptions(o.namespace),
		Metrics:                       server.Options{BindAddress: o.metrics},
		HealthProbeBindAddress:        o.probes,
		LeaderElection:                true,
		LeaderElectionID:              "steelyard-controller",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
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
