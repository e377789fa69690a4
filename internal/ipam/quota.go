package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// Quota limits how many addresses the Services of some namespaces have together: those whose
// Request names it. An address that several Services of one namespace have counts once, and one
// that is reserved for such a namespace counts, whether or not a Service has it. What a Service keeps
// beside other addresses, since its pool is being replaced, does not count.
type Quota struct {
	Index    int             // among all quotas, from 0: two are the same if theirs is
	Name     string          // of the AddressQuota
	Text     string          // what it allows, as in "4 addresses of IPAddressPools lan in namespace shop"
	Limit    int             // how many it allows
	Pools    map[string]bool // whose addresses count; nil: all
	Family   Family          // whose addresses count; 0: both
	Reserved int             // how many that count are reserved for its namespaces
}

// Counts reports whether an address of that pool and family counts.
func (q *Quota) Counts(pool string, f Family) bool {
	return (q.Pools == nil || q.Pools[pool]) && (q.Family == 0 || q.Family == f)
}

// Used counts what each quota counts of the addresses that requests were granted and of what is
// reserved, by the namespaces that have them. The requests that have a quota are those of its namespaces.
func Used(o *Occupied, requests []*Request, grants []Grant) map[*Quota]map[string]int {
	type had struct {
		addr netip.Addr
		by   string
	}
	out, seen := map[*Quota]map[string]int{}, map[had]bool{}
	for i, r := range requests {
		for j, a := range grants[i].Addrs {
			by := had{a, r.Service.Namespace}
			if len(r.Quotas) == 0 || o.isReservedIn(a, by.by) || seen[by] || r.beside(a) {
				continue
			}
			seen[by] = true
			for _, q := range r.Quotas {
				if q.Counts(grants[i].Pools[j], FamilyOf(a)) {
					if out[q] == nil {
						out[q] = map[string]int{}
					}
					out[q][by.by]++
				}
			}
		}
	}
	return out
}

// ledger is what counts for the quotas so far.
type ledger struct {
	used  []quotaUse      // by Quota.Index; what is not there is zero
	also  map[nameAt]bool // of addresses with holders of several namespaces those beside that of the first
	free  map[nameAt]bool // what Services keep beside other addresses, and whether it counts all the same, for another Service
	drawn []pooledAddr    // what is being chosen for a Service, and it does not have yet
	off   bool            // quotas do not limit anything
}

// quotaUse is what counts for one quota, without what is reserved.
type quotaUse struct {
	n       int
	granted bool // some of it is new
}

// nameAt is a namespace at an address.
type nameAt struct {
	namespace string
	addr      netip.Addr
}

func (l *ledger) clear() {
	clear(l.used)
	clear(l.also)
	for at := range l.free {
		l.free[at] = false
	}
	l.drawn = nil
}

// use is what counts for q so far.
func (l *ledger) use(q *Quota) *quotaUse {
	if q.Index >= len(l.used) {
		l.used = slices.Grow(l.used, q.Index+1-len(l.used))[:q.Index+1]
	}
	return &l.used[q.Index]
}

// counted reports whether x counts for the namespace of r already, or does not count for r.
func (al *allocation) counted(r *Request, x pooledAddr) bool {
	if counts, some := al.free[nameAt{r.Service.Namespace, x.addr}]; some {
		return counts || r.beside(x.addr) || al.isReservedFor(r, x)
	}
	return al.isReservedFor(r, x) || al.isHeldIn(r.Service.Namespace, al.firstHolder(x.addr))
}

// isReservedFor reports whether x counts for the namespace of r since it is reserved there.
func (al *allocation) isReservedFor(r *Request, x pooledAddr) bool {
	return x.pool != nil && x.pool.reserved.mayHave(x.addr) && x.pool.Occupied.isReservedIn(x.addr, r.Service.Namespace) && al.find(x.addr) != nil
}

// isHeldIn reports whether a Service of a namespace has an address, whose first holder is given.
func (al *allocation) isHeldIn(namespace string, first *holder) bool {
	return first != nil && (al.request(first.rank).Service.Namespace == namespace || first.crossNamespace && al.also[nameAt{namespace, first.addr}])
}

