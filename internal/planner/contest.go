package planner

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

const (
	// contestedAfter is how often what we wrote to a Service must have been
	// overwritten until it counts as contested, and the next write waits. Before, it may
	// have been a user's mistake.
	contestedAfter = 3
	// firstContest and LongestContestPause are the pauses before the next write: each is
	// twice as long as the one before.
	firstContest        = time.Second
	LongestContestPause = 5 * time.Minute
	// Quiet is how long what we wrote must stand until a contest is over. It is
	// longer than the pauses: in one of them there is nothing to overwrite.
	Quiet = 2 * LongestContestPause
)

// Contest is the state of a Service whose status another client overwrites.
// Until it is written again the Service keeps what it was assigned: no other Service
// gets that.
type Contest struct {
	ours      []netip.Addr // what it was assigned
	stands    bool         // it shows that, as far as is known
	times     int          // how often it was overwritten
	since     time.Time    // when it was last overwritten, or written
	notBefore time.Time    // when to write it again
	by        string       // the field managers that overwrote it, for people; "": unknown
}

// waits reports whether the Service is to be left as it is, for now.
func (c Contest) waits(now time.Time) bool {
	return c.times > 0 && !c.stands && now.Before(c.notBefore)
}

// holds returns what the Service is to count as having, which shows those
// addresses: what it was assigned, and also what it shows if that stays so.
func (c Contest) holds(shows []netip.Addr, stays bool) []netip.Addr {
	switch {
	case !c.overwritten():
		return shows
	case stays:
		return slices.Concat(c.ours, without(shows, c.ours))
	}
	return c.ours
}

// same reports whether two contests ask for the same change of a Service.
func (c Contest) same(d Contest) bool {
	return c.stands == d.stands && c.reported() == d.reported() && (!c.reported() || c.message() == d.message()) && (c.times == 0) == (d.times == 0)
}

// overwritten reports whether the Service shows what another client wrote.
func (c Contest) overwritten() bool { return c.times > 0 && !c.stands }

// reported reports whether people are to know of it.
func (c Contest) reported() bool { return c.times >= contestedAfter }

// lost records that another client was faster, or has overwritten the status.
func (c *Contest) lost(now time.Time) {
	c.times++
	c.stands, c.since, c.notBefore = false, now, now
	if n := c.times - contestedAfter; n >= 0 {
		c.notBefore = now.Add(min(firstContest<<min(n, 10), LongestContestPause))
	}
}

// contests holds the contests of Services, and what was written to Services since
// they were seen last. It reads no clock and has no lock. The zero contests are empty.
type contests struct {
	open  map[types.UID]Contest
	wrote map[types.UID][]netip.Addr
}

// Arrival is a version of a Service that no pass has seen before.
type Arrival struct {
	svc     *corev1.Service
	settled bool         // the version before it showed what the plan said:
	agreed  []netip.Addr // this
}

// after adds what the version before showed, if it is of the same Service.
func (v Arrival) after(x *Service) Arrival {
	if x != nil && x.Object.UID == v.svc.UID && x.judged && (x.Change == nil || x.Change.AnnouncedOnly) && !x.early && !x.releasing {
		v.agreed = intent.Holds(x.Object)
		v.settled = slices.Equal(v.agreed, x.grant.Addrs)
	}
	return v
}

// write notes that a Service shows what was written to it.
func (c *contests) write(uid types.UID, addrs []netip.Addr, now time.Time) {
	if x, ok := c.open[uid]; ok {
		x.ours, x.stands, x.since = addrs, true, now
		c.open[uid] = x
		return
	}
	if c.wrote == nil {
		c.wrote = map[types.UID][]netip.Addr{}
	}
	c.wrote[uid] = addrs
}

// conflict records that another client was faster than a write to a Service that is
// overwritten already. Without the other client's name the cache may just be behind.
func (c *contests) conflict(uid types.UID, now time.Time) {
	if x, ok := c.open[uid]; ok && !x.stands && x.by != "" {
		x.lost(now)
		c.open[uid] = x
	}
}

// see finds out whether another client has overwritten what a Service showed.
func (c *contests) see(v Arrival, a Attempt, now time.Time) {
	uid, shows := v.svc.UID, intent.Holds(v.svc)
	x, open := c.open[uid]
	ours, known := c.wrote[uid]
	switch delete(c.wrote, uid); {
	case open:
		ours, known = x.ours, true
	case !known:
		ours, known = v.agreed, v.settled
	}
	switch {
	case a.explains(shows): // an answer is yet to come, or was lost
	case !known:
	case slices.Equal(shows, ours):
		if open && !x.stands {
			c.write(uid, ours, now)
		}
	case open && !x.stands: // that is known
	case len(shows) > 0 && writersOf(v.svc) == "": // another replica of ours leads, or did: no other client, and nothing to contradict
	default:
		x.ours, x.by = ours, writersOf(v.svc)
		x.lost(now)
		if c.open == nil {
			c.open = map[types.UID]Contest{}
		}
		c.open[uid] = x
	}
}

// left forgets a Service that is gone, or not ours any more.
func (c *contests) left(uid types.UID) {
	delete(c.open, uid)
	delete(c.wrote, uid)
}

// at returns the contests that are not over.
func (c *contests) at(now time.Time) map[types.UID]Contest {
	maps.DeleteFunc(c.open, func(_ types.UID, x Contest) bool { return x.stands && now.Sub(x.since) >= Quiet })
	return maps.Clone(c.open)
}

// writersOf names the field managers that wrote the addresses which svc shows.
// The cache keeps only those that are none of ours.
func writersOf(svc *corev1.Service) string {
	var names []string
	for _, m := range svc.ManagedFields {
		if name := printable.Quote(m.Manager); !slices.Contains(names, name) && len(names) < 3 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// message is what the condition and the event say.
func (c Contest) message() string {
	who := "a client, whose field manager is not known,"
	if c.by != "" {
		who = "field manager " + c.by
	}
	assigned := "no address"
	if len(c.ours) > 0 {
		assigned = intent.Join(c.ours)
	}
	return printable.Message(who + " overwrites the addresses in the status of this Service. Steelyard assigned " + assigned + ", which no other Service gets meanwhile, and writes it " +
		"again after longer and longer pauses, up to " + LongestContestPause.String() + ". Until then the status shows what the other wrote. " +
		"Let one load balancer serve this Service: set spec.loadBalancerClass, or turn the other one off")
}

// mark puts the condition Contested among the conditions, or takes it away. It
// reports whether that changes anything.
func (c Contest) mark(conditions *[]metav1.Condition) bool {
	if !c.reported() {
		return meta.RemoveStatusCondition(conditions, v1beta1.ConditionContested)
	}
	before := meta.FindStatusCondition(*conditions, v1beta1.ConditionContested)
	said := before != nil && before.Status == metav1.ConditionTrue && before.Message == c.message()
	intent.SetCondition(conditions, metav1.Condition{
		Type: v1beta1.ConditionContested, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonStatusOverwritten, Message: c.message(),
	})
	return !said
}

// again returns when something is to be done about it if nothing happens before;
// 0: nothing is.
func (c Contest) again(now time.Time) time.Duration {
	switch {
	case c.times == 0:
	case !c.stands:
		return max(0, c.notBefore.Sub(now))
	case c.reported():
		return c.since.Add(Quiet).Sub(now)
	}
	return 0
}
