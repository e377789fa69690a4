package planner

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// KeptAddresses remembers which addresses are kept for Services that were deleted. Every
// replica has one, so that a new leader knows what was deleted while no replica led; the
// statuses of pools remember it for those that start. The zero KeptAddresses is ready
// for use. It reads no clock, and has no lock: the caller of Plan and Watch has both.
type KeptAddresses struct {
	kept   map[keptKey]ipam.Kept
	graces map[string]time.Duration // of pools, those that are gone included
	read   bool                     // kept has what the statuses of pools say
}

type keptKey struct {
	addr netip.Addr
	key  ipam.Key
}

// removal is a Service that was deleted, or is no load balancer of ours any more.
type removal struct {
	key     ipam.Key
	origins []intent.Origin
	wanted  int             // how many addresses its namespace wanted when it was there
	lost    []intent.Origin // those of origins that it is known to have lost
}

// record takes in the pools and the removals.
func (k *KeptAddresses) record(now time.Time, c intent.Configured, departed []removal) {
	if k.kept == nil {
		k.kept, k.graces = map[keptKey]ipam.Kept{}, map[string]time.Duration{}
	}
	for i := range c.Config.Pools {
		k.graces[c.Config.Pools[i].Name] = c.Config.Pools[i].Grace
	}
	for _, d := range departed {
		for _, o := range d.origins {
			if grace := k.grace(c.Config, o); grace > 0 {
				until := now.Add(grace).Truncate(time.Second) // as a status has it
				k.kept[keptKey{o.Addr, d.key}] = ipam.Kept{Addr: o.Addr, For: d.key, Until: until, Peak: d.wanted}
			}
		}
	}
}

// grace is how long an address is kept: the graceTime of the pool that holds it, or else
// of the pool that it came from.
func (k *KeptAddresses) grace(c *intent.Config, o intent.Origin) time.Duration {
	grace, known := k.graces[cmp.Or(c.PoolOf(o.Addr), o.Pool)]
	if !known {
		return intent.DefaultGrace()
	}
	return grace
}

// Forget makes the next pass reread pool statuses: a new term begins. Removals that
// this replica saw stay known.
func (k *KeptAddresses) Forget() { k.read = false }

// addrs returns the addresses that are kept now, as far as that was known before this pass.
func (k *KeptAddresses) addrs(in Input) map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(k.kept))
	for at, x := range k.kept {
		out[at.addr] = out[at.addr] || x.Until.After(in.Now)
	}
	if !k.read {
		for _, x := range intent.Kept(in.Objects.Pools, in.Now) {
			out[x.Addr] = true
		}
	}
	return out
}

// due returns what is kept now, in no order, as far as it can be remembered.
func (k *KeptAddresses) due(now time.Time, c intent.Configured) []ipam.Kept {
	if !k.read {
		k.read = true
		for _, x := range intent.Kept(c.Objects.Pools, now) {
			if _, known := k.kept[keptKey{x.Addr, x.For}]; !known {
				k.kept[keptKey{x.Addr, x.For}] = x
			}
		}
	}
	if len(k.kept) == 0 {
		return nil
	}
	pools := map[string][]ipam.Kept{} // what no pool holds waits for one that does
	for at, x := range k.kept {
		pool := c.Config.PoolOf(x.Addr)
		if grace, known := k.graces[pool]; known && x.Until.After(now.Add(grace)) {
			x.Until = now.Add(grace).Truncate(time.Second) // it was made shorter
			k.kept[at] = x
		}
		if x.Until.After(now) {
			pools[pool] = append(pools[pool], x)
		}
	}
	var out []ipam.Kept
	for _, kept := range pools {
		out = append(out, ipam.Bounded(kept, v1beta1.MaxKept)...)
	}
	return out
}

// settle forgets all but what Services may still come back for.
func (k *KeptAddresses) settle(pending []ipam.Kept) {
	clear(k.kept)
	for _, x := range pending {
		k.kept[keptKey{x.Addr, x.For}] = x
	}
}

// removals returns which of the Services that were there before have left, or are
// about to: one that waits for us to take its address away.
func (t *Planner) removals(before, entered []*Service) []removal {
	var left []*Service
	wanted := map[string]int{}
	for _, x := range before {
		now := t.byKey[x.request.Service]
		if len(x.had()) == 0 {
			continue
		}
		if x.leftBy(now) {
			left = append(left, x)
		}
	}
	for _, x := range entered {
		if x.releasing && len(x.had()) > 0 {
			left = append(left, x)
		}
	}
	if len(left) == 0 { // usually
		return nil
	}
	for _, x := range left {
		wanted[x.request.Service.Namespace] += x.request.Asks()
	}
	for _, x := range t.byAge {
		if _, concerned := wanted[x.request.Service.Namespace]; concerned {
			wanted[x.request.Service.Namespace] += x.request.Wants()
		}
	}
	out := make([]removal, len(left))
	for i, x := range left {
		out[i] = removal{x.request.Service, x.had(), wanted[x.request.Service.Namespace], x.lostTo(t.byKey[x.request.Service])}
	}
	return out
}

