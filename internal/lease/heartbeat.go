// Package lease tells the other speakers, by a Lease, that this one is there, and
// watches theirs: what client-go's leader election does for one Lease that many want,
// it does for one Lease each that nobody else wants. Tracker decides; Heartbeat reads
// and writes.
package lease

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Options are what a Heartbeat needs.
type Options struct {
	Client    client.Client
	Direct    client.Reader // past the cache
	Log       *slog.Logger
	Node      string
	Namespace string        // of the Leases
	Interval  time.Duration // between two renewals
	Claims    *overlay.Objects[*v1beta1.L2Claim]
	Restarts  func() bool // whether the others are told, on the wire, that this speaker restarts
}

// Heartbeat renews the own Lease, and reads the others'.
type Heartbeat struct {
	Options
	Changed chan struct{} // buffered 1: told when Leases or API changed
	resync  chan struct{} // told by Restart
	begin   chan struct{} // closed by Begin
	once    sync.Once
	failing bool // the last renewal failed

	// behind: others may have written what this node has not read. Until it has, their
	// Leases do not count. A read is under way if reading; again: one is to follow it.
	behind, reading, again bool
	read                   chan error // what the read came to

	mu      sync.Mutex
	tracker *Tracker
}

// New returns the heartbeat of a speaker. It renews nothing before Begin.
func New(o Options) *Heartbeat {
	return &Heartbeat{
		Options: o, Changed: make(chan struct{}, 1), resync: make(chan struct{}, 1), begin: make(chan struct{}), read: make(chan error, 1),
		tracker: NewTracker(o.Node, o.Interval),
	}
}

// Begin says that the speaker can announce, so that others may count on it. It may
// be called again.
func (h *Heartbeat) Begin() { h.once.Do(func() { close(h.begin) }) }

// API says how well the API server is heard.
func (h *Heartbeat) API(now time.Time) failover.API {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tracker.API(now)
}

// Restart has this speaker count as not connected until it has read anew, at
// once, who has what.
func (h *Heartbeat) Restart() {
	h.mu.Lock()
	h.tracker.Restart()
	h.mu.Unlock()
	wait.Signal(h.resync)
}

// Leases returns the Leases of the other speakers, and this one's, as the cache
// shows them, by node. So one that comes, or that gives its Lease up, is known at
// once.
func (h *Heartbeat) Leases(ctx context.Context) (map[string]failover.Lease, error) {
	renewals, err := h.renewals(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	expired := h.tracker.Expired()
	h.mu.Unlock()
	out := map[string]failover.Lease{}
	for _, r := range renewals {
		out[r.Node] = failover.Lease{Renewed: r.Renewed, Expired: expired[r.Node]}
	}
	return out, nil
}

// renewals returns the Leases that speakers hold, this one's included.
func (h *Heartbeat) renewals(ctx context.Context) ([]Renewal, error) {
	var leases coordinationv1.LeaseList
	if err := cluster.List(ctx, h.Client, &leases, client.InNamespace(h.Namespace)); err != nil {
		return nil, err
	}
	var out []Renewal
	for i := range leases.Items {
		l := &leases.Items[i]
		if node := intent.LeaseNode(l); node != "" {
			out = append(out, Renewal{node, l.Spec.RenewTime.Time})
		}
	}
	return out, nil
}

// Run renews the Lease until ctx ends, and then gives it up.
func (h *Heartbeat) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.begin:
	}
	var reads sync.WaitGroup
	defer reads.Wait()
	for {
		now := time.Now()
		next := now.Add(h.Interval)
		if !h.API(now).Reachable {
			next = now.Add(h.Interval / 4) // until the first renewal comes back
		}
		h.beat(ctx)
		for due := false; !due; {
			if h.behind && !h.reading {
				h.reading = true
				reads.Go(func() { h.read <- h.readClaims(ctx) })
			}
			select {
			case <-ctx.Done():
				if h.Restarts() {
					return nil // the others know, and wait
				}
				return h.release()
			case err := <-h.read:
				h.caughtUp(ctx, err)
			case <-h.resync:
				h.again, due = h.reading, true
			case <-time.After(time.Until(next)):
				due = true
			}
		}
	}
}

