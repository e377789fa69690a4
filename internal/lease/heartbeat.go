// Package lease renews this speaker's Lease, and finds the speakers that no longer renew
// theirs. client-go's leader election does this for one Lease that many compete for; here
// each speaker has its own. Tracker decides which Leases have expired; Heartbeat reads and
// writes.
//
// It does not decide which speakers are dead, or who takes their addresses: package
// failover does, from this and from what package membership observes.
package lease

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	Restarts  func() bool // whether the others wait for this speaker when it stops, so that its Lease need not be released
	// Watch starts a watch of all speakers' Leases, or of this speaker's alone, which ends with
	// ctx. It returns when the Leases can be read. changed is called when a Lease changes its
	// holder.
	Watch func(ctx context.Context, all bool, changed func()) (client.Reader, error)
	// Peers returns which nodes should have a speaker; large: they are too many to watch all Leases.
	Peers func() (peers []Peer, large bool)
}

// watch is a watch of Leases.
type watch struct {
	client.Reader
	all  bool
	stop func()
	err  error
}

// readout is the result of reading the Leases that were due.
type readout struct {
	due  []string
	read []Renewal
	err  error
}

// lookAgain is after which part of the interval a Heartbeat looks again for an own renewal that
// the API server has answered, and that the watch does not show yet. Of two
// renewals that are seen at one look only the second counts.
const lookAgain = 10

// Heartbeat renews this speaker's Lease, and reads the others'.
type Heartbeat struct {
	Options
	Changed chan struct{} // buffered 1: signaled when the results of Leases or API changed
	resync  chan struct{} // signaled by Restart
	begin   chan struct{} // closed by Begin
	once    sync.Once
	failing bool // the last renewal failed
	late    bool // the watch did not show the last renewal yet

	// behind: others may have written L2Claims that this node has not read. Until it has,
	// their Leases do not count. reading: a read is under way. again: another must follow.
	behind, reading, again bool
	readAt                 time.Time  // the earliest time of the read
	read                   chan error // the read's result

	jobs              sync.WaitGroup
	opening, checking bool // a watch is being started; Leases are being read
	watches           chan watch
	checks            chan readout

	mu       sync.Mutex
	tracker  *Tracker
	watching watch // zero before the first watch
}

// New returns the heartbeat of a speaker. It renews nothing before Begin.
func New(o Options) *Heartbeat {
	return &Heartbeat{
		Options: o, Changed: make(chan struct{}, 1), resync: make(chan struct{}, 1), begin: make(chan struct{}), read: make(chan error, 1),
		watches: make(chan watch, 1), checks: make(chan readout, 1),
		tracker: NewTracker(o.Node, o.Interval),
	}
}

// Begin starts the renewals: the speaker can announce, and others may rely on it. It may
// be called again.
func (h *Heartbeat) Begin() { h.once.Do(func() { close(h.begin) }) }

// API returns whether the API server is reachable, and this node's view complete.
func (h *Heartbeat) API(now time.Time) failover.API {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tracker.API(now)
}

// Restart has the API server count as unreachable until the L2Claims have been read
// again. The read starts at once.
func (h *Heartbeat) Restart() {
	h.mu.Lock()
	h.tracker.Restart()
	h.mu.Unlock()
	wait.Signal(h.resync)
}

// Leases returns the Leases of the other speakers, and this one's, by node. If all are
// watched, a new or released Lease is known at once.
func (h *Heartbeat) Leases(ctx context.Context) (map[string]failover.Lease, error) {
	h.mu.Lock()
	all, expired, out := h.watching.all, h.tracker.Expired(), map[string]failover.Lease{}
	if !all {
		out = h.tracker.Leases()
	}
	h.mu.Unlock()
	renewals, err := h.renewals(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range renewals {
		out[r.Node] = failover.Lease{Renewed: r.Renewed, Expired: expired[r.Node]}
	}
	return out, nil
}

// renewals returns the watched Leases that speakers hold.
func (h *Heartbeat) renewals(ctx context.Context) ([]Renewal, error) {
	h.mu.Lock()
	watched := h.watching.Reader
	h.mu.Unlock()
	if watched == nil {
		return nil, nil
	}
	var leases coordinationv1.LeaseList
	if err := cluster.List(ctx, watched, &leases, client.InNamespace(h.Namespace)); err != nil {
		return nil, err
	}
	return renewalsOf(leases), nil
}

func renewalsOf(leases coordinationv1.LeaseList) []Renewal {
	var out []Renewal
	for i := range leases.Items {
		l := &leases.Items[i]
		if node := intent.LeaseNode(l); node != "" {
			out = append(out, Renewal{node, l.Spec.RenewTime.Time})
		}
	}
	return out
}

// Run renews the Lease until ctx ends, and then releases it.
func (h *Heartbeat) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.begin:
	}
	ctx, cancel := context.WithCancel(ctx)
	defer h.jobs.Wait()
	defer cancel()
	for {
		h.follow(ctx)
		now := time.Now()
		next := now.Add(h.Interval)
		if !h.API(now).Reachable {
			next = now.Add(h.Interval / 4) // until the first renewal comes back
		}
		h.renewAndObserve(ctx)
		wake := next
		if h.late {
			wake = now.Add(h.Interval / lookAgain)
		}
		for due := false; !due; {
			h.catchUp(ctx)
			select {
			case <-ctx.Done():
				if h.Restarts() {
					return nil // the others know that it restarts, and wait
				}
				return h.release()
			case err := <-h.read:
				h.caughtUp(ctx, err)
			case w := <-h.watches:
				h.opened(w)
			case r := <-h.checks:
				h.checked(r)
			case <-h.resync:
				h.again, due, h.readAt = h.reading, true, time.Time{}
			case <-time.After(time.Until(wake)):
				if due = !wake.Before(next); !due {
					wake = next
					h.look(ctx)
				}
			}
		}
	}
}

