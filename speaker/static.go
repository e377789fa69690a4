package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
	"github.com/steelyard-lb/steelyard/internal/static"
	"github.com/steelyard-lb/steelyard/internal/static/node"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// staticInterval is how often the facts are read again: that a report is missing is no event.
const staticInterval = 100 * time.Millisecond

// staticReconciler does what a reconciler does with facts that come from a file, and from the
// reports of the speakers that it lists.
type staticReconciler struct {
	core
	file      *node.File
	apiserver *node.APIServer
	addresses *node.Addresses
	reports   *membership.Reports
	mu        sync.Mutex // held to use registry
	registry  *static.Registry
}

// runStatic works until ctx ends, without an API server.
func runStatic(ctx context.Context, o options, logger *slog.Logger) error {
	if o.membershipPort == 0 || o.membershipPort > math.MaxUint16-2 {
		return fmt.Errorf("--static-claims needs --membership-port and the two ports after it: choose free ones, the same on all nodes, such as 7484. Taken: %s", cmp.Or(strings.Join(o.portsTaken, "; "), "none"))
	}
	if o.metrics.Secure {
		return errors.New("--metrics-secure asks an API server, and --static-claims works without: serve metrics on a loopback address instead")
	}
	file, err := node.Await(ctx, o.staticClaims, o.node, logger)
	if err != nil {
		return err
	}
	// The manager's client is never used: it serves probes and metrics, and runs the tasks.
	mgr, err := o.manager(&rest.Config{Host: "http://127.0.0.1:0"}, ctrl.Options{Metrics: server.Options{BindAddress: o.metrics.Address}})
	if err != nil {
		return err
	}
	now := time.Now()
	r := &staticReconciler{
		core: newCore(o, logger, o.wire(logger), failover.Options{Heartbeat: static.Heartbeat, Misses: static.Misses}),
		file: file, apiserver: node.NewAPIServer(func() static.Health { return file.Config().Health }, logger), addresses: node.NewAddresses(logger),
		reports:  membership.NewReports(o.node, uint64(now.UnixMilli()), network.NewTransport(uint16(o.membershipPort)+2), logger),
		registry: static.NewRegistry(o.node, now),
	}
	if err := r.add(ctx, mgr); err != nil {
		return err
	}
	logger.Info("started", "version", version.String(), "node", o.node, "staticClaims", o.staticClaims, "addresses", file.Config().Addrs)
	if err := mgr.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// add has mgr run the parts.
func (r *staticReconciler) add(ctx context.Context, mgr manager.Manager) error {
	if err := r.expose(mgr, r.api); err != nil {
		return err
	}
	loop := cluster.Loop{
		Name: "static claims", Reconcile: r.reconcile, Log: r.log, Priority: r.group.Changed(),
		Triggers: []<-chan struct{}{r.links.Changed(), r.links.DuplicateOwnerHeard(), r.links.Stalled(), r.prober.Changed(), r.reports.Changed(), r.apiserver.Changed(), r.file.Changed()},
	}
	if err := loop.AddTo(ctx, mgr); err != nil {
		return err
	}
	tasks := []manager.RunnableFunc{r.file.Run, r.apiserver.Run, r.addresses.Run, r.reports.Run}
	for _, task := range append(tasks, r.tasks(r.options)...) {
		if err := mgr.Add(task); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// api returns how well the other speakers are heard, which stand in for the API server.
func (r *staticReconciler) api(now time.Time) failover.API {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.registry.API(now)
}

// reconcile is one pass.
func (r *staticReconciler) reconcile(context.Context) (time.Duration, error) {
	if !r.links.Listed() || !r.apiserver.Known() {
		return listing, nil // without either this node would lose its addresses
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.file.Config()
	s := r.read(c)
	if !r.registry.Known(s.Now, *c) {
		return staticInterval, r.send(s.Now, c)
	}
	out := r.failover.Step(s.Facts)
	if out.Resync {
		r.registry.Restart(s.Now)
	}
	r.answer(s, out)
	r.registry.Record(s.Now, *c, out)
	r.sessions.Set(out.Plan.Peerings)
	if out.Join { // until then what the speaker before this one has left stays
		r.addresses.Set(c.Addrs, here(c, out))
	}
	r.watch(s, out)
	d := applied(s, out)
	d.Offers = true
	r.plan.Store(d)
	r.observePass(time.Since(s.Now))
	return wait.Soonest(out.Wake, staticInterval), r.send(s.Now, c)
}

// read collects the facts.
func (r *staticReconciler) read(c *static.Config) (s snapshot) {
	now, others := time.Now(), map[string]static.Received{}
	for name, x := range r.reports.Received() {
		received := static.Received{At: x.At}
		if err := json.Unmarshal(x.JSON, &received.Report); err != nil {
			r.log.Debug("a report cannot be read, and counts as missing", "node", name, "err", err)
			continue
		}
		others[name] = received
	}
	own := static.Local{Ready: r.apiserver.Ready(), Isolated: r.group.View().Isolated, Links: r.ownLinks()}
	r.registry.Observe(now, *c, others, own)
	s.Facts, s.keys, s.fixed = r.registry.Facts(now, *c), c.Keys, true
	r.observe(&s)
	return s
}

// send reports to the other speakers.
func (r *staticReconciler) send(now time.Time, c *static.Config) error {
	report, err := r.registry.Report(now)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	x := membership.Exchange{Keys: c.Keys, Report: report}
	for _, n := range c.Nodes {
		x.Members = append(x.Members, membership.Member{Name: n.Name, Addr: n.Addr})
	}
	r.reports.Set(x)
	return nil
}

// here returns the addresses for which packets arrive at this node: those that it answers for, or
// still answers for, and all that it advertises to routers.
func here(c *static.Config, out failover.Output) []netip.Addr {
	var all []netip.Addr
	for _, claim := range slices.Concat(out.Plan.Claims, out.Proxy) {
		if len(claim.ProxyReplies) == 0 || !slices.ContainsFunc(out.Plan.Backups, func(b announce.Claim) bool { return b.Addr == claim.Addr }) {
			all = append(all, claim.Addr)
		}
	}
	for _, p := range out.Plan.Peerings {
		for _, route := range p.Routes {
			all = append(all, route.Prefix.Addr())
		}
	}
	return slices.DeleteFunc(slices.Clone(c.Addrs), func(a netip.Addr) bool { return !slices.Contains(all, a) })
}