// leftBy reports whether x, which had an address, has left: its key stands for now,
// perhaps nil. Of one that was of another type for a moment only the addresses are gone;
// of one from which the leader has taken them the condition says so.
func (x *Service) leftBy(now *Service) bool {
	return now == nil || now.Object.UID != x.Object.UID || len(now.request.Has) == 0 && !now.releasing && !now.refused()
}

// lostTo returns what x, whose key stands for now, has lost. What waits for us to take its address away loses it by
// our write. Of one that is still there it is not known whether a write gave it what it does not show.
func (x *Service) lostTo(now *Service) (out []intent.Origin) {
	switch {
	case x.releasing:
		return nil
	case now == nil || now.Object.UID != x.Object.UID:
		return x.had()
	}
	shows := intent.Holds(x.Object)
	return slices.DeleteFunc(slices.Clone(x.had()), func(o intent.Origin) bool { return !slices.Contains(shows, o.Addr) })
}

// refused reports whether x has no address since a leader has decided so.
func (x *Service) refused() bool {
	return meta.IsStatusConditionFalse(x.Object.Status.Conditions, v1beta1.ConditionAllocated)
}

// had returns what x had when it was last seen:
//
//   - what the plan grants it, if x showed that, or a write of that was sent, or another
//     program overwrote that; not what still waits for another Service to give it up;
//   - what x was given and showed still, though the plan moves it: x may have asked for
//     another address, and have taken that back since;
//   - what its condition says, if nothing was decided.
func (x *Service) had() []intent.Origin {
	if undecided := len(x.grant.Addrs) == 0 && x.grant.Reason == ""; undecided || x.releasing {
		return x.origins
	}
	var out []intent.Origin
	shows := intent.Holds(x.Object)
	given := slices.Concat(shows, x.sent, x.contest.ours)
	for i, a := range x.grant.Addrs {
		if x.grant.Pools[i] != "" && slices.Contains(given, a) {
			out = append(out, intent.Origin{Addr: a, Pool: x.grant.Pools[i]})
		}
	}
	for _, o := range x.origins {
		if o.Until.IsZero() && slices.Contains(shows, o.Addr) && !slices.Contains(x.grant.Addrs, o.Addr) {
			out = append(out, o)
		}
	}
	return out
}

// notWritten notes that w did not give its addresses to the Service. Earlier writes to
// the same version may have given it those in maybe.
func (t *Planner) notWritten(w Write, maybe []netip.Addr) {
	if x := t.known[w.Service]; x != nil {
		x.sent = slices.Clone(maybe)
	}
}

// send notes that w is being sent.
func (t *Planner) send(w Write) {
	if x := t.known[w.Service]; x != nil {
		x.sent = append(x.sent, without(w.Change.Addrs, x.sent)...)
	}
}

// pending returns what of s.Kept Services may still come back for. What one is being
// given counts as given when it shows it: the write may fail.
func (t *Planner) pending(s Snapshot) []ipam.Kept {
	out := t.allocator.Pending()
	known := make(map[keptKey]bool, len(out))
	for _, k := range out {
		known[keptKey{k.Addr, k.For}] = true
	}
	for _, k := range s.Kept {
		if x := t.byKey[k.For]; x != nil && !known[keptKey{k.Addr, k.For}] {
			if _, tried := s.Attempts[x.Object.UID]; tried {
				out = append(out, k)
			}
		}
	}
	return out
}

// keptIn returns what the plan keeps in each pool, by its name.
func (p Plan) keptIn() map[string][]ipam.Kept {
	out := map[string][]ipam.Kept{}
	for _, k := range p.pending {
		if pool := p.config.PoolOf(k.Addr); pool != "" {
			out[pool] = append(out[pool], k)
		}
	}
	return out
}

// nextEnd returns when the first thing ends that is kept for a time; 0: nothing is.
func (p Plan) nextEnd(now time.Time) time.Duration {
	first := time.Duration(0)
	ends := slices.Clone(p.ends)
	if next := p.conflicts.NextLook(now); !next.IsZero() {
		ends = append(ends, next)
	}
	for _, k := range p.Kept {
		ends = append(ends, k.Until)
	}
	for _, end := range ends {
		first = wait.Soonest(first, max(end.Sub(now), time.Millisecond))
	}
	return first
}

// orphaned is what a Service has of pools that are not there any more.
type orphaned struct {
	pools map[netip.Addr]string
	until time.Time // zero: nothing is said yet
}

// orphanedOf sums up origins, whose pools are gone.
func orphanedOf(origins []intent.Origin) (out orphaned) {
	out.pools = make(map[netip.Addr]string, len(origins))
	for _, o := range origins {
		out.pools[o.Addr] = o.Pool
		if out.until.IsZero() || o.Until.After(out.until) {
			out.until = o.Until
		}
	}
	return out
}

// retainUntil returns until when a Service keeps what it has of pools that are gone, if it
// is not said on it yet: for the shortest graceTime among those pools.
func retainUntil(now time.Time, graces map[string]time.Duration, g orphaned) time.Time {
	grace := intent.DefaultGrace()
	first := true
	for _, pool := range g.pools {
		d, known := graces[pool]
		if !known {
			d = intent.DefaultGrace()
		}
		if first || d < grace {
			grace, first = d, false
		}
	}
	return now.Add(grace).Truncate(time.Second)
}
