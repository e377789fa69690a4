// Package writer writes the statuses of Services, as package planner decides them: many at once,
// and none after the leader's term has ended.
package writer

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// parallel is how many first attempts are under way at once.
	parallel = 64
	// parallelAgain is how many repeated ones are: Services whose writes fail
	// must not take the place of others.
	parallelAgain = 8
	// writeTimeout is how long one write may take. A write that hangs, for example in an
	// admission webhook, must not delay others for long.
	writeTimeout = 5 * time.Second
)

// Options are what a Writer needs.
type Options struct {
	Client    client.Client
	Log       *slog.Logger
	Finalizer planner.Finalizer
	Answered  func(planner.Write, planner.Answer) planner.Outcome // called with each answer: what follows from it
	Record    func(cluster.Event)                                 // sends an event
	Count     func(kind string, err error)                        // called for every patch
}

// Writer writes the status of Services, many at once. No Service waits for another.
type Writer struct {
	Options
	// Written gets a value when a write is done that a pass waits for.
	Written chan struct{} // buffered 1

	first, again *semaphore.Weighted

	mu    sync.Mutex
	busy  int       // writes under way
	quiet time.Time // when the last one ended
}

// New returns a Writer.
func New(o Options) *Writer {
	return &Writer{
		Options: o, Written: make(chan struct{}, 1),
		first: semaphore.NewWeighted(parallel), again: semaphore.NewWeighted(parallelAgain),
	}
}

// Send starts writes.
func (w *Writer) Send(t *leader.Term, sends []planner.Send) {
	w.mu.Lock()
	w.busy += len(sends)
	w.mu.Unlock()
	for _, x := range sends {
		sem := w.first
		if x.Again {
			sem = w.again
		}
		go func() {
			out, err := w.patch(t, sem, x.Write)
			w.done(x.Write, out, err)
		}()
	}
}

// IdleFor returns for how long nothing has been written.
func (w *Writer) IdleFor() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		return 0
	}
	return time.Since(w.quiet)
}

// Drain returns when no write is under way, or after a second.
func (w *Writer) Drain() {
	for end := time.Now().Add(time.Second); w.IdleFor() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// Await returns when all writes of former terms are done.
func (w *Writer) Await(t *leader.Term) error {
	for w.IdleFor() == 0 {
		if !wait.Sleep(t, time.Millisecond) {
			return t.Err()
		}
	}
	return nil
}

// patch writes a change: status, condition and annotation in one patch, which holds
// only for the version of the Service that the plan was made from, and only
// within the term. So a stalled leader that goes on after its term changes nothing.
func (w *Writer) patch(t *leader.Term, sem *semaphore.Weighted, x planner.Write) (*corev1.Service, error) {
	if sem.Acquire(t, 1) != nil {
		return nil, planner.ErrUnsent
	}
	defer sem.Release(1)
	ctx, cancel := t.WriteContext(writeTimeout)
	defer cancel()
	if ctx.Err() != nil {
		return nil, planner.ErrUnsent
	}
	patch, err := Patch(x, w.Finalizer)
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	out := &corev1.Service{}
	out.Namespace, out.Name = x.Service.Namespace, x.Service.Name
	err = w.Client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	w.Count("Service", err)
	return cluster.Stripped(out), err
}

// Patch returns a write as a merge patch. Only what a change may concern is copied and
// compared.
func Patch(x planner.Write, f planner.Finalizer) ([]byte, error) {
	before := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{ResourceVersion: x.Service.ResourceVersion, Annotations: x.Service.Annotations, Finalizers: x.Service.Finalizers},
		Status:     x.Service.Status,
	}
	want := before.DeepCopy()
	x.Change.Apply(want, f)
	return client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}).Data(want)
}

// done records the answer to a write.
func (w *Writer) done(x planner.Write, out *corev1.Service, err error) {
	now := time.Now()
	next := w.Answered(x, planner.Answer{Service: out, Err: err, Now: now})
	w.mu.Lock()
	w.busy--
	w.quiet = now
	w.mu.Unlock()
	if next.Warn {
		w.Log.Warn("can't write the status of a Service; trying again", "service", intent.KeyOf(x.Service), "err", err)
	}
	about := x.Service
	if err == nil {
		about = out
	}
	for _, e := range next.Events {
		w.Log.Info("Service changed", "action", e.Action, "service", intent.KeyOf(about), "reason", e.Reason, "message", e.Message)
		w.Record(cluster.Event{About: cluster.About(about), Type: e.Type, Reason: e.Reason, Action: e.Action, Message: e.Message})
	}
	w.Publish(next.Changed)
	if next.Due {
		wait.Signal(w.Written)
	}
}

// Publish logs changes of who has which address. Where a Service lost one it records an event on the pool, since the Service
// may be gone: of a burst few are sent. A Service that got one has an event of its own.
func (w *Writer) Publish(all []planner.Changed) {
	for _, x := range all {
		w.Log.Info(history.Message, x.Log()...)
		if x.Change == v1beta1.ChangeReleased && x.Of != nil {
			w.Record(cluster.Event{About: cluster.About(x.Of), Type: corev1.EventTypeNormal, Reason: v1beta1.ReasonReleased, Action: "Release", Message: x.ReleasedText()})
		}
	}
}
