package cluster

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// unshown is how long an object is remembered that the cache has never shown:
// longer than a watch lags, and no longer, for it may have been deleted meanwhile.
const unshown = time.Minute

// Overlay remembers objects as the API server last returned them, and lays
// them over a cache that is behind. The zero Overlay is ready for use; it is
// safe for concurrent use.
type Overlay[T client.Object] struct {
	mu    sync.Mutex
	newer map[types.UID]seen[T]
}

// seen is an object, and when it was seen.
type seen[T client.Object] struct {
	object T
	at     time.Time
	shown  bool // the cache has shown some version of it
}

// Saw remembers a later version of an object that the cache has shown. It is
// forgotten when the cache does not hold it any more.
func (o *Overlay[T]) Saw(obj T) { o.remember(obj, true) }

// SawNew remembers an object that the cache may not have shown yet.
func (o *Overlay[T]) SawNew(obj T) { o.remember(obj, false) }

// remember remembers obj, unless a later version of it is remembered already.
func (o *Overlay[T]) remember(obj T, shown bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.newer == nil {
		o.newer = map[types.UID]seen[T]{}
	}
	old, ok := o.newer[obj.GetUID()]
	if !ok || intent.Later(obj, old.object) {
		o.newer[obj.GetUID()] = seen[T]{obj, time.Now(), shown || old.shown}
	}
}

// Shows reports whether obj is the very version that is remembered.
func (o *Overlay[T]) Shows(obj T) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, ok := o.newer[obj.GetUID()]
	return ok && n.object.GetResourceVersion() == obj.GetResourceVersion()
}

// Apply returns what the cache holds, with every object that is older than what
// was seen replaced, and those added that the cache has not shown yet. It
// forgets what the cache has caught up with or no longer holds. It may change
// the slice, but not the objects.
func (o *Overlay[T]) Apply(cached []T) []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.newer) == 0 {
		return cached
	}
	kept := make(map[types.UID]seen[T])
	inCache := make(map[types.UID]bool, len(o.newer))
	for i, c := range cached {
		n, ok := o.newer[c.GetUID()]
		if !ok {
			continue
		}
		inCache[c.GetUID()] = true
		if intent.Later(n.object, c) {
			n.shown = true
			cached[i], kept[c.GetUID()] = n.object, n
		}
	}
	for uid, n := range o.newer {
		if !inCache[uid] && !n.shown && time.Since(n.at) < unshown {
			cached, kept[uid] = append(cached, n.object), n
		}
	}
	o.newer = kept
	return cached
}
