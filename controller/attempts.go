package main

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

const (
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
	cleared   bool         // one of these writes was to take all addresses away
	failures  int
	refused   bool      // the last one was refused
	notBefore time.Time // when to try again
}

// holds returns what the Service may have got by now, and whether that is to
// count instead of what it shows.
func (a attempt) holds() ([]netip.Addr, bool) {
	if a.flying && !a.change.words {
		return a.change.addrs, true
	}
	return a.maybe, len(a.maybe) > 0
}

// shows returns all addresses that the Service may show soon.
func (a attempt) shows() []netip.Addr {
	if a.flying && !a.change.words {
		return slices.Concat(a.maybe, a.change.addrs)
	}
	return a.maybe
}

// explains reports whether it may be for this attempt that the Service shows those
// addresses.
func (a attempt) explains(shows []netip.Addr) bool {
	return a.flying && !a.change.words && slices.Equal(shows, a.change.addrs) || a.cleared && len(shows) == 0 ||
		len(shows) > 0 && len(without(shows, a.maybe)) == 0
}

// settles reports whether the answer to a, which is under way, leaves nothing to
// do for svc, as far as is known: the write was made for this very version of
// it, and of what is to be written now.
//
// Of a later version it is not known whether our write or somebody else's made
// it. If ours came first, it is overwritten, and no event will tell it.
func (a attempt) settles(svc *corev1.Service, want *change) bool {
	return want != nil && svc.ResourceVersion == a.base.ResourceVersion && want.same(a.change)
}

// attempts is what is known of the writes of Services' statuses. It does not
// write, reads no clock, and has no lock: writer does that.
type attempts struct {
	byUID    map[types.UID]attempt
	contests contests
	landed   int  // how many writes have landed
	awaited  bool // the last pass left something undone until a write has landed
}

// unresolved forgets the attempts whose outcome the Services show, and returns
// the others.
func (w *attempts) unresolved(services []*corev1.Service, now time.Time) map[types.UID]attempt {
	if len(w.byUID) == 0 {
		return nil
	}
	there := make(map[types.UID]bool, len(w.byUID))
	for _, svc := range services {
		if a, ok := w.byUID[svc.UID]; ok {
			there[svc.UID] = a.flying || !cluster.Later(svc, a.base)
			if shows := intent.Holds(svc); !there[svc.UID] && a.explains(shows) { // it had arrived
				w.contests.write(svc.UID, shows, now)
			}
		}
	}
	maps.DeleteFunc(w.byUID, func(uid types.UID, a attempt) bool { return !a.flying && !there[uid] })
	return maps.Clone(w.byUID)
}

// forget drops an attempt that was not made and is not wanted any more.
func (w *attempts) forget(uid types.UID) {
	if a := w.byUID[uid]; !a.flying && len(a.maybe) == 0 {
		delete(w.byUID, uid)
	}
}

// review takes in what a pass sees for the first time and what is gone, and
// returns the contests.
func (w *attempts) review(arrived []arrival, gone []types.UID, now time.Time) map[types.UID]contest {
	for _, uid := range gone {
		w.contests.left(uid)
	}
	for _, v := range arrived {
		w.contests.see(v, w.byUID[v.svc.UID], now)
	}
	return w.contests.at(now)
}

// start notes that c is being written to svc, and reports how often that has
// failed before; or that a write to it is under way, so that c must wait.
func (w *attempts) start(svc *corev1.Service, c change) (failures int, started bool) {
	old := w.byUID[svc.UID]
	if old.flying {
		w.awaited = true
		return 0, false
	}
	w.byUID[svc.UID] = attempt{base: svc, change: c, flying: true, maybe: old.maybe, cleared: old.cleared, failures: old.failures, refused: old.refused}
	return old.failures, true
}

// await has the next write that lands cause a pass. If one has landed since
// there were so many, a pass is due at once: that is reported.
func (w *attempts) await(landed int) (due bool) {
	if w.landed != landed {
		return true
	}
	w.awaited = true
	return false
}

// land takes in the outcome of a write, and returns what is left of the attempt,
// and whether a pass is due.
func (w *attempts) land(uid types.UID, err error, now time.Time) (a attempt, due bool) {
	w.landed++
	_, contested := w.contests.open[uid] // its end is to be waited for
	due = w.awaited || err != nil || contested
	if due {
		w.awaited = false
	}
	a = w.byUID[uid]
	a.flying = false
	switch {
	case err == nil:
		delete(w.byUID, uid)
		if !a.change.words {
			w.contests.write(uid, a.change.addrs, now)
		}
		return a, due
	case errors.Is(err, errUnsent):
		a.notBefore = now.Add(firstPause)
	default:
		longest := longestRefuse
		if apierrors.IsConflict(err) {
			w.contests.conflict(uid, now)
		}
		if a.refused = refuses(err); !a.refused && !a.change.words {
			a.maybe = append(without(a.maybe, a.change.addrs), a.change.addrs...)
			a.cleared = a.cleared || len(a.change.addrs) == 0
		}
		if !a.refused {
			longest = longestPause
		}
		a.failures++
		a.notBefore = now.Add(min(firstPause<<min(a.failures-1, 10), longest))
	}
	w.byUID[uid] = a
	return a, due
}
