package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

const missedBeats = intent.MissedBeats

// heartbeat tells the other speakers, by a Lease, that this one is there, and
// watches theirs. Time is counted in own renewals that came back through the
// watch: with the API server away it stands still, so that nobody is taken for
// gone because nobody could be heard.
type heartbeat struct {
	client    client.Client
	direct    client.Reader // past the cache
	log       *slog.Logger
	node      string
	namespace string
	interval  time.Duration
	claims    *cluster.Overlay[*v1beta1.L2Claim]
	changed   chan struct{} // told when leases, connected or settled changed
	restarts  func() bool   // whether the others are told, on the wire, that this speaker restarts
	anew      chan struct{} // told by restart
	begin     chan struct{} // closed when the speaker can announce: others may count on it

	lost     atomic.Pointer[map[string]bool] // the speakers that count as gone
	lastEcho atomic.Pointer[time.Time]       // when an own renewal last came back
	echoes   atomic.Int64                    // own renewals in a row that came back
	ready    atomic.Bool                     // settled once
	peers    map[string]*pulse
	echoed   time.Time // the own renewal that came back last
	failing  bool
}

// pulse is what was last seen of another speaker's Lease.
type pulse struct {
	renewed time.Time
	missed  int
}

func newHeartbeat(mgr manager.Manager, o options, claims *cluster.Overlay[*v1beta1.L2Claim], log *slog.Logger) *heartbeat {
	return &heartbeat{
		client: mgr.GetClient(), direct: mgr.GetAPIReader(), log: log,
		node: o.node, namespace: o.namespace, interval: o.heartbeat,
		claims: claims, changed: make(chan struct{}, 1), anew: make(chan struct{}, 1), begin: make(chan struct{}), peers: map[string]*pulse{},
	}
}

// leases returns the Leases of the other speakers, and this one's, as the cache
// shows them, by node. So one that comes, or that gives its Lease up, is known at
// once.
func (h *heartbeat) leases(ctx context.Context) (map[string]failover.Lease, error) {
	var leases coordinationv1.LeaseList
	if err := cluster.List(ctx, h.client, &leases, client.InNamespace(h.namespace)); err != nil {
		return nil, err
	}
	held, gone := map[string]failover.Lease{}, h.gone()
	for _, l := range leases.Items {
		if node := intent.LeaseNode(&l); node != "" {
			held[node] = failover.Lease{Renewed: l.Spec.RenewTime.Time, Expired: gone[node]}
		}
	}
	return held, nil
}

// api says how well the API server is heard.
func (h *heartbeat) api() failover.API {
	return failover.API{Reachable: h.connected(), Synced: h.settled(), WasSynced: h.ready.Load()}
}

// gone returns the nodes whose speakers missed too many renewals.
func (h *heartbeat) gone() map[string]bool {
	if m := h.lost.Load(); m != nil {
		return *m
	}
	return nil
}

// idle reports whether an event is no reason to think anew: what same says, and
// what becomes of the endpoints of a Service that is announced wherever they are.
// When that changes, or the Service comes, the Service's own event is a reason.
func idle(services toolscache.Store) func(before, after client.Object) bool {
	return func(before, after client.Object) bool {
		slice, ok := after.(*discoveryv1.EndpointSlice)
		if !ok {
			slice, ok = before.(*discoveryv1.EndpointSlice)
		}
		if !ok {
			return same(before, after)
		}
		o, there, err := services.GetByKey(intent.ServiceOf(slice).String())
		svc, _ := o.(*corev1.Service)
		return err == nil && (!there || svc != nil && !intent.Local(svc)) || same(before, after)
	}
}

// same reports whether an update is no reason to think anew: a renewal of a
// Lease, which comes all the time, or the status of what only its spec and its
// labels matter of.
func same(before, after client.Object) bool {
	if before == nil || after == nil {
		return false
	}
	switch a := after.(type) {
	case *coordinationv1.Lease:
		b, ok := before.(*coordinationv1.Lease)
		return ok && intent.LeaseNode(a) == intent.LeaseNode(b)
	case *discoveryv1.EndpointSlice: // of which the cache has only what matters
		b, ok := before.(*discoveryv1.EndpointSlice)
		return ok && equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints) && maps.Equal(a.Labels, b.Labels)
	case *v1beta1.L2Claim:
		b, ok := before.(*v1beta1.L2Claim)
		return ok && a.Generation == b.Generation && a.Status.Node == b.Status.Node && maps.Equal(a.Labels, b.Labels)
	case *v1beta1.IPAddressPool, *v1beta1.L2Advertisement, *v1beta1.BGPAdvertisement, *v1beta1.BGPPeer,
		*v1beta1.BFDProfile, *v1beta1.Community:
		return before.GetGeneration() == after.GetGeneration() && maps.Equal(before.GetLabels(), after.GetLabels())
	}
	return false
}

// connected reports whether the API server was heard lately: so lately that no
// other speaker takes this one for gone.
func (h *heartbeat) connected() bool {
	last := h.lastEcho.Load()
	return last != nil && time.Since(*last) < (missedBeats-1)*h.interval+h.interval/2
}

// settledAfter is how many own renewals must have come back for settled.
const settledAfter = 3

// settled reports whether this speaker has been connected for long enough to
// know of the others that started with it. Until then it takes nothing that
// nobody has: the first to start would take everything.
func (h *heartbeat) settled() bool { return h.connected() && h.echoes.Load() >= settledAfter }

