// Package leader makes one of several replicas of the controller the leader.
//
// The election is client-go's own. What is ours is the lock that it is given: it
// writes the Lease less often, knows until when the Lease is held, on the monotonic
// clock, and believes no longer duration than our own, whichever program wrote it. So no two
// replicas write at once, and no edit of the Lease stops all of them.
package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// The leader writes its Lease every renewPeriod; a standby looks every retryPeriod,
// or, with the elector's jitter, a bit more than twice that. So it takes over
// soon after a leader has released the Lease.
//
// From the crash of a leader to the next one it takes at most leaseDuration, as
// the Lease tells. For that, both count skewMargin less: the leader from when it sent
// a renewal, the standby from when it saw that, which is later. A look late to
// see the last renewal, and a look late to see that none has followed, the
// standby still is in time. A leader that can't renew gives up in time:
// renewPeriod + renewDeadline < heldFor.
const (
	leaseName     = "steelyard-controller"
	leaseDuration = intent.ControllerLease
	skewMargin    = time.Second
	heldFor       = leaseDuration - skewMargin // 2 * 2.2 * retryPeriod < skewMargin
	renewDeadline = 3 * time.Second
	renewPeriod   = 1500 * time.Millisecond
	retryPeriod   = 200 * time.Millisecond
)

// Term is one time of being the leader. Its context ends with it.
type Term struct {
	context.Context
	deadline func() time.Time
}

// NewTerm returns the term that ends with ctx. By deadline, as far as is known when
// it is asked, whatever was begun in the term must have ended: another leader may
// follow then.
func NewTerm(ctx context.Context, deadline func() time.Time) *Term {
	return &Term{ctx, deadline}
}

// WriteContext returns a context for one write: it ends after timeout, and with the
// Lease at the latest.
func (t *Term) WriteContext(timeout time.Duration) (context.Context, context.CancelFunc) {
	end := time.Now().Add(timeout)
	if lease := t.deadline(); lease.Before(end) {
		end = lease
	}
	return context.WithDeadline(t, end)
}

// Election makes one of several replicas the leader, again and again: a replica
// that loses the Lease goes on as a standby with warm caches.
type Election struct {
	lease   *lease
	log     *slog.Logger
	current atomic.Pointer[Term]
	Changed chan struct{} // buffered 1: gets a value when Leading changes
	Drain   func()        // returns when no write is under way any more, or soon
	closing atomic.Bool
}

// New returns the election among the replicas in namespace. The name of this one begins
// with host. Errors come from the configuration of the client.
func New(cfg *rest.Config, namespace, host string, log *slog.Logger) (*Election, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = renewDeadline / 2
	client, err := coordination.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for the Lease: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
		Labels:     map[string]string{intent.LabelVersion: version.Label(version.String())},
	}
	return &Election{lease: &lease{Interface: lock, log: log}, log: log, Changed: make(chan struct{}, 1)}, nil
}

// Leading returns the present term, or nil.
func (e *Election) Leading() *Term {
	if t := e.current.Load(); t != nil && t.Err() == nil && !e.closing.Load() && time.Now().Before(t.deadline()) {
		return t
	}
	return nil
}

// Run takes part until ctx ends. Then it lets the writes under way end, and
// releases the Lease.
func (e *Election) Run(ctx context.Context) error {
	// The elector's own words would come several times a second.
	quiet := klog.NewContext(context.WithoutCancel(ctx), logr.Discard())
	hold, release := context.WithCancel(quiet)
	defer release()
	stop := context.AfterFunc(ctx, func() {
		e.closing.Store(true)
		e.Drain()
		release()
	})
	defer stop()
	for ctx.Err() == nil {
		attempt, end := context.WithCancel(hold)
		e.lease.start(end, e.closing.Load)
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Name: leaseName, Lock: e.lease,
			LeaseDuration: heldFor, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: e.start,
				OnStoppedLeading: func() {}, // the term's context tells
			},
		})
		if err != nil {
			end()
			return fmt.Errorf("take part in the election: %w", err)
		}
		elector.Run(attempt)
		end()
		if ctx.Err() == nil {
			e.log.Warn("lost the Lease; standing by", "lease", leaseName)
		}
		wait.Signal(e.Changed)
	}
	return nil
}

