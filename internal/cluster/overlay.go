package cluster

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Overlay remembers objects as the API server last returned them, and lays
// them over a cache that is behind. The zero Overlay is ready for use; it is
// safe for concurrent use.
type Overlay[T client.Object] struct {
	mu    sync.Mutex
	newer map[types.UID]T
}

// Saw remembers obj, unless a later version of it is remembered already.
func (o *Overlay[T]) Saw(obj T) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.newer == nil {
		o.newer = map[types.UID]T{}
	}
	if old, ok := o.newer[obj.GetUID()]; !ok || later(obj, old) {
		o.newer[obj.GetUID()] = obj
	}
}

// Apply replaces, in place, every object of the cache that is older than what
// was seen, and forgets what the cache has caught up with or no longer holds.
func (o *Overlay[T]) Apply(cached []T) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := make(map[types.UID]T)
	for i, c := range cached {
		if n, ok := o.newer[c.GetUID()]; ok && later(n, c) {
			cached[i] = n
			kept[c.GetUID()] = n
		}
	}
	o.newer = kept
}

// later reports whether a is a later version of the same object than b.
// Versions that can't be compared count as not later, so that the cache wins.
func later(a, b client.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}

// forward turns a signal into the one request, until ctx ends.
func forward(signal <-chan struct{}) func(context.Context, workqueue.TypedRateLimitingInterface[Request]) error {
	return func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[Request]) error {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-signal:
					queue.Add(Request{})
				}
			}
		}()
		return nil
	}
}