// charge has x, which does not count yet, count for the quotas of r.
func (al *allocation) charge(r *Request, x pooledAddr) {
	f, fresh := FamilyOf(x.addr), !r.has(x.addr)
	for _, q := range r.Quotas {
		if x.pool.counts(q, f) {
			u := al.use(q)
			u.n, u.granted = u.n+1, u.granted || fresh
		}
	}
}

// counts reports whether an address of family f of s counts for q; s is nil if no pool has the address. It is
// asked about each address: it remembers.
func (s *poolState) counts(q *Quota, f Family) bool {
	if q.Pools == nil || s == nil {
		return q.Counts("", f)
	}
	if q.Index >= len(s.counting) {
		s.counting = append(s.counting, make([]answer, q.Index+1-len(s.counting))...)
	}
	if s.counting[q.Index] == unknown {
		s.counting[q.Index] = no
		if q.Pools[s.Name] {
			s.counting[q.Index] = yes
		}
	}
	return s.counting[q.Index] == yes && (q.Family == 0 || q.Family == f)
}

// answer is what is remembered of a question.
type answer uint8

// The answers.
const (
	unknown answer = iota
	no
	yes
)

// chargeHolder has x, of which a Service has become a holder, count for the quotas of its namespace,
// unless it does already.
func (al *allocation) chargeHolder(rank int32, x pooledAddr, first *holder) {
	r := al.request(rank)
	if len(r.Quotas) == 0 || al.isReservedFor(r, x) {
		return
	}
	at := nameAt{r.Service.Namespace, x.addr}
	counts, some := al.free[at]
	if some && !counts && !r.beside(x.addr) {
		al.free[at] = true
		al.charge(r, x)
	}
	if !some && (first.rank == rank || !al.isHeldIn(r.Service.Namespace, first)) {
		al.charge(r, x)
	}
}

// giveBack has x, which r leaves, count no more.
func (al *allocation) giveBack(r *Request, x pooledAddr) {
	for _, q := range r.Quotas {
		if x.pool != nil && x.pool.counts(q, FamilyOf(x.addr)) {
			al.use(q).n--
		}
	}
}

// exceeded returns a quota that does not let r have x beside what is drawn for it; nil: all
// do. What r has it keeps, if no Service has been given, or is being given, what counts for the same.
func (al *allocation) exceeded(r *Request, x pooledAddr) *Quota {
	if len(r.Quotas) == 0 || al.off || al.counted(r, x) {
		return nil
	}
	for _, q := range r.Quotas {
		if !x.pool.counts(q, FamilyOf(x.addr)) {
			continue
		}
		drawn, fresh := al.drawnOf(q, r)
		if u := al.use(q); q.Reserved+u.n+drawn >= q.Limit && (u.granted || fresh || !r.has(x.addr)) {
			return q
		}
	}
	return nil
}

// drawnOf is how much of what is drawn for r counts for q, and whether some of it is new.
func (al *allocation) drawnOf(q *Quota, r *Request) (n int, fresh bool) {
	for _, x := range al.drawn {
		if x.pool.counts(q, FamilyOf(x.addr)) && !al.counted(r, x) {
			n, fresh = n+1, fresh || !r.has(x.addr)
		}
	}
	return n, fresh
}

// draw has x count for what is chosen for r after it.
func (al *allocation) draw(x pooledAddr) {
	if x.pool != nil {
		al.drawn = append(slices.Clip(al.drawn), x)
	}
}

// affords reports whether r may have all of more beside what is drawn for it.
func (al *allocation) affords(r *Request, more holding) bool {
	if len(r.Quotas) == 0 {
		return true
	}
	before := al.drawn
	defer func() { al.drawn = before }()
	for _, x := range more.at {
		if x.pool != nil && al.exceeded(r, x) != nil {
			return false
		}
		al.draw(x)
	}
	return true
}

// spent is how much counts for the quotas of r.
func (al *allocation) spent(r *Request) (n int) {
	for _, q := range r.Quotas {
		n += al.use(q).n
	}
	return n
}

// room reports whether the quotas of r let it have one more address of family f of s, that no
// Service has.
func (al *allocation) room(s *poolState, f Family, r *Request) bool { return al.full(s, f, r) == nil }

// full returns a quota of r that has no room for one more address of family f of s; nil: all have.
func (al *allocation) full(s *poolState, f Family, r *Request) *Quota {
	for _, q := range r.Quotas {
		if al.off || !s.counts(q, f) {
			continue
		}
		if drawn, _ := al.drawnOf(q, r); q.Reserved+al.use(q).n+drawn >= q.Limit {
			return q
		}
	}
	return nil
}

