package planner

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Announced is what the conditions Announced of Services are to be. It does not change.
type Announced struct {
	Of       map[types.UID]*Announcement // Services whose condition is to change
	Not      map[string]int              // how many Services with addresses are not known to be announced, by reason
	Unserved int                         // how many are announced, and clients are refused all the same
}

// Announcement is the condition Announced that is due for a Service that shows these addresses.
type Announcement struct {
	Addrs     []netip.Addr
	Condition metav1.Condition
}

// find returns what the condition of svc is to be; nil: what it is.
func (a *Announced) find(svc *corev1.Service) *Announcement {
	if a == nil || len(a.Of) == 0 { // usually
		return nil
	}
	return a.Of[svc.UID]
}

// same reports whether two are the same.
func (t *Announcement) same(u *Announcement) bool {
	if t == u || t == nil || u == nil {
		return t == u
	}
	return t.Condition == u.Condition && slices.Equal(t.Addrs, u.Addrs)
}

// announce adds to c the condition Announced of svc, and reports whether
// that differs from what it shows. When it gets an address, has none, or no advertisement
// covers those in silent, that follows from c itself, and costs no write of its own.
func (c *Change) announce(svc *corev1.Service, a *Announced, silent []netip.Addr) (differs bool) {
	if a == nil {
		return false
	}
	want := metav1.Condition{Type: v1beta1.ConditionServiceAnnounced}
	found := a.find(svc)
	switch {
	case len(c.Addrs) == 0:
		want.Status, want.Reason, want.Message = metav1.ConditionFalse, v1beta1.ReasonNotAllocated, "it has no address: see the condition "+v1beta1.ConditionAllocated
	case len(c.gains) > 0 && len(silent) > 0:
		want.Status, want.Reason, want.Message = metav1.ConditionFalse, v1beta1.ReasonNotAdvertised, uncovered(silent)
	case len(c.gains) > 0:
		want.Status, want.Reason, want.Message = metav1.ConditionUnknown, v1beta1.ReasonPending, "no node has said yet that it announces "+intent.Join(c.gains)
	case found != nil && slices.Equal(found.Addrs, c.Addrs):
		want = found.Condition
	default:
		return false
	}
	before := meta.FindStatusCondition(svc.Status.Conditions, want.Type)
	c.Announced = want
	intent.SetCondition(&c.Conditions, want)
	return before == nil || !sameWords(*before, want)
}

// unannounced returns the event that an address is not known to be announced, or has a port
// at which clients are refused, if c is the first to report it on svc, which shows what was before. What waits for a moment is no event.
func (c Change) unannounced(svc *corev1.Service) []Event {
	now, before := c.Announced, meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionServiceAnnounced)
	switch {
	case now.Status == "" || now.Reason == v1beta1.ReasonAnnounced || now.Reason == v1beta1.ReasonNotAllocated || now.Reason == v1beta1.ReasonPending:
	case before == nil || before.Status != now.Status || before.Reason != now.Reason:
		return []Event{{corev1.EventTypeWarning, "Announce", now.Reason, now.Message}}
	}
	return nil
}

const (
	// atOnce is how many writes of conditions Announced alone are under way at once.
	atOnce = 16
	// They wait until no address has been written for quietFor, but no longer than longestHeld:
	// then betweenAddresses of them begin in each quietFor.
	betweenAddresses = 4
	quietFor         = 300 * time.Millisecond
	longestHeld      = 5 * time.Second
)

// pacer has writes of conditions Announced alone give way to those of addresses.
type pacer struct {
	since, last time.Time // of the time in which addresses are written without a pause of quietFor: its begin, and so far its end
	between     time.Time // when conditions last began in that time
}

// busy notes that an address is being written.
func (t *pacer) busy(now time.Time) {
	if now.Sub(t.last) > quietFor {
		t.since = now
	}
	t.last = now
}

// begin adds as many of the writes that are late as may begin now.
func (t *pacer) begin(s *Step, underWay map[types.UID]Attempt, now time.Time) {
	if len(s.Writes) > 0 {
		t.busy(now)
	}
	have := 0
	for _, a := range underWay {
		switch {
		case a.inFlight && a.change.AnnouncedOnly:
			have++
		case a.inFlight:
			t.busy(now)
		}
	}
	most, again := atOnce, time.Duration(0)
	if rest := t.last.Add(quietFor).Sub(now); rest > 0 {
		most, again = betweenAddresses, quietFor
		if held := max(t.since.Add(longestHeld).Sub(now), t.between.Add(quietFor).Sub(now)); held > 0 {
			most, again = 0, min(rest, held)
		}
	}
	n := max(0, min(len(s.Late), most-have))
	for _, x := range s.Late[:n] {
		s.Writes = append(s.Writes, Write{x.Object, *x.Change})
	}
	if again > 0 && n > 0 {
		t.between = now
	}
	if n < len(s.Late) {
		s.Awaits = s.Awaits || again == 0 // a pass for each that lands would take time from the addresses
		s.Again = wait.Soonest(s.Again, again)
	}
}
