package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// ledger is what one watch has shown of all Services, from the start of the
// bench to its end. All figures are read from it: each Service's times are those
// at which the watch brought the event, whichever controller served the Service. And it
// checks what must hold all the time: no address has two holders, and a Service
// keeps the address that it has.
type ledger struct {
	mu      sync.Mutex
	entries map[string]*entry // by name: what is there, or about to be
	holders map[string]*entry // by address
	shown   int               // how many the watch has shown so far
	gone    int               // how many of them were deleted
	wrong   error             // the first thing that must not be; nil: none
}

// entry is one Service.
type entry struct {
	name string
	of   *batch
	// created is just before the request; served and gone are when the watch
	// showed the first address, and the deletion. Zero: not yet.
	created, served, gone time.Time
	addrs                 []string
	rewrites              int // how often it was written after it was served
}

// wait is how long a Service that is served waited for its address.
func (e *entry) wait() time.Duration { return e.served.Sub(e.created) }

// batch is Services that are created together.
type batch struct {
	entries []*entry // oldest first, as far as a second tells
	served  []*entry // in the order in which they were
	// creating is how long it took to create them, some at once.
	creating time.Duration
}

// openLedger watches until ctx ends.
func openLedger(ctx context.Context, client *kubernetes.Clientset) (*ledger, error) {
	services := client.CoreV1().Services(namespace)
	now, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	w, err := watchtools.NewRetryWatcherWithContext(ctx, now.ResourceVersion, cache.ToWatcherWithContext(&cache.ListWatch{
		WatchFuncWithContext: services.Watch,
	}))
	if err != nil {
		return nil, fmt.Errorf("watch Services: %w", err)
	}
	l := &ledger{entries: map[string]*entry{}, holders: map[string]*entry{}}
	go func() {
		for e := range w.ResultChan() {
			l.see(e, time.Now())
		}
		if ctx.Err() == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.fail(fmt.Errorf("the watch of Services has ended"))
		}
	}()
	return l, nil
}

// enter tells the ledger of Services that are about to be created.
func (l *ledger) enter(names []string) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &batch{}
	for _, name := range names {
		e := &entry{name: name, of: b}
		l.entries[name] = e
		b.entries = append(b.entries, e)
	}
	return b
}

func (l *ledger) see(event watch.Event, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	svc, ok := event.Object.(*corev1.Service)
	if !ok {
		l.fail(fmt.Errorf("watch Services: %w", apierrors.FromObject(event.Object)))
		return
	}
	if event.Type == watch.Added {
		l.shown++
	}
	e := l.entries[svc.Name]
	switch {
	case e == nil:
		l.fail(fmt.Errorf("service %s is not of the bench", svc.Name))
	case event.Type == watch.Deleted:
		for _, a := range e.addrs {
			delete(l.holders, a)
		}
		delete(l.entries, e.name)
		e.gone = now
		l.gone++
	case !e.served.IsZero():
		e.rewrites++
		if have := addresses(svc); !slices.Equal(e.addrs, have) {
			l.fail(fmt.Errorf("service %s had %v and now has %v", e.name, e.addrs, have))
		}
	default:
		l.serve(e, addresses(svc), now)
	}
}

// serve enters the first addresses of a Service.
func (l *ledger) serve(e *entry, addrs []string, now time.Time) {
	if len(addrs) == 0 {
		return
	}
	for _, a := range addrs {
		if other := l.holders[a]; other != nil {
			l.fail(fmt.Errorf("service %s was given %s, which service %s has", e.name, a, other.name))
		}
		l.holders[a] = e
	}
	e.addrs, e.served = addrs, now
	e.of.served = append(e.of.served, e)
}

func addresses(svc *corev1.Service) []string {
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		out = append(out, in.IP)
	}
	return out
}

// fail keeps the first fault.
func (l *ledger) fail(err error) {
	if l.wrong == nil {
		l.wrong = err
	}
}

func (l *ledger) servedOf(b *batch) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(b.served)
}

func (l *ledger) deletions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

func (l *ledger) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong
}

// rewrites tells how often these Services were written after they were served.
func (l *ledger) rewrites(of []*entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range of {
		n += e.rewrites
	}
	return n
}

// await returns when count, which is called under the ledger's lock, has reached
// want. It says every five seconds how far it is; a minute without any progress
// is an error.
func (l *ledger) await(ctx context.Context, what string, want int, count func() int) error {
	// How often it looks does not matter to the figures: see entry.
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	last, moved, said := -1, time.Now(), time.Now()
	for {
		l.mu.Lock()
		have, there, wrong := count(), l.shown-l.gone, l.wrong
		l.mu.Unlock()
		switch {
		case wrong != nil:
			return wrong
		case have >= want:
			return nil
		case have > last:
			last, moved = have, time.Now()
		case time.Since(moved) > time.Minute:
			return fmt.Errorf("%s: %d of %d, and no more for a minute; there are %d in all", what, have, want, there)
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			fmt.Printf("  %s: %d of %d; there are %d in all\n", what, have, want, there)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %d of %d: %w", what, have, want, context.Cause(ctx))
		case <-look.C:
		}
	}
}