// unlimited has f find out what could be had without quotas.
func (l *ledger) unlimited(f func()) {
	l.off = true
	f()
	l.off = false
}

// freeButFor reports whether only quotas keep s from giving r an address of family f.
func (al *allocation) freeButFor(s *poolState, f Family, r *Request) (free bool) {
	if len(r.Quotas) > 0 {
		al.unlimited(func() { _, free = al.nextFree(s, f, r) })
	}
	return free
}

// overQuota says which quota does not let r have an address of family f that it could have
// otherwise; the zero refusal: none does.
func (al *allocation) overQuota(r *Request, f Family) refusal {
	if len(r.Quotas) == 0 {
		return refusal{}
	}
	var x pooledAddr
	if al.unlimited(func() { x = al.another(r, f) }); x.pool != nil {
		return al.quotaRefusal(r, x)
	}
	for _, s := range al.servingPools(r, f) { // its IPAM is not asked
		if s.awaits(f, r) {
			return al.refusalBy(al.full(s, f, r), r)
		}
	}
	return refusal{}
}

// quotaRefusal says which quota does not let r have x; the zero refusal: all do.
func (al *allocation) quotaRefusal(r *Request, x pooledAddr) refusal {
	return al.refusalBy(al.exceeded(r, x), r)
}

// refusalBy says that q does not let r have an address; the zero refusal: q is nil.
func (al *allocation) refusalBy(q *Quota, r *Request) refusal {
	if q == nil {
		return refusal{}
	}
	used := fmt.Sprintf("%d are in use", al.use(q).n)
	if q.Reserved > 0 {
		used += fmt.Sprintf(" and %d reserved", q.Reserved)
	}
	if n, _ := al.drawnOf(q, r); n > 0 {
		used += fmt.Sprintf(", and this Service needs %d more", n+1)
	}
	return refuse(QuotaExceeded, "AddressQuota %q allows %s, and %s: delete a Service that has one, share one (annotation %s), or have the quota raised", q.Name, q.Text, used, sharingAnnotation)
}

// checkQuotas checks whether the quotas of r let it have the addresses that it asks for beyond what
// it retained.
func (al *allocation) checkQuotas(r *Request, retained holding) refusal {
	for _, a := range r.Want {
		if retained.has(a) {
			continue
		}
		x := pooledAddr{a, al.find(a)}
		if no := al.quotaRefusal(r, x); no.reason != "" {
			return no
		}
		al.draw(x)
	}
	return refusal{}
}

// affordable returns what of h, which r has and none of which counts yet, its quotas let it keep.
func (al *allocation) affordable(r *Request, h holding) holding {
	al.drawn = nil
	if len(r.Quotas) == 0 {
		return h
	}
	out := holding{moved: h.moved}
	for _, x := range append(h.at[:len(h.at):len(h.at)], h.more...) {
		if x.pool == nil {
			continue
		}
		if no := al.quotaRefusal(r, x); no.reason != "" {
			out.moved = no.message
			continue
		}
		out.add(x)
		al.draw(x)
	}
	return out
}

// leaving returns what r gives up for other addresses, if there are some, and has it count for
// its quotas until r is served: no other Service gets the room meanwhile.
func (al *allocation) leaving(r *Request, retained holding) (out []pooledAddr) {
	if len(r.Quotas) == 0 || len(r.Leaves) == 0 { // usually
		return nil
	}
	for i, a := range r.Has {
		if x, f := (pooledAddr{a, al.find(a)}), FamilyOf(a); retained.number(r, f) < r.number(f) && al.leaves(r, a) && !retained.has(a) && !slices.Contains(r.Has[:i], a) {
			out = append(out, x)
			al.charge(r, x)
		}
	}
	return out
}

// giveBackAll gives back what w leaves of family f, and returns it.
func (al *allocation) giveBackAll(r *Request, w *waiter, f Family) (out []pooledAddr) {
	w.leaves = slices.DeleteFunc(slices.Clone(w.leaves), func(x pooledAddr) bool {
		of := FamilyOf(x.addr) == f
		if of {
			al.giveBack(r, x)
			out = append(out, x)
		}
		return of
	})
	return out
}
