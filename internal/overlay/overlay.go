// Package overlay lays what a program has written over a cache that does not show it
// yet, so that the program reads its own writes. It stays ours: client-go's
// MutationCache answers for single keys and indices only, and forgets a write after a
// time, whether or not the cache shows it. It reads no clock.
package overlay

import (
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// unshown is how long an object is remembered that the cache has never shown:
// longer than a watch lags, and no longer, for it may have been deleted meanwhile.
const unshown = time.Minute

// Objects remembers objects as the API server last returned them. The zero Objects
// are ready for use, and safe for concurrent use.
type Objects[T metav1.Object] struct {
	mu    sync.Mutex
	newer map[types.UID]seen[T]
	gone  map[types.UID]time.Time // when objects of which the cache reported the end lately ended
}

// seen is an object, and when it was seen.
type seen[T metav1.Object] struct {
	object T
	at     time.Time
	shown  bool // the cache has shown some version of it
}

// RecordWrite remembers a later version of an object that the cache has shown. It is
// forgotten when the cache does not hold it any more.
func (o *Objects[T]) RecordWrite(obj T) { o.record(seen[T]{object: obj, shown: true}) }

// RecordCreate remembers an object that the cache may not have shown yet.
func (o *Objects[T]) RecordCreate(obj T, now time.Time) { o.record(seen[T]{object: obj, at: now}) }

// RecordDelete removes an object of whose end the watch reported: it may have shown it
// so shortly that Apply never saw it, and what was read before may be recorded after.
func (o *Objects[T]) RecordDelete(uid types.UID, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.newer, uid)
	if o.gone == nil {
		o.gone = map[types.UID]time.Time{}
	}
	maps.DeleteFunc(o.gone, func(_ types.UID, at time.Time) bool { return now.Sub(at) >= unshown })
	o.gone[uid] = now
}

// Reset forgets everything: what the API server returned is no later than what it returns now.
func (o *Objects[T]) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.newer, o.gone = nil, nil
}

// record remembers x, unless a later version of the object is remembered already, or
// its end.
func (o *Objects[T]) record(x seen[T]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, gone := o.gone[x.object.GetUID()]; gone {
		return
	}
	if o.newer == nil {
		o.newer = map[types.UID]seen[T]{}
	}
	old, ok := o.newer[x.object.GetUID()]
	if !ok || intent.Later(x.object, old.object) {
		x.shown = x.shown || old.shown
		o.newer[x.object.GetUID()] = x
	}
}

// Recorded reports whether obj is the very version that is remembered.
func (o *Objects[T]) Recorded(obj T) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, ok := o.newer[obj.GetUID()]
	return ok && n.object.GetResourceVersion() == obj.GetResourceVersion()
}

// Apply returns what the cache holds, with every object that is older than what
// was recorded replaced, and those added that the cache has not shown yet. It
// forgets what the cache has caught up with or no longer holds. It may change
// the slice, but not the objects.
func (o *Objects[T]) Apply(cached []T, now time.Time) []T {
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
		if !inCache[uid] && !n.shown && now.Sub(n.at) < unshown {
			cached, kept[uid] = append(cached, n.object), n
		}
	}
	o.newer = kept
	return cached
}
