package main

import (
	"encoding/json"
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
)

const (
	// parallel is how many first attempts are under way at once.
	parallel = 64
	// parallelAgain is how many repeated ones are: Services whose writes fail
	// must not take the place of others.
	parallelAgain = 8
	// patience is how long one write may take. One that hangs, in somebody's
	// admission webhook say, must not hold others up for long.
	patience = 5 * time.Second
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
	finalizer    finalizer

	mu    sync.Mutex
	tried attempts
	busy  int       // writes under way
	quiet time.Time // when the last one ended
}

func newWriter(c client.Client, log *slog.Logger, tell func(cluster.Note), count func(string, error)) *writer {
	return &writer{
		client: c, log: log, tell: tell, count: count, landed: make(chan struct{}, 1), tried: attempts{byUID: map[types.UID]attempt{}},
		first: semaphore.NewWeighted(parallel), again: semaphore.NewWeighted(parallelAgain),
	}
}

// unresolved forgets the attempts whose outcome the Services show, and returns
// the others, and how many writes have landed so far.
func (w *writer) unresolved(services []*corev1.Service, now time.Time) (map[types.UID]attempt, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tried.unresolved(services, now), w.tried.landed
}

// review takes in what a pass sees for the first time, and what is gone, and
// returns the contests.
func (w *writer) review(arrived []arrival, gone []types.UID, now time.Time) map[types.UID]contest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tried.review(arrived, gone, now)
}

// take begins to write what a pass came to.
func (w *writer) take(t *term, s step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range s.starts {
		w.start(t, x.svc, x.change)
	}
	for _, uid := range s.forgets {
		w.tried.forget(uid)
	}
	for _, x := range s.agrees {
		w.tried.contests.write(x.svc.UID, x.change.addrs, time.Now())
	}
	if s.awaits && w.tried.await(s.landed) {
		cluster.Signal(w.landed)
	}
}

// start begins to write c to svc, unless a write to it is under way.
func (w *writer) start(t *term, svc *corev1.Service, c change) {
	failures, started := w.tried.start(svc, c)
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
func (w *writer) begin(t *term) error {
	for w.idleFor() == 0 {
		if !cluster.Sleep(t, time.Millisecond) {
			return t.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.tried.byUID)
	w.tried.contests = contests{}
	return nil
}

// errUnsent says that a write did not leave this process.
var errUnsent = errors.New("the term is over")

// patch writes c: status, condition and annotation in one patch, which holds
// only for the version of the Service that the plan was made from, and only
// within the term. So a former leader that wakes up late changes nothing.
func (w *writer) patch(t *term, lane *semaphore.Weighted, svc *corev1.Service, c change) (*corev1.Service, error) {
	if lane.Acquire(t, 1) != nil {
		return nil, errUnsent
	}
	defer lane.Release(1)
	metadata := map[string]any{"resourceVersion": svc.ResourceVersion}
	status := map[string]any{"conditions": c.conditions}
	if !c.words {
		annotations := map[string]any{v1beta1.AnnotationPool: nil}
		if c.pools != "" {
			annotations[v1beta1.AnnotationPool] = c.pools
		}
		metadata["annotations"] = annotations
		w.finalizer.patch(svc, c.cleanup, metadata, annotations)
		status["loadBalancer"] = map[string]any{"ingress": c.ingress}
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "status": status})
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	ctx, cancel := t.patient()
	defer cancel()
	if ctx.Err() != nil {
		return nil, errUnsent
	}
	out := &corev1.Service{}
	out.Namespace, out.Name = svc.Namespace, svc.Name
	err = w.client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	w.count("Service", err)
	return out, err
}

// land takes in the outcome of a write.
func (w *writer) land(svc *corev1.Service, c change, out *corev1.Service, err error) {
	if err == nil {
		w.seen.Saw(cluster.Stripped(out))
		if c.event {
			w.say(noteOf(out, svc, c))
		}
		if c.contested != "" && meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionContested) == nil {
			w.say(warn(svc, v1beta1.ReasonStatusOverwritten, c.contested))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.quiet = time.Now()
	a, due := w.tried.land(svc.UID, err, w.quiet)
	if err != nil && !errors.Is(err, errUnsent) {
		w.complain(svc, a, err)
	}
	altered := err == nil && !c.words && !slices.Equal(intent.Holds(out), c.addrs) // on its way, by a webhook say
	if due || altered {
		cluster.Signal(w.landed)
	}
}

// complain tells of a failure, the first time.
func (w *writer) complain(svc *corev1.Service, a attempt, err error) {
	if a.failures > 1 || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return // somebody was faster, and the cache will show it
	}
	w.log.Warn("can't write the status of a Service; trying again", "service", intent.KeyOf(svc), "err", err)
	if refuses(err) {
		w.say(warn(svc, v1beta1.ReasonStatusRefused, "the API server refuses the status of this Service: "+err.Error()))
	}
}

// refuses reports whether an error says that the write was not made, and will
// not be when repeated. All others leave open whether it was.
func refuses(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case 404, 408, 409, 429:
		return false
	default:
		return code >= 400 && code < 500
	}
}
