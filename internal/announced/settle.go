package announced

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

const (
	// settle is how long an address must not have been announced until that is reported. A
	// takeover takes less, and so does what comes of "kubectl apply" of many objects.
	settle = 3 * time.Second
	// rewording is how long other words for the same must have stood: how many nodes have
	// which reason.
	rewording = 30 * time.Second
)

// Settler remembers since when the reports on Services differ from what their
// conditions say. So a Service whose address moves costs no write. The zero Settler is
// ready for use; it forgets Services that a round does not ask for.
type Settler struct {
	last, next map[types.UID]difference
}

// difference is what a condition is to become.
type difference struct {
	to    metav1.Condition
	since time.Time
}

// Begin begins a round.
func (s *Settler) Begin() { s.last, s.next = s.next, make(map[types.UID]difference, len(s.next)) }

// Settle returns what the condition of a Service is to say now, which says shown (the
// zero condition: there is none), if it were best to say want; and when that may change
// if nothing happens; 0: never.
func (s *Settler) Settle(now time.Time, uid types.UID, shown, want metav1.Condition) (due metav1.Condition, again time.Duration) {
	if want.Status == metav1.ConditionTrue && shown.Status != metav1.ConditionTrue && !fine(want) {
		return plain(want), settle // that it is announced waits for nothing
	}
	var after time.Duration
	switch {
	case shown.Status == want.Status && shown.Reason == want.Reason:
		if shown.Message == want.Message || pending(shown) {
			return shown, 0
		}
		after = rewording
	case !fine(want):
		after = settle
	}
	since := now
	if was, known := s.last[uid]; known && (was.to == want || after == settle && alike(was.to, want)) {
		since = was.since
	}
	s.next[uid] = difference{want, since} // also what is due: it takes a while until the condition says it
	if wait := since.Add(after).Sub(now); wait > 0 {
		return shown, wait
	}
	return want, 0
}

func pending(c metav1.Condition) bool {
	return c.Status == metav1.ConditionUnknown && c.Reason == v1beta1.ReasonPending
}

// alike reports whether two conditions say as much of whether clients reach the Service.
func alike(a, b metav1.Condition) bool { return a.Status == b.Status && fine(a) == fine(b) }

// fine reports whether c says that clients reach the Service.
func fine(c metav1.Condition) bool { return c.Reason == v1beta1.ReasonAnnounced }

// plain returns what c says without what keeps clients out of what is announced.
func plain(c metav1.Condition) metav1.Condition {
	c.Message, _, _ = strings.Cut(c.Message, but)
	c.Reason = v1beta1.ReasonAnnounced
	return c
}
