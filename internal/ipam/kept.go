package ipam

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Kept is an address that waits for a Service which had it, and was deleted, in
// case the Service is made again. The caller of Assign leaves out what has ended.
type Kept struct {
	Addr  netip.Addr
	For   Key
	Until time.Time
	// Peak is how many addresses the Services of the namespace wanted when this one
	// was deleted, its own included.
	Peak int
}

// Compare orders what is kept: what is kept longest comes first.
func (k Kept) Compare(l Kept) int {
	return cmp.Or(l.Until.Compare(k.Until), k.Addr.Compare(l.Addr), k.For.Compare(l.For), cmp.Compare(l.Peak, k.Peak))
}

func (k Kept) String() string {
	return fmt.Sprintf("%s is kept for Service %s, which had it, until %s", k.Addr, k.For, k.Until.UTC().Format(time.RFC3339))
}

// keptSet is what is kept for Services, as far as pools hold it.
//
// A namespace can tie up no more than twice the addresses that it wanted at one time:
// what its Services want now and what is firmly kept for them are together at most
// that many. The rest is kept weakly: others get it when nothing else is left, or when
// they ask for it. So a user with a quota cannot tie up a pool by making and deleting
// Services, and a user who makes Services again, among new ones, gets all addresses back.
type keptSet struct {
	entries    []keptEntry // longest first
	of         map[netip.Addr][]*keptEntry
	owners     map[Key][]*keptEntry
	peak       map[string]int              // by namespace
	weak       map[*poolState][]netip.Addr // that are kept weakly, lowest first
	unused     map[*poolState][]netip.Addr // the same, less what is known to be in use
	firmCounts map[inPool]firmCount        // when all is given; nil: not counted yet
}

// keptEntry is an address that is kept.
type keptEntry struct {
	Kept
	pool  *poolState
	owner *Request // of the Service made again; nil: it is not there, or can't be given anything
	waits bool     // the owner asks for an address, and may be given this one
	weak  bool
	void  bool // in this attempt it binds no other Service: the owner has an address, or can't have this one
	given bool // the owner, whose quota had no room for it, has another one: it is void in all further attempts
}

// newKeptSet prepares what is kept.
func newKeptSet(ix *poolIndex, requests []*Request, kept []Kept) keptSet {
	var out keptSet
	if len(kept) == 0 {
		return out
	}
	known := make(map[Kept]bool, len(kept)) // ignoring their ends and peaks
	for _, k := range slices.SortedFunc(slices.Values(kept), Kept.Compare) {
		same := Kept{Addr: k.Addr, For: k.For}
		if s := ix.find(k.Addr); s != nil && !known[same] { // without a pool it waits for one that holds it
			known[same] = true
			out.entries = append(out.entries, keptEntry{Kept: k, pool: s})
		}
	}
	out.of, out.owners = map[netip.Addr][]*keptEntry{}, map[Key][]*keptEntry{}
	peak, wanted := map[string]int{}, map[string]int{}
	out.peak = peak
	for i := range out.entries {
		e := &out.entries[i]
		out.of[e.Addr] = append(out.of[e.Addr], e)
		out.owners[e.For] = append(out.owners[e.For], e)
		peak[e.For.Namespace] = max(peak[e.For.Namespace], e.Peak)
	}
	for _, r := range requests {
		if _, concerned := peak[r.Service.Namespace]; !concerned {
			continue
		}
		wanted[r.Service.Namespace] += ix.wants(r)
		for _, e := range out.owners[r.Service] {
			if !r.StatusLocked && r.Invalid == "" {
				e.owner, e.waits = r, e.fits(r)
			}
		}
	}
	out.bound(wanted)
	return out
}

// fits reports whether r, which was made again, may be given the address, as far as it
// and the pool go.
func (e *keptEntry) fits(r *Request) bool {
	f := FamilyOf(e.Addr)
	asks := slices.Contains(r.Want, e.Addr)
	switch {
	case !slices.Contains(r.Families.Want, f):
		return false
	case r.asksForOthers(e.Addr):
		return false
	case !asks && !e.pool.chooses(e.Addr, r), asks && e.pool.refuses(e.Addr, r):
		return false
	}
	return (asks || e.pool.AutoAssign || r.Pool != "") && e.pool.suits(r)
}

// bound finds what is kept weakly.
func (rs *keptSet) bound(wanted map[string]int) {
	rs.weak = map[*poolState][]netip.Addr{}
	firm := map[string]int{}
	counted := map[Kept]bool{}
	for i := range rs.entries {
		e := &rs.entries[i]
		ns := e.For.Namespace
		once := Kept{Addr: e.Addr, For: Key{Namespace: ns}} // however many of the namespace shared it
		if e.owner != nil || counted[once] {
			continue
		}
		if firm[ns]+wanted[ns] < 2*rs.peak[ns] {
			firm[ns]++
			counted[once] = true
			continue
		}
		e.weak = true
		rs.weak[e.pool] = append(rs.weak[e.pool], e.Addr)
	}
	for _, addrs := range rs.weak {
		slices.SortFunc(addrs, netip.Addr.Compare)
	}
	rs.unused = maps.Clone(rs.weak)
}