// Abandon ends the present term, if there is one, without releasing the lease. The replica
// goes on taking part in the election.
func (e *Election) Abandon() {
	e.lease.mu.Lock()
	defer e.lease.mu.Unlock()
	e.lease.expire()
}

func (e *Election) start(ctx context.Context) {
	e.current.Store(NewTerm(ctx, e.lease.until))
	e.log.Info("leading", "lease", leaseName, "identity", e.lease.Identity())
	wait.Signal(e.Changed)
}

// lease is the lock as the elector sees it, with five habits more:
//   - It tells a longer duration than it holds for.
//   - It is written less often than the elector renews it.
//   - It knows until when it holds.
//   - It neither renews nor releases a lease that has expired or was lost. So a term
//     never resumes, and never ends another replica's.
//   - Of what another program wrote it believes only the holder. Whatever duration
//     the Lease tells, a standby waits for heldFor from the last change that it saw.
type lease struct {
	resourcelock.Interface
	log     *slog.Logger
	mu      sync.Mutex
	closing func() bool // this replica is about to stop: the lease is to be released
	end     func()      // ends the elector's attempt
	held    bool        // taken in this attempt
	expired bool        // held, and then expired or lost
	renewed time.Time   // when the last renewal was sent
	foreign time.Time   // when another replica was last seen to hold it
	failing bool
}

// errOver is the answer to a renewal that comes too late.
var errOver = errors.New("the lease has expired, or another replica holds it")

// errDeleted is the answer to a standby that finds no Lease.
var errDeleted = errors.New("the Lease was deleted; its holder may lead still")

// start makes l ready for another attempt of the elector.
func (l *lease) start(end func(), closing func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end, l.closing, l.held, l.expired = end, closing, false, false
}

// until returns when the lease ends unless it is renewed, on this machine's
// monotonic clock: others count from a later moment, when they saw the renewal.
// The zero time: it is not held.
func (l *lease) until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held || l.expired {
		return time.Time{}
	}
	return l.renewed.Add(heldFor)
}

// expire ends the attempt, if the lease was held in it. The caller holds l.mu.
func (l *lease) expire() {
	if l.held && !l.expired {
		l.expired = true
		l.end()
	}
}

// Create makes the Lease.
func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Create)
}

// Update renews the Lease, or takes or releases it.
func (l *lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Update)
}

func (l *lease) write(ctx context.Context, r resourcelock.LeaderElectionRecord, do func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	mine := r.HolderIdentity == l.Identity()
	sent := time.Now()
	l.mu.Lock()
	if l.held && !sent.Before(l.renewed.Add(heldFor)) {
		l.expire()
	}
	over, early := l.expired, l.held && sent.Sub(l.renewed) < renewPeriod
	release := l.held && !l.expired && l.closing()
	l.mu.Unlock()
	switch {
	case mine && over:
		return errOver
	case mine && early, !mine && !release:
		return nil
	}
	r.LeaseDurationSeconds = int(leaseDuration.Seconds())
	if err := l.noted(do(ctx, r)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.renewed = mine, sent
	return nil
}

// Get reads the Lease. A standby does not make a deleted one again while its
// last holder may lead.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
	l.mu.Lock()
	switch {
	case apierrors.IsNotFound(err) && !l.held && time.Since(l.foreign) < heldFor:
		err = errDeleted
	case err != nil:
	default:
		r.LeaseDurationSeconds = int(heldFor.Seconds())
		r.LeaderTransitions %= math.MaxInt32 // the API server takes no more: then no replica could take it
		if r.HolderIdentity != l.Identity() {
			l.expire()
			if r.HolderIdentity != "" {
				l.foreign = time.Now()
			}
		}
	}
	l.mu.Unlock()
	if apierrors.IsNotFound(err) {
		return r, raw, err
	}
	return r, raw, l.noted(err)
}

// noted logs the first of several errors in a row, but for those of a race.
func (l *lease) noted(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if failing := err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err); failing != l.failing {
		if l.failing = failing; failing {
			l.log.Warn("can't use the Lease; trying again", "lease", leaseName, "err", err)
		}
	}
	return err
}