// caughtUp takes in what a read of the L2Claims came to. One that failed is made again
// after the next renewal.
func (h *Heartbeat) caughtUp(ctx context.Context, err error) {
	again := h.again
	h.reading, h.again = false, false
	switch {
	case err != nil:
		h.behind, h.failing = false, true
		h.Log.Warn("can't see who took over what meanwhile", "err", err)
	case !again:
		h.behind = false
		if err := h.count(ctx); err != nil {
			h.Log.Warn("can't look at the other speakers' Leases", "err", err)
		}
	}
}

// beat renews the own Lease and looks at the others'.
func (h *Heartbeat) beat(ctx context.Context) {
	if err := h.renew(ctx); err != nil {
		if !h.failing {
			h.Log.Warn("can't renew the speaker's Lease; the last plan stays in force", "err", err)
		}
		h.failing = true
		return
	}
	if h.failing {
		h.Log.Info("renewed the speaker's Lease again")
		h.behind = true
	}
	h.failing = false
	if err := h.observe(ctx); err != nil {
		h.Log.Warn("can't look at the other speakers' Leases", "err", err)
	}
}

// own returns the own Lease, empty but for its name.
func (h *Heartbeat) own() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: intent.LeaseName(h.Node)}}
}

func (h *Heartbeat) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(2*h.Interval, time.Second))
	defer cancel()
	now := metav1.NewMicroTime(time.Now())
	seconds := int32(max(1, (intent.MissedBeats * h.Interval).Seconds()))
	lease := h.own()
	before := lease.DeepCopy()
	lease.Labels = map[string]string{cluster.LabelLease: "speaker"}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &h.Node, RenewTime: &now, LeaseDurationSeconds: &seconds}
	err := h.Client.Patch(ctx, lease.DeepCopy(), client.MergeFrom(before))
	if !apierrors.IsNotFound(err) {
		return err
	}
	var node corev1.Node
	if err := h.Direct.Get(ctx, client.ObjectKey{Name: h.Node}, &node); err != nil {
		return fmt.Errorf("read the own Node: %w", err)
	}
	lease.OwnerReferences = []metav1.OwnerReference{cluster.OwnedBy(&node)}
	return h.Client.Create(ctx, lease)
}

// observe takes in the own renewal, if it came back, and counts those of the others,
// unless others may have written what was not read.
func (h *Heartbeat) observe(ctx context.Context) error {
	renewals, err := h.renewals(ctx)
	if err != nil {
		return err
	}
	var own time.Time
	for _, r := range renewals {
		if r.Node == h.Node {
			own = r.Renewed
		}
	}
	h.mu.Lock()
	fresh, resync := h.tracker.Echo(own, time.Now())
	h.mu.Unlock()
	h.behind = h.behind || resync
	if !fresh || h.behind {
		return nil
	}
	return h.count(ctx)
}

// count counts the renewals that the other speakers missed since the last own renewal
// that came back.
func (h *Heartbeat) count(ctx context.Context) error {
	renewals, err := h.renewals(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	news, changed := h.tracker.Observe(renewals, time.Now())
	h.mu.Unlock()
	if changed {
		wait.Signal(h.Changed)
	}
	for _, n := range news {
		h.Log.Info(map[Presence]string{Appeared: "speaker is there", Expired: "speaker fell silent", Returned: "speaker is back"}[n.Now], "node", n.Node)
	}
	return nil
}

// readClaims reads, past the cache, who took over what while this node could
// not hear of it. The watches that feed the cache may need longer to return.
func (h *Heartbeat) readClaims(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var claims v1beta1.L2ClaimList
	if err := h.Direct.List(ctx, &claims); err != nil {
		return fmt.Errorf("list L2Claims: %w", err)
	}
	now := time.Now()
	for i := range claims.Items {
		h.Claims.RecordCreate(&claims.Items[i], now)
	}
	wait.Signal(h.Changed)
	return nil
}

// release tells the others at once that this speaker stops.
func (h *Heartbeat) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	lease := h.own()
	lease.Spec.HolderIdentity = &h.Node
	before := lease.DeepCopy()
	lease.Spec.HolderIdentity = nil
	if err := h.Client.Patch(ctx, lease, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("release the speaker's Lease: %w", err)
	}
	return nil
}
