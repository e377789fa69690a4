package planner

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// What changes of who has which address is remembered in the pass that decides it: so it is in the
// same write of the pool's status as the count of its addresses, and costs none of its own. It is
// in log and events once it is so.

// Changed is one change of who has an address, for log and events.
type Changed struct {
	history.Entry
	Of     *v1beta1.IPAddressPool // the pool; nil: it is gone
	change v1beta1.AddressChange  // as it is remembered
}

// changes finds what one pass changes.
type changes struct {
	Input
	trail     history.Trail
	pools     map[string]*v1beta1.IPAddressPool // by name; nil: not read yet, as most passes change nothing
	answering map[string]string                 // the node that answers for each address, by the name of its L2Claim; nil: not read yet
}

// changesOf begins a pass: it reads what the statuses of pools remember, if that has not been read yet.
func (s *State) changesOf(in Input) *changes {
	if s.trail == nil {
		s.trail = history.Remembered(in.Objects.Pools)
	}
	c := &changes{Input: in, trail: s.trail}
	if len(s.trail) > len(in.Objects.Pools) {
		s.trail.Keep(func(pool string) bool { return c.pool(pool) != nil })
	}
	return c
}

// pool returns the pool of that name; nil: it is gone.
func (c *changes) pool(name string) *v1beta1.IPAddressPool {
	if c.pools == nil {
		c.pools = make(map[string]*v1beta1.IPAddressPool, len(c.Objects.Pools))
		for i := range c.Objects.Pools {
			c.pools[c.Objects.Pools[i].Name] = &c.Objects.Pools[i]
		}
	}
	return c.pools[name]
}

// departed returns what Services had that are gone.
func (c *changes) departed(all []removal) (out []Changed) {
	for _, d := range all {
		for _, o := range d.lost {
			out = append(out, c.add(c.poolOf(o.Addr, o.Pool), o.Addr, v1beta1.AddressChange{
				Service: d.key.String(), Change: v1beta1.ChangeReleased, Reason: v1beta1.ReasonServiceGone,
			}))
		}
	}
	return out
}

// written returns what w, which is being sent, takes from its Service, and gives it.
func (c *changes) written(w Write) (out []Changed) {
	service := intent.KeyOf(w.Service).String()
	for _, a := range w.Change.loses {
		pool := ""
		for _, o := range intent.Origins(w.Service) {
			if o.Addr == a {
				pool = o.Pool
			}
		}
		out = append(out, c.add(c.poolOf(a, pool), a, v1beta1.AddressChange{Service: service, Change: v1beta1.ChangeReleased, Reason: w.Change.lossReason(w.Service)}))
	}
	for _, o := range intent.OriginsIn(w.Change.Allocated.Message) {
		if slices.Contains(w.Change.gains, o.Addr) {
			out = append(out, c.add(o.Pool, o.Addr, v1beta1.AddressChange{Service: service, Change: v1beta1.ChangeGranted, Reason: v1beta1.ReasonAssigned}))
		}
	}
	return out
}

// lossReason is why c takes addresses from svc.
func (c Change) lossReason(svc *corev1.Service) string {
	switch {
	case svc.DeletionTimestamp != nil:
		return v1beta1.ReasonServiceGone
	case c.Allocated.Status == metav1.ConditionFalse:
		return c.Allocated.Reason
	}
	return v1beta1.ReasonMoved
}

// poolOf returns the pool to remember a change of a in: the one that it was given from, if that is
// there, or else the one that holds it now.
func (c *changes) poolOf(a netip.Addr, from string) string {
	if c.pool(from) == nil {
		return cmp.Or(c.Config.PoolOf(a), from)
	}
	return from
}

// add completes a change, and remembers it.
func (c *changes) add(pool string, a netip.Addr, x v1beta1.AddressChange) Changed {
	x.At, x.Address = history.At(c.Now), a.String()
	if x.Change == v1beta1.ChangeReleased {
		x.Node = c.answers(a)
	}
	out := Changed{history.EntryOf(pool, x), c.pool(pool), x}
	if x.Change == v1beta1.ChangeGranted {
		out.Was = c.trail.Was(pool, x.Address, x.Service)
	}
	if out.Of != nil {
		c.trail.Add(pool, x)
	}
	return out
}

// answers returns the node that answers for a, as its L2Claim says; "": none.
func (c *changes) answers(a netip.Addr) string {
	if c.answering == nil {
		c.answering = make(map[string]string, len(c.Claims))
		for _, claim := range c.Claims {
			if meta.IsStatusConditionTrue(claim.Status.Conditions, v1beta1.ConditionAnnounced) {
				c.answering[claim.Name] = claim.Status.Node
			}
		}
	}
	return c.answering[intent.ClaimName(a)]
}

// forget takes back what was remembered of w, which was not written.
func (s *State) forget(w Write) {
	for _, x := range w.Change.history {
		s.trail.Forget(x.Pool, x.change)
	}
}
