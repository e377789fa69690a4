package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// twinQuota is what counts for quotas, as the twin sees it.
type twinQuota struct {
	had    map[at]counts             // what the Services of a namespace have
	leaves map[ipam.Key][]netip.Addr // what Services leave, and still counts
	of     map[ipam.Key][]*ipam.Quota
	fresh  map[*ipam.Quota]bool // something is new that counts
	drawn  []netip.Addr         // chosen for the Service that is being served
}

// at is an address in a namespace.
type at struct {
	namespace string
	addr      netip.Addr
}

// counts is the pool of an address, and for which quotas it counts.
type counts struct {
	pool   string
	quotas []*ipam.Quota
}

func newTwinQuota() *twinQuota {
	return &twinQuota{map[at]counts{}, map[ipam.Key][]netip.Addr{}, map[ipam.Key][]*ipam.Quota{}, map[*ipam.Quota]bool{}, nil}
}

// reservedIn reports whether a counts for a namespace since it is reserved there.
func (w twin) reservedIn(a netip.Addr, namespace string) bool {
	p := w.poolOf(a)
	return p != nil && occupant(*p, a).Reserved != "" && slices.Contains(strings.Split(string(occupant(*p, a).ReservedIn), ","), namespace)
}

func (w twin) counted(a netip.Addr, r ipam.Request) bool {
	_, has := w.quota.had[at{r.Service.Namespace, a}]
	return has || w.reservedIn(a, r.Service.Namespace) || isBeside(a, r)
}

// charge has a count for the namespace of r.
func (w twin) charge(a netip.Addr, r ipam.Request) {
	if w.quota == nil || w.counted(a, r) {
		return
	}
	pool := w.poolFor(a, r)
	if p := w.poolOf(a); r.StatusLocked && p == nil {
		pool = ""
		if w.absent(r.GonePools[a]) && (r.Pool == "" || r.Pool == r.GonePools[a]) {
			pool = r.GonePools[a]
		}
	}
	w.quota.had[at{r.Service.Namespace, a}] = counts{pool, r.Quotas}
	for _, q := range r.Quotas {
		if q.Counts(pool, ipam.FamilyOf(a)) && !slices.Contains(r.Has, a) {
			w.quota.fresh[q] = true
		}
	}
}

// used is what counts for q, beside what is chosen for r.
func (w twin) used(q *ipam.Quota, r ipam.Request) int {
	n := q.Reserved
	for k, c := range w.quota.had {
		if slices.Contains(c.quotas, q) && q.Counts(c.pool, ipam.FamilyOf(k.addr)) && !w.reservedIn(k.addr, k.namespace) {
			n++
		}
	}
	for k, addrs := range w.quota.leaves {
		for _, a := range addrs {
			if slices.Contains(w.quota.of[k], q) && q.Counts(w.poolOf(a).Name, ipam.FamilyOf(a)) {
				n++
			}
		}
	}
	for _, a := range w.quota.drawn {
		if q.Counts(w.poolFor(a, r), ipam.FamilyOf(a)) && !w.counted(a, r) {
			n++
		}
	}
	return n
}

// affords reports whether the quotas of r let it have a beside what is chosen for it.
func (w twin) affords(r ipam.Request, a netip.Addr) bool {
	if w.quota == nil || w.counted(a, r) {
		return true
	}
	return !slices.ContainsFunc(r.Quotas, func(q *ipam.Quota) bool {
		own := slices.Contains(r.Has, a) && !w.quota.fresh[q] && !slices.ContainsFunc(w.quota.drawn, func(b netip.Addr) bool {
			return q.Counts(w.poolFor(b, r), ipam.FamilyOf(b)) && !w.counted(b, r) && !slices.Contains(r.Has, b)
		})
		return q.Counts(w.poolFor(a, r), ipam.FamilyOf(a)) && w.used(q, r) >= q.Limit && !own
	})
}

// hasRoom reports whether the quotas of r let it have one more address of family f of p.
func (w twin) hasRoom(p ipam.Pool, f ipam.Family, r ipam.Request) bool {
	return w.quota == nil || !slices.ContainsFunc(r.Quotas, func(q *ipam.Quota) bool { return q.Counts(p.Name, f) && w.used(q, r) >= q.Limit })
}

// draw has addresses count for what is chosen for a Service after them.
func (w twin) draw(addrs ...netip.Addr) {
	if w.quota != nil {
		w.quota.drawn = append(slices.Clone(w.quota.drawn), addrs...)
	}
}