// catchUp starts to read the L2Claims if that is due.
func (h *Heartbeat) catchUp(ctx context.Context) {
	if h.behind && !h.reading && !time.Now().Before(h.readAt) {
		h.reading = true
		h.jobs.Go(func() { h.read <- h.readClaims(ctx) })
	}
}

// caughtUp handles the result of reading the L2Claims. A read that failed is repeated
// after the next renewal.
func (h *Heartbeat) caughtUp(ctx context.Context, err error) {
	again := h.again
	h.reading, h.again = false, false
	switch {
	case err != nil:
		h.behind, h.failing = false, true
		h.Log.Warn("can't read which addresses were taken over meanwhile", "err", err)
	case !again:
		h.behind = false
		if err := h.count(ctx); err != nil {
			h.Log.Warn("can't read the other speakers' Leases", "err", err)
		}
	}
}

// renewAndObserve renews this speaker's Lease, and reads the others'.
func (h *Heartbeat) renewAndObserve(ctx context.Context) {
	h.late = false
	if err := h.renew(ctx); err != nil {
		if !h.failing {
			h.Log.Warn("can't renew the speaker's Lease; this node keeps its addresses", "err", err)
		}
		h.failing = true
		return
	}
	if h.failing {
		h.Log.Info("renewed the speaker's Lease again")
		h.fallBehind(ctx)
	}
	h.failing = false
	h.look(ctx)
}

// own returns this speaker's Lease with nothing but its name.
func (h *Heartbeat) own() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: intent.LeaseName(h.Node)}}
}

func (h *Heartbeat) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(2*h.Interval, time.Second))
	defer cancel()
	now := metav1.NewMicroTime(time.Now())
	seconds := int32(max(1, (intent.MissedHeartbeats * h.Interval).Seconds()))
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
		return fmt.Errorf("read this speaker's Node: %w", err)
	}
	lease.OwnerReferences = []metav1.OwnerReference{cluster.OwnedBy(&node)}
	return h.Client.Create(ctx, lease)
}

func (h *Heartbeat) report(changes []Change, changed bool) {
	if changed {
		wait.Signal(h.Changed)
	}
	for _, c := range changes {
		h.Log.Info(map[Presence]string{Appeared: "speaker appeared", Expired: "speaker's Lease expired", Returned: "speaker renews its Lease again"}[c.Now], "node", c.Node)
	}
}

// fallBehind schedules an uncached read of the L2Claims, because the API server was
// unreachable, perhaps for all speakers. Therefore each waits for a random part of the time that all
// their lists take. A speaker that has just started, or that was stalled and so answers
// for nothing, does not wait.
func (h *Heartbeat) fallBehind(ctx context.Context) {
	if h.behind {
		return
	}
	h.behind, h.readAt = true, time.Time{}
	if !h.API(time.Now()).WasSynced {
		return
	}
	peers, _ := h.Peers()
	var claims v1beta1.L2ClaimList
	if err := cluster.List(ctx, h.Client, &claims); err != nil {
		h.Log.Warn("can't count the L2Claims", "err", err)
		return
	}
	if all := listsTake(len(peers), len(claims.Items)); all > 0 {
		h.readAt = time.Now().Add(rand.N(all))
	}
}

const (
	// listed is how many L2Claims, of about 1 KB each, the speakers ask for in a second.
	listed = 100_000
	// soonest: lists that together take less are not spread.
	soonest = 100 * time.Millisecond
	// latest is the longest time over which lists are spread.
	latest = 30 * time.Second
)

// listsTake returns the time over which to spread the speakers' lists of L2Claims.
func listsTake(speakers, claims int) time.Duration {
	all := min(time.Duration(speakers*claims)*time.Second/listed, latest)
	if all < soonest {
		return 0
	}
	return all
}

// readClaims reads the L2Claims past the cache: they have what other nodes took over while
// this one could not read them. The watches that feed the cache may recover later.
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

// release releases the Lease, so that the others know at once that this speaker stops.
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
