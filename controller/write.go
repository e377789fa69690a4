package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

const (
	// parallel is how many first attempts are under way at once.
	parallel = 64
	// parallelAgain is how many repeated ones are: Services whose writes fail
	// must not take the place of others.
	parallelAgain = 8
	// writeTimeout is how long one write may take. One that hangs, in somebody's
	// admission webhook say, must not hold others up for long.
	writeTimeout = 5 * time.Second
)

// writer writes the status of Services, many at once and each on its own: no
// Service waits for another.
type writer struct {
	client client.Client
	log    *slog.Logger
	seen   cluster.Overlay[*corev1.Service] // the Services as the API server returned them
	landed chan struct{}                    // buffered 1: a pass should look at what became of a write
	tell   func(cluster.Note)
	count  func(kind string, err error)

	first, again *semaphore.Weighted
	finalizer    planner.Finalizer

	mu    sync.Mutex
	tried planner.Attempts
	busy  int       // writes under way
	quiet time.Time // when the last one ended
}

func newWriter(c client.Client, log *slog.Logger, tell func(cluster.Note), count func(string, error)) *writer {
	return &writer{
		client: c, log: log, tell: tell, count: count, landed: make(chan struct{}, 1),
		first: semaphore.NewWeighted(parallel), again: semaphore.NewWeighted(parallelAgain),
	}
}

// unresolved forgets the attempts whose outcome the Services show, and returns
// the others, and how many writes have landed so far.
func (w *writer) unresolved(services []*corev1.Service, now time.Time) (map[types.UID]planner.Attempt, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tried.Pending(services, now), w.tried.Finished
}

// review takes in what a pass sees for the first time, and what is gone, and
// returns the contests.
func (w *writer) review(arrived []planner.Arrival, gone []types.UID, now time.Time) map[types.UID]planner.Contest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tried.Review(arrived, gone, now)
}

// take begins to write what a pass came to.
func (w *writer) take(t *leader.Term, s planner.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range s.Writes {
		w.start(t, x.Service, x.Change)
	}
	for _, uid := range s.Forgets {
		w.tried.Forget(uid)
	}
	for _, x := range s.Agreed {
		w.tried.Agree(x, time.Now())
	}
	if s.Awaits && w.tried.Await(s.Finished) {
		cluster.Signal(w.landed)
	}
}

// start begins to write c to svc, unless a write to it is under way.
func (w *writer) start(t *leader.Term, svc *corev1.Service, c planner.Change) {
	failures, started := w.tried.Start(svc, c)
	if !started {
		return
	}
	w.busy++
	lane := w.first
	if failures > 0 {
		lane = w.again
	}
	go func() {
		out, err := w.patch(t, lane, svc, c)
		w.land(svc, c, out, err)
	}()
}

// idleFor returns for how long nothing has been written.
func (w *writer) idleFor() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		return 0
	}
	return time.Since(w.quiet)
}

// drain returns when no write is under way, or after a second.
func (w *writer) drain() {
	for end := time.Now().Add(time.Second); w.idleFor() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// begin forgets what was tried in a former term, once all of that has landed:
// others may have written since, and the cache is to catch up with them.
func (w *writer) begin(t *leader.Term) error {
	for w.idleFor() == 0 {
		if !cluster.Sleep(t, time.Millisecond) {
			return t.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried.Reset()
	return nil
}

// patch writes c: status, condition and annotation in one patch, which holds
// only for the version of the Service that the plan was made from, and only
// within the term. So a former leader that wakes up late changes nothing.
func (w *writer) patch(t *leader.Term, lane *semaphore.Weighted, svc *corev1.Service, c planner.Change) (*corev1.Service, error) {
	if lane.Acquire(t, 1) != nil {
		return nil, planner.ErrUnsent
	}
	defer lane.Release(1)
	ctx, cancel := t.WriteContext(writeTimeout)
	defer cancel()
	if ctx.Err() != nil {
		return nil, planner.ErrUnsent
	}
	want := svc.DeepCopy()
	c.Apply(want, w.finalizer)
	patch, err := client.MergeFromWithOptions(svc, client.MergeFromWithOptimisticLock{}).Data(want)
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	out := &corev1.Service{}
	out.Namespace, out.Name = svc.Namespace, svc.Name
	err = w.client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	w.count("Service", err)
	return out, err
}

// land takes in the outcome of a write.
func (w *writer) land(svc *corev1.Service, c planner.Change, out *corev1.Service, err error) {
	if err == nil {
		w.seen.Saw(cluster.Stripped(out))
		if c.Event {
			w.say(noteOf(out, c))
		}
		if c.Contested != "" && meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionContested) == nil {
			w.say(warn(svc, v1beta1.ReasonStatusOverwritten, c.Contested))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.quiet = time.Now()
	a, due := w.tried.Done(svc.UID, err, w.quiet)
	if err != nil && !errors.Is(err, planner.ErrUnsent) {
		w.complain(svc, a, err)
	}
	altered := err == nil && !c.ConditionsOnly && !slices.Equal(intent.Holds(out), c.Addrs) // on its way, by a webhook say
	if due || altered {
		cluster.Signal(w.landed)
	}
}

// complain tells of a failure, the first time.
func (w *writer) complain(svc *corev1.Service, a planner.Attempt, err error) {
	if a.Failures > 1 || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return // somebody was faster, and the cache will show it
	}
	w.log.Warn("can't write the status of a Service; trying again", "service", intent.KeyOf(svc), "err", err)
	if planner.Refused(err) {
		w.say(warn(svc, v1beta1.ReasonStatusRefused, "the API server refuses the status of this Service: "+err.Error()))
	}
}
