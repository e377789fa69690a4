package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/source"
	ipams "github.com/steelyard-lb/steelyard/internal/source/client"
	"github.com/steelyard-lb/steelyard/internal/wait"
	"github.com/steelyard-lb/steelyard/internal/writer"
)

// reconciler reads a snapshot, plans, and starts the writes. No decision depends on its
// memory, but for its writes that the cache does not show yet.
type reconciler struct {
	client        client.Client
	direct        client.Reader // past the cache
	services      func(context.Context) ([]*corev1.Service, error)
	claims        func(context.Context) ([]*v1beta1.L2Claim, error)
	endpoints     func(context.Context) ([]*discoveryv1.EndpointSlice, error)
	configuration *cluster.Configuration
	leading       func() *leader.Term // nil: not now
	writer        *writer.Writer
	ipams         *ipams.Client
	ipamAnswered  chan struct{} // buffered 1: an IPAM has answered, or reports a change
	log           *slog.Logger
	clusterIPs    *cluster.ClusterIPs
	announced     func() *planner.Announced // what the conditions Announced are to be; nil: that is not known yet
	planned       chan struct{}             // buffered 1: gets a value after every pass
	observePass   func(time.Duration)       // gets the duration of every pass

	caughtUp *leader.Term // the term in which the cache is known to show what former leaders wrote

	mu    sync.Mutex // held while planning, and while others read the result
	state *planner.State
	last  *result // of the present term; nil: none yet
}

// newReconciler returns a reconciler. Its caller sets leading, and what it reads (readFrom).
func newReconciler(c client.Client, direct client.Reader, w *writer.Writer, s *planner.State) *reconciler {
	r := &reconciler{
		client: c, direct: direct, writer: w, state: s, planned: make(chan struct{}, 1), ipamAnswered: make(chan struct{}, 1),
		clusterIPs: cluster.NewClusterIPs(direct, w.Log),
	}
	r.ipams = ipams.New(ipams.Options{Log: w.Log, Answered: r.asked, Changed: r.ipamChanged})
	r.announced = func() *planner.Announced { return nil }
	w.Finalizer, w.Answered = s.Finalizer(), r.answered
	return r
}

// readFrom has r read from a cache.
func (r *reconciler) readFrom(c cache.Cache) {
	r.services = func(ctx context.Context) ([]*corev1.Service, error) { return cluster.Services(ctx, c) }
	r.claims = func(ctx context.Context) ([]*v1beta1.L2Claim, error) { return cluster.AllClaims(ctx, c) }
	r.endpoints = func(ctx context.Context) ([]*discoveryv1.EndpointSlice, error) { return cluster.Endpoints(ctx, c) }
	r.configuration = cluster.NewConfiguration(cluster.Cached(c)).Allocating()
}

// result is a plan and the term that it was made in.
type result struct {
	planner.Plan
	term *leader.Term
}

func (r *reconciler) reconcile(ctx context.Context) (time.Duration, error) {
	t := r.leading()
	if t == nil {
		r.publish(nil)
		r.ipams.Close()
		return 0, r.watch(ctx)
	}
	if r.caughtUp != t {
		r.publish(nil)
		if err := r.catchUp(t); err != nil {
			return 0, fmt.Errorf("catch up with the former leader: %w", err)
		}
		r.caughtUp = t
	}
	start := time.Now()
	snap, err := r.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	again := r.act(t, snap)
	r.observePass(time.Since(start))
	wait.Signal(r.planned)
	return again, nil
}

// watch keeps track of deleted Services while another replica leads.
func (r *reconciler) watch(ctx context.Context) error {
	s := planner.Input{Now: time.Now()}
	if err := r.readCached(ctx, &s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Watch(s)
	return nil
}

// act plans, and starts the writes.
func (r *reconciler) act(t *leader.Term, s planner.Input) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, sends, again := r.state.Pass(s)
	r.last = &result{p, t} // it holds until the next pass
	r.writer.Publish(p.Released)
	r.writer.Send(t, sends)
	r.ipams.Keep(r.state.AsksIPAM)
	r.ipams.Send(t, p.Calls)
	return again
}

// asked records what an IPAM has answered.
func (r *reconciler) asked(a source.Answer) {
	r.mu.Lock()
	due := r.state.Asked(a, time.Now())
	r.mu.Unlock()
	if due {
		wait.Signal(r.ipamAnswered)
	}
	if a.Failure != 0 && a.Failure != source.Unsent && a.Failure != source.Exhausted {
		r.log.Warn("a call to an IPAM failed", "call", a.Kind.String(), "pool", a.To.Pool, "service", a.Service.String(), "said", a.Text)
	}
}