// rewind makes the set as if nothing had been given yet.
func (rs *keptSet) rewind() {
	for i := range rs.entries {
		rs.entries[i].void = rs.entries[i].given
	}
	rs.firmCounts = nil
	rs.unused = maps.Clone(rs.weak)
}

// has reports whether a is kept for any Service.
func (rs *keptSet) has(a netip.Addr) bool {
	return slices.ContainsFunc(rs.of[a], func(e *keptEntry) bool { return !e.void })
}

// blocking returns the entry that keeps a from r, or nil. What r has is its own, and what is
// reserved for r waits for no other Service.
func (rs *keptSet) blocking(a netip.Addr, r *Request) *keptEntry {
	var first *keptEntry
	for _, e := range rs.of[a] { // none, usually
		switch {
		case e.void:
		case e.For == r.Service:
			return nil
		case !e.weak && first == nil:
			first = e
		}
	}
	if first != nil && (r.has(a) || slices.Contains(r.Reserved, a)) {
		return nil
	}
	return first
}

// keptFor returns the address of family f that is kept for r and that it can have now.
func (al *allocation) keptFor(r *Request, f Family) pooledAddr {
	for _, e := range al.kept.owners[r.Service] {
		if al.mayRetake(r, f, e) {
			return pooledAddr{e.Addr, e.pool}
		}
	}
	return pooledAddr{}
}

// mayRetake reports whether r can have what e keeps for it now for family f.
func (al *allocation) mayRetake(r *Request, f Family, e *keptEntry) bool {
	return e.waits && !e.void && FamilyOf(e.Addr) == f && !e.pool.Frozen && !al.own.has(e.Addr) && (al.own == nil || al.own.room(r, e.Addr)) &&
		!al.blocked(e.Addr, r) && al.exceeded(r, pooledAddr{e.Addr, e.pool}) == nil
}

// weaklyKept returns the lowest address of family f of s that is kept, but only weakly,
// and that r may have.
func (al *allocation) weaklyKept(s *poolState, f Family, r *Request) (netip.Addr, bool) {
	unused := al.kept.unused[s]
	for len(unused) > 0 && al.firstHolder(unused[0]) != nil {
		unused = unused[1:]
	}
	al.kept.unused[s] = unused
	i := slices.IndexFunc(unused, func(a netip.Addr) bool {
		return FamilyOf(a) == f && al.firstHolder(a) == nil && s.chooses(a, r) && !al.own.has(a) && !al.blocked(a, r)
	})
	if i < 0 {
		return netip.Addr{}, false
	}
	return unused[i], true
}

// isKeptFor reports whether a is kept for r.
func (al *allocation) isKeptFor(a netip.Addr, r *Request) bool {
	return slices.ContainsFunc(al.kept.owners[r.Service], func(e *keptEntry) bool { return e.Addr == a && e.waits && !e.void })
}

// reclaim gives Services that were made again what is kept for them, before others
// are given anything. What an owner no longer takes binds no other Service.
func (p *pass) reclaim() {
	if len(p.kept.entries) == 0 {
		return
	}
	complete := map[Key]bool{} // the owners, except those that wait
	for k := range p.kept.owners {
		complete[k] = true
	}
	waiting := p.waiting[:0]
	for _, w := range p.waiting {
		r := p.request(w.rank)
		delete(complete, r.Service)
		if len(p.kept.owners[r.Service]) == 0 || r.Invalid != "" || !p.retake(&w) {
			waiting = append(waiting, w)
		}
	}
	p.waiting = waiting
	for i := range p.kept.entries {
		e := &p.kept.entries[i]
		e.void = e.void || e.owner != nil && (!e.waits || complete[e.For])
	}
}

