package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// firstPause and the two longest lie between attempts at one Service. One
	// that is refused waits for somebody to change a policy; one whose answer
	// was lost waits for the API server only.
	firstPause    = 500 * time.Millisecond
	longestPause  = 2 * time.Second
	longestRefuse = 30 * time.Second
)

// attempt is a write of a Service's status whose effect the cache does not show
// yet. Until it is known, both what the Service shows and what it was to get
// count as its own.
type attempt struct {
	base      *corev1.Service // the write holds for this version only
	change    change
	flying    bool         // under way; else it has failed
	maybe     []netip.Addr // targets of writes to this version that may have arrived: nobody knows
	failures  int
	notBefore time.Time // when to try again
}

// holds returns what the Service may have got by now, and whether that is to
// count instead of what it shows.
func (a attempt) holds() ([]netip.Addr, bool) {
	if a.flying {
		return a.change.addrs, true
	}
	return a.maybe, len(a.maybe) > 0
}

// shows returns all addresses that the Service may show soon.
func (a attempt) shows() []netip.Addr {
	if a.flying {
		return slices.Concat(a.maybe, a.change.addrs)
	}
	return a.maybe
}

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

	mu       sync.Mutex
	attempts map[types.UID]attempt
	landings int       // how many writes have landed
	awaited  bool      // the last pass left something undone until a write has landed
	busy     int       // writes under way
	quiet    time.Time // when the last one ended
}

func newWriter(c client.Client, log *slog.Logger, tell func(cluster.Note), count func(string, error)) *writer {
	return &writer{
		client: c, log: log, tell: tell, count: count, landed: make(chan struct{}, 1), attempts: map[types.UID]attempt{},
		first: semaphore.NewWeighted(parallel), again: semaphore.NewWeighted(parallelAgain),
	}
}

// unresolved forgets the attempts whose outcome the Services show, and returns
// the others, and how many writes have landed so far.
func (w *writer) unresolved(services []*corev1.Service) (map[types.UID]attempt, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.attempts) == 0 {
		return nil, w.landings
	}
	there := make(map[types.UID]bool, len(w.attempts))
	for _, svc := range services {
		if a, ok := w.attempts[svc.UID]; ok {
			there[svc.UID] = a.flying || !cluster.Later(svc, a.base)
		}
	}
	maps.DeleteFunc(w.attempts, func(uid types.UID, a attempt) bool { return !a.flying && !there[uid] })
	return maps.Clone(w.attempts), w.landings
}

// forget drops an attempt that was not made and is not wanted any more.
func (w *writer) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.attempts[uid]; !a.flying && len(a.maybe) == 0 {
		delete(w.attempts, uid)
	}
}

// start begins to write c to svc, unless a write to it is under way.
func (w *writer) start(t *term, svc *corev1.Service, c change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.attempts[svc.UID]
	if old.flying {
		w.awaited = true
		return
	}
	w.attempts[svc.UID] = attempt{base: svc, change: c, flying: true, maybe: old.maybe, failures: old.failures}
	w.busy++
	lane := w.first
	if old.failures > 0 {
		lane = w.again
	}
	go func() {
		out, err := w.patch(t, lane, svc, c)
		w.land(svc, c, out, err)
	}()
}

// await has the next write that lands cause a pass. If one has landed since
// there were so many, a pass is due at once.
func (w *writer) await(landings int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.landings != landings {
		cluster.Signal(w.landed)
	} else {
		w.awaited = true
	}
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
	clear(w.attempts)
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
	annotations := map[string]any{v1beta1.AnnotationPool: nil}
	if c.pools != "" {
		annotations[v1beta1.AnnotationPool] = c.pools
	}
	metadata := map[string]any{"resourceVersion": svc.ResourceVersion, "annotations": annotations}
	w.finalizer.patch(svc, c.cleanup, metadata, annotations)
	patch, err := json.Marshal(map[string]any{
		"metadata": metadata,
		"status": map[string]any{
			"loadBalancer": map[string]any{"ingress": c.ingress},
			"conditions":   c.conditions,
		},
	})
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
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.landings++
	w.quiet = time.Now()
	a := w.attempts[svc.UID]
	a.flying = false
	switch {
	case err == nil:
		delete(w.attempts, svc.UID)
	case errors.Is(err, errUnsent):
		a.notBefore = w.quiet.Add(firstPause)
		w.attempts[svc.UID] = a
	default:
		longest := longestRefuse
		if !refuses(err) {
			a.maybe, longest = append(without(a.maybe, c.addrs), c.addrs...), longestPause
		}
		a.failures++
		a.notBefore = w.quiet.Add(min(firstPause<<min(a.failures-1, 10), longest))
		w.attempts[svc.UID] = a
		w.complain(svc, a, err)
	}
	if w.awaited || err != nil {
		w.awaited = false
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