// drawn returns what is chosen so far, and undraw goes back to that.
func (w twin) drawn() []netip.Addr {
	if w.quota == nil {
		return nil
	}
	return w.quota.drawn
}

func (w twin) undraw(drawn []netip.Addr) {
	if w.quota != nil {
		w.quota.drawn = drawn
	}
}

// affordable returns what of addrs, which r has, its quotas let it keep.
func (w twin) affordable(r ipam.Request, addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare) {
		if w.affords(r, a) {
			out = append(out, a)
			w.draw(a)
		}
	}
	return inOrder(out, r)
}

// leaving is what r leaves, and counts until it is served.
func (w twin) leaving(r ipam.Request, kept []netip.Addr) (out []netip.Addr) {
	w.quota.of[r.Service] = r.Quotas
	for _, a := range r.Has {
		if f := ipam.FamilyOf(a); len(r.Quotas) > 0 && numberOf(without(kept, r), f) < countOf(r, f) && w.leaves(a, r) && !slices.Contains(kept, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// spent is what counts for the quotas of r.
func (w twin) spent(r ipam.Request) (n int) {
	for _, q := range r.Quotas {
		n += w.used(q, r)
	}
	return n
}

// lawfulQuotas fails if something new exceeds a quota.
func lawfulQuotas(w *world, grants map[ipam.Key]ipam.Grant) error {
	tw := twin{pools: unfolded(w.pools), users: map[netip.Addr][]ipam.Request{}, quota: newTwinQuota()}
	had := map[at]bool{}
	for _, r := range w.requests {
		if r.StatusLocked {
			tw.enter(r, r.Has)
		} else {
			tw.enter(r, grants[r.Service].Addrs)
		}
		for _, a := range r.Has {
			had[at{r.Service.Namespace, a}] = true
		}
	}
	for _, r := range w.requests {
		for _, q := range r.Quotas {
			if tw.used(q, r) <= q.Limit {
				continue
			}
			for k, c := range tw.quota.had {
				if slices.Contains(c.quotas, q) && q.Counts(c.pool, ipam.FamilyOf(k.addr)) && !had[k] && !tw.reservedIn(k.addr, k.namespace) {
					return fmt.Errorf("%s of namespace %s is new, and %d exceed quota %s of %d", k.addr, k.namespace, tw.used(q, r), q.Name, q.Limit)
				}
			}
		}
	}
	return nil
}

// worldQuota is a quota and its namespaces.
type worldQuota struct {
	ipam.Quota
	namespaces []string
}

// newQuotas makes quotas, in one of two worlds.
func (w *world) newQuotas() {
	w.quotas = nil
	if w.chance(50) {
		for i := range 1 + w.rng.Intn(3) {
			q := worldQuota{ipam.Quota{Name: fmt.Sprint("q", i), Limit: w.rng.Intn(5), Family: []ipam.Family{0, 0, ipam.IPv4, ipam.IPv6}[w.rng.Intn(4)]}, [][]string{{"n"}, {"m"}, {"n", "m"}}[w.rng.Intn(3)]}
			if w.chance(40) {
				q.Pools = map[string]bool{poolNames()[w.rng.Intn(4)]: true, poolNames()[w.rng.Intn(4)]: true}
			}
			w.quotas = append(w.quotas, q)
		}
	}
	w.limit()
}

// occupants are the addresses that others than Services have.
func (w *world) occupants() map[netip.Addr]ipam.Occupant {
	if len(w.pools) == 0 || w.pools[0].Occupied == nil {
		return nil
	}
	return w.pools[0].Occupied.Addrs
}

// limit gives the requests the quotas of their namespaces.
func (w *world) limit() {
	tw := twin{pools: unfolded(w.pools)}
	of := map[string][]*ipam.Quota{}
	for i, x := range w.quotas {
		q := x.Quota
		q.Index = i
		for _, ns := range x.namespaces {
			of[ns] = append(of[ns], &q)
			for a := range w.occupants() {
				if tw.reservedIn(a, ns) && q.Counts(tw.poolOf(a).Name, ipam.FamilyOf(a)) {
					q.Reserved++
				}
			}
		}
	}
	w.requests = slices.Clone(w.requests)
	for i := range w.requests {
		w.requests[i].Quotas = of[w.requests[i].Service.Namespace]
	}
}