// restart has this speaker count as not connected until it has read anew, at
// once, who has what.
func (h *heartbeat) restart() {
	h.lastEcho.Store(nil)
	cluster.Signal(h.anew)
}

func (h *heartbeat) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.begin:
	}
	for {
		next := time.Now().Add(h.interval)
		if !h.connected() {
			next = time.Now().Add(h.interval / 4) // until the first renewal comes back
		}
		h.beat(ctx)
		select {
		case <-ctx.Done():
			if h.restarts() {
				return nil // the others know, and wait
			}
			return h.release()
		case <-h.anew:
		case <-time.After(time.Until(next)):
		}
	}
}

// beat renews the own Lease and looks at the others'.
func (h *heartbeat) beat(ctx context.Context) {
	if err := h.renew(ctx); err != nil {
		if !h.failing {
			h.log.Warn("can't renew the speaker's Lease; the last plan stays in force", "err", err)
		}
		h.failing = true
		return
	}
	if h.failing {
		h.log.Info("renewed the speaker's Lease again")
		if err := h.reconnected(ctx); err != nil {
			h.log.Warn("can't see who took over what meanwhile", "err", err)
			return
		}
	}
	h.failing = false
	if err := h.observe(ctx); err != nil {
		h.log.Warn("can't look at the other speakers' Leases", "err", err)
	}
}

// lease returns the own Lease, empty but for its name.
func (h *heartbeat) lease() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: intent.LeaseName(h.node)}}
}

func (h *heartbeat) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(2*h.interval, time.Second))
	defer cancel()
	now := metav1.NewMicroTime(time.Now())
	seconds := int32(max(1, (missedBeats * h.interval).Seconds()))
	lease := h.lease()
	before := lease.DeepCopy()
	lease.Labels = map[string]string{cluster.LabelLease: "speaker"}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &h.node, RenewTime: &now, LeaseDurationSeconds: &seconds}
	err := h.client.Patch(ctx, lease.DeepCopy(), client.MergeFrom(before))
	if !apierrors.IsNotFound(err) {
		return err
	}
	var node corev1.Node
	if err := h.direct.Get(ctx, client.ObjectKey{Name: h.node}, &node); err != nil {
		return fmt.Errorf("read the own Node: %w", err)
	}
	lease.OwnerReferences = []metav1.OwnerReference{cluster.OwnedBy(&node)}
	return h.client.Create(ctx, lease)
}

// observe counts the renewals that the other speakers missed since the last
// own renewal that came back.
func (h *heartbeat) observe(ctx context.Context) error {
	var leases coordinationv1.LeaseList
	if err := cluster.List(ctx, h.client, &leases, client.InNamespace(h.namespace)); err != nil {
		return err
	}
	var own time.Time
	for _, l := range leases.Items {
		if l.Name == h.lease().Name && l.Spec.RenewTime != nil {
			own = l.Spec.RenewTime.Time
		}
	}
	if own.Equal(h.echoed) {
		return nil // the watch is behind: time stands still
	}
	h.echoed = own
	if !h.connected() {
		h.echoes.Store(0)
		if err := h.reconnected(ctx); err != nil {
			return err
		}
	}
	now := time.Now()
	h.lastEcho.Store(&now)
	n := h.echoes.Add(1)
	if n <= settledAfter {
		cluster.Signal(h.changed) // connected, then settled
	}
	if n >= settledAfter {
		h.ready.Store(true)
	}
	h.judge(leases.Items)
	return nil
}

// reconnected reads, past the cache, who took over what while this node could
// not hear of it. The watches that feed the cache may need longer to return.
func (h *heartbeat) reconnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var claims v1beta1.L2ClaimList
	if err := h.direct.List(ctx, &claims); err != nil {
		return fmt.Errorf("list L2Claims: %w", err)
	}
	for i := range claims.Items {
		h.claims.SawNew(&claims.Items[i])
	}
	cluster.Signal(h.changed)
	return nil
}

// judge counts, for each Lease, the beats without a renewal. While this speaker
// is not settled the others may need as long as itself to be heard again: what
// they missed until then is forgiven, unless they count as gone already.
func (h *heartbeat) judge(leases []coordinationv1.Lease) {
	before, lost := h.gone(), map[string]bool{}
	for _, l := range leases {
		node := intent.LeaseNode(&l)
		if node == "" || node == h.node {
			delete(h.peers, l.Name)
			continue
		}
		p := h.peers[l.Name]
		switch {
		case p == nil:
			p = &pulse{renewed: l.Spec.RenewTime.Time}
			h.peers[l.Name] = p
			h.log.Info("speaker is there", "node", node)
		case p.renewed.Equal(l.Spec.RenewTime.Time):
			p.missed++
		default:
			*p = pulse{renewed: l.Spec.RenewTime.Time}
		}
		if !before[node] && h.echoes.Load() < settledAfter {
			p.missed = 0
		}
		if p.missed >= missedBeats {
			lost[node] = true
		}
		switch {
		case lost[node] && !before[node]:
			h.log.Info("speaker fell silent", "node", node)
			cluster.Signal(h.changed)
		case before[node] && !lost[node]:
			h.log.Info("speaker is back", "node", node)
			cluster.Signal(h.changed)
		}
	}
	h.lost.Store(&lost)
}

// release tells the others at once that this speaker stops.
func (h *heartbeat) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	lease := h.lease()
	lease.Spec.HolderIdentity = &h.node
	before := lease.DeepCopy()
	lease.Spec.HolderIdentity = nil
	if err := h.client.Patch(ctx, lease, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("release the speaker's Lease: %w", err)
	}
	return nil
}