// retake gives a waiter what is kept for it, unless it gives up, and reports whether it
// needs nothing more.
func (p *pass) retake(w *waiter) bool {
	r, before, yields := p.request(w.rank), w.retained, p.givesUp[w.rank]
	h := w.retained
	p.own, p.drawn = &h, nil
	for _, f := range r.Families.Want {
		left := p.giveBackAll(r, w, f)
		for x := p.keptFor(r, f); x.pool != nil; x = p.keptFor(r, f) {
			h.add(x)
			p.draw(x)
			left = left[min(1, len(left)):]
		}
		for _, x := range left {
			p.charge(r, x)
		}
		w.leaves = append(w.leaves, left...)
		lacks := h.number(r, f) < r.number(f)
		for _, e := range p.kept.owners[r.Service] {
			waits := yields && h.has(e.Addr) && !before.has(e.Addr) || lacks && !h.has(e.Addr) && (e.pool.Frozen || p.exceeded(r, pooledAddr{e.Addr, e.pool}) != nil)
			if FamilyOf(e.Addr) == f && !waits { // it has one, or cannot have this one: another Service uses it
				e.void = true
			}
		}
	}
	if p.own, p.drawn = nil, nil; !yields {
		w.retained = h
	}
	p.enterAll(w.rank, w.retained, before)
	if !w.retained.complete(r) {
		return false
	}
	p.grant(r, &w.retained, &p.grants[p.order[w.rank]])
	return true
}

// abandon has what is kept for r, and waited for room in its quotas, bind no other Service if h has
// all of that family. It reports whether that is new: others could not have it till now.
func (al *allocation) abandon(r *Request, h holding) (again bool) {
	if len(r.Quotas) == 0 {
		return false
	}
	for _, e := range al.kept.owners[r.Service] {
		if f := FamilyOf(e.Addr); h.number(r, f) >= r.number(f) && !h.has(e.Addr) && !e.void && !e.pool.Frozen {
			e.given, again = true, true
		}
	}
	return again
}

// firmCount is what is kept firmly in a pool, of one family, and no Service has: how much, and
// what is kept for the shortest time.
type firmCount struct {
	n    int
	next *keptEntry
}

// inPool identifies what a firmCount counts.
type inPool struct {
	pool   *poolState
	family Family
}

// count finds what is kept in all pools once everything is given: several callers may ask.
func (al *allocation) count() map[inPool]firmCount {
	out := map[inPool]firmCount{}
	for i := range al.kept.entries { // the longest first
		e := &al.kept.entries[i]
		if at := (inPool{e.pool, FamilyOf(e.Addr)}); !e.void && !e.weak && al.firstHolder(e.Addr) == nil {
			out[at] = firmCount{out[at].n + 1, e}
		}
	}
	return out
}

// nextKept tells which of the addresses that are kept in pools is kept for the
// shortest time, or "".
func (al *allocation) nextKept(f Family, pools []*poolState) string {
	if len(al.kept.entries) == 0 {
		return ""
	}
	if al.kept.firmCounts == nil {
		al.kept.firmCounts = al.count()
	}
	var all firmCount
	for _, s := range pools {
		x := al.kept.firmCounts[inPool{s, f}]
		if all.n += x.n; all.next == nil || x.next != nil && x.next.Compare(all.next.Kept) > 0 {
			all.next = x.next
		}
	}
	switch all.n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("; %s", all.next.Kept)
	}
	return fmt.Sprintf("; %s, and %d more for longer", all.next.Kept, all.n-1)
}

// Pending returns those of kept that Services may still come back for, in no order:
// neither has the Service an address of that family again, nor does it ask for another
// one. What no pool holds waits for one that does.
func Pending(pools Pools, requests []*Request, kept []Kept) []Kept {
	d := new(Allocator)
	d.Assign(pools, requests, kept)
	return d.Pending()
}

// pending returns those of kept that are not void.
func (rs *keptSet) pending(ix *poolIndex, kept []Kept) []Kept {
	var out []Kept
	for _, k := range kept {
		if ix.find(k.Addr) == nil {
			out = append(out, k)
		}
	}
	for i := range rs.entries {
		e := &rs.entries[i]
		if e.owner == nil || e.waits && e.owner.comesBackFor(e.Addr) {
			k := e.Kept
			k.Peak = rs.peak[k.For.Namespace] // also of those that are left out
			out = append(out, k)
		}
	}
	return out
}

// comesBackFor reports whether r does not have a, and lacks an address of its family.
func (r *Request) comesBackFor(a netip.Addr) bool {
	others := slices.DeleteFunc(slices.Clone(r.Has), r.beside)
	return !r.has(a) && numberOf(others, FamilyOf(a)) < r.number(FamilyOf(a))
}

// Bounded returns at most n of kept. Of each namespace those that are kept longest
// come first, and the namespaces alternate: one with many kept addresses does not take
// the place of others.
func Bounded(kept []Kept, n int) []Kept {
	if len(kept) <= n {
		return kept
	}
	sorted := slices.SortedFunc(slices.Values(kept), Kept.Compare)
	seen, rank := map[string]int{}, make([]int, len(sorted))
	order := make([]int, len(sorted))
	for i, k := range sorted {
		order[i], rank[i] = i, seen[k.For.Namespace]
		seen[k.For.Namespace]++
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(rank[i], rank[j]) })
	out := make([]Kept, n)
	for i := range out {
		out[i] = sorted[order[i]]
	}
	return out
}
