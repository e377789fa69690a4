package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Loop runs Reconcile whenever the cluster has changed: each event of the watched kinds,
// and each trigger, makes a run due. Events that arrive during a run, or a pause, merge
// into one further run.
type Loop struct {
	Name string
	// Reconcile runs once all kinds are cached. It returns when to run again if
	// nothing happens before; 0: never. An error is logged and the run repeated.
	Reconcile func(context.Context) (time.Duration, error)
	Log       *slog.Logger
	Kinds     []client.Object
	Triggers  []<-chan struct{}
	// Ignore reports whether an event needs no run: an update, or an object that
	// has come (before is nil) or gone (after is nil). If Ignore is nil none is skipped.
	Ignore func(before, after client.Object) bool
	// MinInterval returns how long to pause after a run that took so long, however much
	// happens meanwhile; nil: not at all. An event after a quiet time runs at once.
	MinInterval func(took time.Duration) time.Duration
	// Used returns the processor time that this process has used. A run counts as no longer
	// than that: on a busy machine most of its time is others'. nil: its time counts.
	Used func() time.Duration
	// Burst is how much of the pauses may be put off. So single events run at once, a steady
	// stream is paced, and in the long run all pauses are made.
	Burst time.Duration
	// Crowded is the least pause after a run that took in a crowd of events: of a burst each run
	// takes in more then. 0: it is no longer than after others.
	Crowded time.Duration
	// Priority is a signal that ends a rest, or nil.
	Priority <-chan struct{}
}

// crowd is how many events make one.
const crowd = 8

// Share returns a MinInterval that lets runs use at most 1/n of one core. A pause is never
// longer than a second. The least pause lets the events of a burst merge, however short
// the runs are.
func Share(n int, least time.Duration) func(time.Duration) time.Duration {
	return func(took time.Duration) time.Duration {
		return max(least, min(time.Duration(n-1)*took, time.Second))
	}
}

// The pause after an error: firstRetry, doubled after each further one, up to lastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// AddTo has mgr run the loop.
func (l Loop) AddTo(ctx context.Context, mgr manager.Manager) error {
	due, events := make(chan struct{}, 1), new(atomic.Int64)
	synced := make([]toolscache.InformerSynced, len(l.Kinds))
	for i, kind := range l.Kinds {
		informer, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("loop %s: watch %T: %w", l.Name, kind, err)
		}
		handler, err := informer.AddEventHandler(l.handler(due, events))
		if err != nil {
			return fmt.Errorf("loop %s: watch %T: %w", l.Name, kind, err)
		}
		synced[i] = handler.HasSynced
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		for _, signal := range l.Triggers {
			go forward(ctx, signal, due)
		}
		if toolscache.WaitForCacheSync(ctx.Done(), synced...) {
			l.run(ctx, due, events)
		}
		return nil
	}))
}

// handler makes the loop due at every event that is not skipped, and counts these.
func (l Loop) handler(due chan<- struct{}, events *atomic.Int64) toolscache.ResourceEventHandler {
	event := func(before, after any) {
		b, _ := before.(client.Object)
		a, _ := after.(client.Object)
		if known := b != nil || a != nil; l.Ignore == nil || !known || !l.Ignore(b, a) {
			events.Add(1)
			wait.Signal(due)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { event(nil, o) },
		UpdateFunc: event,
		DeleteFunc: func(o any) {
			if missed, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = missed.Obj
			}
			event(o, nil)
		},
	}
}

// run runs Reconcile until ctx ends, the first time at once. It takes in the events that were counted.
func (l Loop) run(ctx context.Context, due chan struct{}, events *atomic.Int64) {
	retry := firstRetry
	var rested time.Time // when all pauses so far are made up for
	for {
		start, used := time.Now(), l.used()
		select { // what has happened so far is seen by this run
		case <-due:
		default:
		}
		crowded := events.Swap(0) >= crowd
		again, err := l.Reconcile(ctx)
		if err != nil && ctx.Err() == nil {
			l.Log.Error("trying again", "loop", l.Name, "err", err, "after", retry)
			again, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		if l.MinInterval != nil {
			if rested.Before(start) {
				rested = start
			}
			took := time.Since(start)
			if l.Used != nil {
				took = min(took, l.used()-used)
			}
			pause := l.MinInterval(took)
			if crowded {
				pause = max(pause, l.Crowded)
			}
			rested = rested.Add(took + pause)
			l.rest(ctx, time.Until(rested.Add(-l.Burst)), due)
			if most := time.Now().Add(l.Burst); most.Before(rested) {
				rested = most // later runs do not pay for urgent ones
			}
		}
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(time.Until(start.Add(again)))
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-timer:
		case <-l.Priority:
		}
	}
}

// used returns what Used does, if there is one.
func (l Loop) used() time.Duration {
	if l.Used == nil {
		return 0
	}
	return l.Used()
}

// rest pauses, unless something urgent happens: then a run is due.
func (l Loop) rest(ctx context.Context, d time.Duration, due chan<- struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.Priority:
		wait.Signal(due)
	}
}

// forward passes signals on until ctx ends.
func forward(ctx context.Context, from <-chan struct{}, to chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
			wait.Signal(to)
		}
	}
}
