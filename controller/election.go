package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
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

	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// The leader writes its Lease every renewEvery; a standby looks every lookEvery,
// so that it takes over soon after a leader has released it. A leader that
// can't renew gives up in time: renewEvery + giveUpAfter < leaseDuration.
const (
	leaseName     = "steelyard-controller"
	leaseDuration = 6 * time.Second
	giveUpAfter   = 4 * time.Second
	renewEvery    = 1500 * time.Millisecond
	lookEvery     = 500 * time.Millisecond
)

// term is one time of being the leader. Its context ends with it.
type term struct {
	context.Context
	lease *lease
}

// deadline is when whatever was begun in this term must have ended, as far as
// is known now: another leader may have followed then.
func (t *term) deadline() time.Time { return t.lease.until() }

// election makes one of several replicas the leader, again and again: a replica
// that loses the Lease goes on as a standby with warm caches.
type election struct {
	lease   *lease
	log     *slog.Logger
	current atomic.Pointer[term]
	changed chan struct{} // buffered 1
	drain   func()        // returns when no write is under way any more, or soon
	closing atomic.Bool
}

func newElection(cfg *rest.Config, namespace string, log *slog.Logger) (*election, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this replica: %w", err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = giveUpAfter / 2
	client, err := coordination.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for the Lease: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}
	return &election{lease: &lease{Interface: lock, log: log}, log: log, changed: make(chan struct{}, 1)}, nil
}

// leading returns the present term, or nil.
func (e *election) leading() *term {
	if t := e.current.Load(); t != nil && t.Err() == nil && !e.closing.Load() {
		return t
	}
	return nil
}

// run takes part until ctx ends. Then it lets the writes under way end, and
// releases the Lease.
func (e *election) run(ctx context.Context) error {
	// The elector's own words would come several times a second.
	quiet := klog.NewContext(context.WithoutCancel(ctx), logr.Discard())
	hold, release := context.WithCancel(quiet)
	defer release()
	stop := context.AfterFunc(ctx, func() {
		e.closing.Store(true)
		e.drain()
		release()
	})
	defer stop()
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Name: leaseName, Lock: e.lease,
			LeaseDuration: leaseDuration, RenewDeadline: giveUpAfter, RetryPeriod: lookEvery,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: e.begin,
				OnStoppedLeading: func() { e.lease.lose() },
			},
		})
		if err != nil {
			return fmt.Errorf("take part in the election: %w", err)
		}
		elector.Run(hold)
		if ctx.Err() == nil {
			e.log.Warn("lost the Lease; standing by", "lease", leaseName)
		}
		cluster.Signal(e.changed)
	}
	return nil
}

func (e *election) begin(ctx context.Context) {
	e.current.Store(&term{Context: ctx, lease: e.lease})
	e.log.Info("leading", "lease", leaseName, "identity", e.lease.Identity())
	cluster.Signal(e.changed)
}

// lease is the lock as the elector sees it, with two habits more: it is written
// less often than the elector renews it, and it knows until when it holds.
type lease struct {
	resourcelock.Interface
	log     *slog.Logger
	mu      sync.Mutex
	renewed time.Time // when the last renewal was sent; zero: not held
	failing bool
}

// until returns when the lease ends unless it is renewed, on this machine's
// monotonic clock: others count from a later moment, when they saw the renewal.
func (l *lease) until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed.Add(leaseDuration)
}

func (l *lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
}

// Get reads the Lease.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
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
			l.log.Warn("can't reach the Lease; trying again", "lease", leaseName, "err", err)
		}
	}
	return err
}

// Create makes the Lease.
func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	sent := time.Now()
	if err := l.noted(l.Interface.Create(ctx, r)); err != nil {
		return err
	}
	l.wrote(r, sent)
	return nil
}

// Update renews the Lease, or takes or releases it.
func (l *lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	sent := time.Now()
	l.mu.Lock()
	early := sent.Sub(l.renewed) < renewEvery
	l.mu.Unlock()
	if early && r.HolderIdentity == l.Identity() {
		return nil
	}
	if err := l.noted(l.Interface.Update(ctx, r)); err != nil {
		return err
	}
	l.wrote(r, sent)
	return nil
}

func (l *lease) wrote(r resourcelock.LeaderElectionRecord, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.HolderIdentity != l.Identity() {
		sent = time.Time{}
	}
	l.renewed = sent
}