// ipamChanged has an IPAM be read again.
func (r *reconciler) ipamChanged(endpoint string) {
	r.mu.Lock()
	r.state.IPAMChanged(endpoint)
	r.mu.Unlock()
	wait.Signal(r.ipamAnswered)
}

// answered records the answer to a write.
func (r *reconciler) answered(w planner.Write, a planner.Answer) planner.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Done(w, a)
}

// drain returns when no pass starts writes and no write is under way, or after a
// second. The term must have ended.
func (r *reconciler) drain() {
	r.publish(nil) // waits for the pass that had begun
	r.writer.Drain()
}

// restored returns what to do when the API server has gone back to an earlier state.
func (r *reconciler) restored(e *leader.Election) func() {
	return func() {
		r.state.Restored()
		e.Abandon()
	}
}

// catchUp waits until the cache shows what a former leader may have written
// and decided upon.
func (r *reconciler) catchUp(t *leader.Term) error {
	start := time.Now()
	if err := r.writer.Await(t); err != nil {
		return err
	}
	r.mu.Lock()
	r.state.Reset()
	r.mu.Unlock()
	err := cluster.CatchUp(t, r.direct, r.client, &corev1.ServiceList{}, &corev1.NamespaceList{}, &v1beta1.IPAddressPoolList{},
		&v1beta1.L2AdvertisementList{}, &v1beta1.BGPAdvertisementList{}, &v1beta1.BGPPeerList{}, &v1beta1.CommunityList{},
		&v1beta1.AddressReservationList{}, &v1beta1.AddressQuotaList{})
	if err == nil {
		r.log.Info("caught up with the former leader", "took", time.Since(start).Round(time.Millisecond))
	}
	return err
}

func (r *reconciler) publish(o *result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = o
}

// summary returns what metrics, statuses and the page show of the last plan of a term;
// nil: there is none.
func (r *reconciler) summary(t *leader.Term) *planner.Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || r.last.term != t {
		return nil
	}
	return r.last.Summary()
}

// released returns the Services that are not ours any more, since the last call.
func (r *reconciler) released() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Released()
}

func (r *reconciler) snapshot(ctx context.Context) (planner.Input, error) {
	s := planner.Input{Now: time.Now(), Announced: r.announced()}
	if err := r.readCached(ctx, &s); err != nil {
		return s, err
	}
	var namespaces corev1.NamespaceList
	if err := cluster.List(ctx, r.client, &namespaces); err != nil {
		return s, err
	}
	s.Namespaces = make(map[string]map[string]string, len(namespaces.Items))
	for _, n := range namespaces.Items {
		s.Namespaces[n.Name] = n.Labels
		if n.Name == metav1.NamespaceSystem {
			s.Cluster = string(n.UID)
		}
	}
	s.Others.ClusterIPs = r.clusterIPs.Ranges()
	var nodes corev1.NodeList
	var speakers v1beta1.SpeakerList
	err := cmp.Or(cluster.List(ctx, r.client, &nodes), cluster.List(ctx, r.client, &speakers))
	s.Others.Nodes, s.Others.Speakers = nodes.Items, speakers.Items
	if err != nil {
		return s, err
	}
	if s.Claims, err = r.claims(ctx); err != nil || !slices.ContainsFunc(s.Services, r.state.NeedsEndpoints) {
		return s, err
	}
	endpoints, err := r.endpoints(ctx)
	s.Endpoints = intent.ByService(endpoints)
	return s, err
}

// ignores reports whether an event concerns no allocation.
func (r *reconciler) ignores(before, after client.Object) bool {
	s, is := cmp.Or(after, before).(*discoveryv1.EndpointSlice)
	if !is {
		return r.state.Ignores(before, after)
	}
	svc, key := &corev1.Service{}, intent.ServiceOf(s)
	err := r.client.Get(context.Background(), client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, svc, client.UnsafeDisableDeepCopy)
	return apierrors.IsNotFound(err) || err == nil && !r.state.NeedsEndpoints(svc) || intent.Same(before, after)
}

// readCached sets the configuration and the Services of s from the cache.
func (r *reconciler) readCached(ctx context.Context, s *planner.Input) (err error) {
	if s.Configured, err = r.configuration.Read(ctx); err != nil {
		return err
	}
	s.Services, err = r.services(ctx)
	return err
}
