package planner

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

const (
	// firstPause, LongestPause and LongestRefusedPause lie between attempts at one Service. One
	// that is refused waits for a user to change a policy; one whose answer
	// was lost waits for the API server only.
	firstPause          = 500 * time.Millisecond
	LongestPause        = 2 * time.Second
	LongestRefusedPause = 30 * time.Second
)

// Attempt is a write of a Service's status whose effect the cache does not show
// yet. Until it is known, both what the Service shows and what it was to get
// count as its own.
type Attempt struct {
	base      *corev1.Service // the write holds for this version only
	change    Change
	inFlight  bool         // under way; else it has failed
	overtaken bool         // a later version was seen: what it shows is what came of all writes to the one before
	maybe     []netip.Addr // targets of writes to this version that may have arrived: the answers are unknown
	cleared   bool         // one of these writes was to take all addresses away
	Failures  int          // in a row
	refused   bool         // the last one was refused
	notBefore time.Time    // when to try again
}

// holds returns what the Service may have got by now, and whether that is to
// count instead of what it shows.
func (a Attempt) holds() ([]netip.Addr, bool) {
	if a.overtaken {
		return nil, false
	}
	if a.inFlight && !a.change.ConditionsOnly {
		return a.change.Addrs, true
	}
	return a.maybe, len(a.maybe) > 0
}

// shows returns all addresses that the Service may show soon.
func (a Attempt) shows() []netip.Addr {
	if a.overtaken {
		return nil
	}
	if a.inFlight && !a.change.ConditionsOnly {
		return slices.Concat(a.maybe, a.change.Addrs)
	}
	return a.maybe
}

// origins returns what the Service may have got by now, and of which pools.
func (a Attempt) origins() []intent.Origin {
	if len(a.change.Addrs) == 0 { // usually
		return nil
	}
	var out []intent.Origin
	pools := strings.Split(a.change.pools, ",")
	for i, addr := range a.change.Addrs[:min(len(a.change.Addrs), len(pools))] {
		out = append(out, intent.Origin{Addr: addr, Pool: pools[i]})
	}
	return out
}

// explains reports whether it may be for this attempt that the Service shows those
// addresses.
func (a Attempt) explains(shows []netip.Addr) bool {
	return a.inFlight && !a.change.ConditionsOnly && slices.Equal(shows, a.change.Addrs) || a.cleared && len(shows) == 0 ||
		len(shows) > 0 && len(without(shows, a.maybe)) == 0
}

// settles reports whether the answer to a, which is under way, leaves nothing to
// do for svc, as far as is known: the write was made for this very version of
// it, and of what is to be written now.
//
// Of a later version it is not known whether our write or another client's made
// it. If ours came first, it is overwritten, and no event will show it.
func (a Attempt) settles(svc *corev1.Service, want *Change) bool {
	return want != nil && svc.ResourceVersion == a.base.ResourceVersion && want.same(a.change)
}

// Attempts is what is known of the writes of Services' statuses. It does not
// write, reads no clock, and has no lock. The zero Attempts are empty.
type Attempts struct {
	byUID    map[types.UID]Attempt
	contests contests
	awaited  bool // the last pass left something undone until a write has landed
}

// Pending forgets the attempts whose outcome the Services show, and returns
// the others.
func (w *Attempts) Pending(services []*corev1.Service, now time.Time) map[types.UID]Attempt {
	if len(w.byUID) == 0 {
		return nil
	}
	there := make(map[types.UID]bool, len(w.byUID))
	for _, svc := range services {
		if a, ok := w.byUID[svc.UID]; ok {
			a.overtaken = intent.Later(svc, a.base)
			w.byUID[svc.UID] = a
			there[svc.UID] = a.inFlight || !a.overtaken
			if shows := intent.Holds(svc); !there[svc.UID] && a.explains(shows) { // it had arrived
				w.contests.write(svc.UID, shows, now)
			}
		}
	}
	maps.DeleteFunc(w.byUID, func(uid types.UID, a Attempt) bool { return !a.inFlight && !there[uid] })
	return maps.Clone(w.byUID)
}

// Reset forgets all attempts and contests.
func (w *Attempts) Reset() { w.byUID, w.contests = nil, contests{} }

// Agree notes that a Service shows what it shall.
func (w *Attempts) Agree(x Write, now time.Time) {
	w.contests.write(x.Service.UID, x.Change.Addrs, now)
}

// Open returns for how many Services something is not settled: an attempt, or a
// contest.
func (w *Attempts) Open(now time.Time) (attempts, contests int) {
	return len(w.byUID), len(w.contests.at(now))
}

// Forget drops an attempt that was not made and is not wanted any more.
func (w *Attempts) Forget(uid types.UID) {
	if a := w.byUID[uid]; !a.inFlight && len(a.maybe) == 0 {
		delete(w.byUID, uid)
	}
}

// Review takes in what a pass sees for the first time and what is gone, and
// returns the contests.
func (w *Attempts) Review(arrived []Arrival, gone []types.UID, now time.Time) map[types.UID]Contest {
	for _, uid := range gone {
		w.contests.left(uid)
	}
	for _, v := range arrived {
		w.contests.see(v, w.byUID[v.svc.UID], now)
	}
	return w.contests.at(now)
}

// Start notes that c is being written to svc, and reports how often that has
// failed before; or that a write to it is under way, so that c must wait.
func (w *Attempts) Start(svc *corev1.Service, c Change) (failures int, started bool) {
	old := w.byUID[svc.UID]
	if old.inFlight {
		w.awaited = true
		return 0, false
	}
	if w.byUID == nil {
		w.byUID = map[types.UID]Attempt{}
	}
	w.byUID[svc.UID] = Attempt{base: svc, change: c, inFlight: true, maybe: old.maybe, cleared: old.cleared, Failures: old.Failures, refused: old.refused}
	return old.Failures, true
}

// Await has the next write that lands cause a pass.
func (w *Attempts) Await() { w.awaited = true }

// Done takes in the outcome of a write, and returns what is left of the attempt,
// and whether a pass is due.
func (w *Attempts) Done(uid types.UID, err error, now time.Time) (a Attempt, due bool) {
	_, contested := w.contests.open[uid] // its end is to be waited for
	due = w.awaited || err != nil || contested
	if due {
		w.awaited = false
	}
	a = w.byUID[uid]
	a.inFlight = false
	switch {
	case err == nil:
		delete(w.byUID, uid)
		if !a.change.ConditionsOnly {
			w.contests.write(uid, a.change.Addrs, now)
		}
		return a, due
	case errors.Is(err, ErrUnsent):
		a.notBefore = now.Add(firstPause)
	default:
		longest := LongestRefusedPause
		if apierrors.IsConflict(err) {
			w.contests.conflict(uid, now)
		}
		if a.refused = Refused(err); !a.refused && !a.change.ConditionsOnly {
			a.maybe = append(without(a.maybe, a.change.Addrs), a.change.Addrs...)
			a.cleared = a.cleared || len(a.change.Addrs) == 0
		}
		if !a.refused {
			longest = LongestPause
		}
		a.Failures++
		a.notBefore = now.Add(min(firstPause<<min(a.Failures-1, 10), longest))
	}
	w.byUID[uid] = a
	return a, due
}

// ErrUnsent says that a write did not leave this process.
var ErrUnsent = errors.New("the term is over")

// Refused reports whether an error says that the write was not made, and will
// not be when repeated. All others leave open whether it was.
func Refused(err error) bool {
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
