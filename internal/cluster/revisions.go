package cluster

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

// Revisions notices that the API server's resourceVersion has gone back, as it does when etcd
// is restored from a backup. A watch from a version that the API server does not know yet
// reports nothing, and no error either. So before each watch the API server is asked for its
// version, and where it is older than the cache's, all caches are read again.
//
// Versions of different kinds are not compared: they may be in different etcds.
type Revisions struct {
	// Restored is called once for each time. It returns soon. nil: nothing is called.
	Restored func()

	mu      sync.Mutex
	times   int // how often the version has gone back
	running map[watch.Interface]struct{}
}

// errRestored has a cache read everything again.
var errRestored = apierrors.NewResourceExpired("the API server's resourceVersion has gone back")

// listing is one cache's list and watch.
type listing struct {
	of    *Revisions
	now   func(context.Context) (string, error) // the API server's present version of this kind
	times int                                   // Revisions.times when the cache was last read from the beginning
}

// from returns errRestored if versions from rv on are not those that the cache had.
func (l *listing) from(ctx context.Context, rv string) error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	switch {
	case rv == "" || rv == "0":
		l.times = l.of.times
		return nil
	case l.times < l.of.times:
		return errRestored
	}
	times := l.of.times
	l.of.mu.Unlock()
	now, err := l.now(ctx)
	l.of.mu.Lock()
	if err != nil {
		return err
	}
	if order, err := resourceversion.CompareResourceVersion(now, rv); err != nil || order >= 0 {
		return nil // versions that can't be compared are the API server's to judge
	}
	if times == l.of.times {
		klog.FromContext(ctx).Info("the API server's resourceVersion has gone back, as after a restore of etcd; reading everything again", "cached", rv, "now", now)
		l.of.times++
		for w := range l.of.running {
			w.Stop()
		}
		if l.of.Restored != nil {
			l.of.Restored()
		}
	}
	return errRestored
}

// watched has w end when the version goes back. It returns what to use in place of w.
func (l *listing) watched(w watch.Interface) watch.Interface {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.running == nil {
		l.of.running = map[watch.Interface]struct{}{}
	}
	if l.times < l.of.times {
		w.Stop()
	}
	l.of.running[w] = struct{}{}
	return &ending{w, l.of}
}

// ending is a watch that Revisions can stop.
type ending struct {
	watch.Interface
	of *Revisions
}

// Stop ends the watch.
func (e *ending) Stop() {
	e.of.mu.Lock()
	delete(e.of.running, e.Interface)
	e.of.mu.Unlock()
	e.Interface.Stop()
}

// versionOf returns how to find the present version of a kind: by a list of one object, past
// the API server's caches.
func versionOf(list func(context.Context, metav1.ListOptions) (runtime.Object, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		one, err := list(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return "", err
		}
		m, err := meta.ListAccessor(one)
		if err != nil {
			return "", fmt.Errorf("read the version of a list: %w", err)
		}
		return m.GetResourceVersion(), nil
	}
}
