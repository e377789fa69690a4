package ipam_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// TestHistories lives through long histories of edits, each followed by one
// Assign whose grants are written. IPAM_HISTORIES says how many there are.
func TestHistories(t *testing.T) {
	n := int64(20)
	if s := os.Getenv("IPAM_HISTORIES"); s != "" {
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for seed := range n {
		w := newWorld(seed)
		w.settle(w.assign())
		for step := range 300 {
			what, world, err := w.live()
			seen[what]++
			if err != nil {
				t.Fatalf("seed %d, step %d, %s: %v\n%s", seed, step, what, err, world)
			}
		}
	}
	t.Log(seen)
	if n >= 20 && len(seen) != 32 {
		t.Errorf("there are 32 kinds of edits, and this happened: %v", seen)
	}
}

// live makes one edit, and returns the world in between: before the grants were
// written.
func (w *world) live() (what string, edited *world, err error) {
	before := w.assign()
	e := w.edit()
	w.limit()
	world := *w // what follows replaces the requests, and changes none
	grants := w.assign()
	for _, check := range []func() error{
		func() error { return lawful(w, grants) },
		func() error { return noServiceWaitsInVain(w, grants) },
		func() error { return agree(w, grants) },
		func() error {
			if diff := diffOf(assign(new(ipam.Allocator), w.pools, w.requests, w.kept), grants); diff != "" {
				return fmt.Errorf("what the allocator remembers decides:\n%s", diff)
			}
			return nil
		},
		func() error {
			if e.takes {
				return onlyPoolsTake(w, grants)
			}
			return stays(before, grants, append(w.leavers(), e.touched...)...)
		},
		func() error {
			w.settle(grants)
			if diff := diffOf(settled(grants), w.assign()); diff != "" {
				return fmt.Errorf("not stable: %s", diff)
			}
			return nil
		},
		func() error { return pendingDecides(w) },
		func() error { return waitersDoNothing(w) },
	} {
		if err := check(); err != nil {
			return e.what, &world, err
		}
	}
	return e.what, &world, nil
}

// edit is what was changed.
type edit struct {
	what    string
	touched []ipam.Key // whose addresses it may move
	takes   bool       // pools may hold or allow less than before
}

// edit changes one thing.
func (w *world) edit() edit {
	n := len(w.requests)
	switch dice := w.rng.Intn(100); {
	case dice < 25 && n < 10 || n == 0:
		return edit{what: "create", touched: []ipam.Key{w.create()}}
	case dice < 40:
		i := w.rng.Intn(n)
		return w.remove(i)
	case dice < 45 && len(w.kept) > 0:
		return w.recreate()
	case dice < 70:
		return w.editRequest(w.rng.Intn(n))
	}
	if w.chance(15) {
		return w.later()
	}
	if w.chance(15) {
		w.newQuotas()
		return edit{what: "quotas"}
	}
	w.pools = slices.Clone(w.pools)
	if len(w.pools) == 0 || w.chance(5) {
		w.pools = nil
		w.newPools()
		return edit{what: "new pools", takes: true}
	}
	return w.editPool(w.rng.Intn(len(w.pools)))
}

// editRequest changes what the ith Service asks for.
func (w *world) editRequest(i int) edit {
	e := edit{touched: w.changed(i)}
	w.requests = slices.Clone(w.requests)
	r := &w.requests[i]
	other, before := *r, *r
	w.ask(&other)
	switch w.rng.Intn(9) {
	case 7:
		e.what = "renumbering"
		w.renumber(r)
	case 0:
		e.what, r.StatusLocked, e.touched = "stuck or not", !r.StatusLocked, w.sharers(i)
	case 1:
		e.what, r.Ports = "other ports", other.Ports
	case 2:
		e.what, r.Families, r.Count = "other families", other.Families, other.Count
	case 3:
		e.what, r.Share, r.On4, r.On6 = "other sharing", other.Share, other.On4, other.On6
	case 4:
		e.what, r.Want, r.Pool = "other wishes", other.Want, other.Pool
	case 5:
		e.what = "foreign hosts"
		w.meet(r, 80)
	case 6: // no Service loses an address by that
		e.what, e.touched = "its Pods move", e.touched[1:]
		w.place(r)
	default:
		e.what, *r = "other request", other
	}
	r.Changed = r.Changed || len(r.Has) > 0 && (before.Share != r.Share || !slices.Equal(before.Ports, r.Ports))
	return e
}

// changed are the ith Service, which is about to be edited, and those that could not
// be told yet that they keep what they have in spite of an edit. No other Service loses
// an address by an edit.
func (w *world) changed(i int) []ipam.Key {
	out := []ipam.Key{w.requests[i].Service}
	if w.requests[i].StatusLocked {
		out = w.sharers(i) // of two that are stuck the older keeps what they share
	}
	for _, r := range w.requests {
		if r.Changed {
			out = append(out, r.Service)
		}
	}
	return out
}

// sharers are the Service and those who share an address with it, which is as free
// to them as it was when its status could be written.
func (w *world) sharers(i int) []ipam.Key {
	var out []ipam.Key
	for j, r := range w.requests {
		if i == j || slices.ContainsFunc(r.Has, func(a netip.Addr) bool { return slices.Contains(w.requests[i].Has, a) }) {
			out = append(out, r.Service)
		}
	}
	return out
}

// editPool changes the ith pool, and others if they are part of the change.
func (w *world) editPool(i int) edit {
	p := &w.pools[i]
	switch w.rng.Intn(17) {
	case 12:
		p.Closed = !p.Closed
		return edit{what: "replace"}
	case 13:
		p.Order = w.rng.Intn(3) - 1
		return edit{what: "order"}
	case 14:
		p.Ranges, p.Former = p.Former, p.Ranges
		return edit{what: "the prefix before is back"}
	case 15:
		p.Former = nil
		return edit{what: "the prefix before ends", takes: true}
	case 0:
		p.AutoAssign = !p.AutoAssign
		return edit{what: "autoAssign"}
	case 1:
		p.Frozen = !p.Frozen || len(p.Overlapping) > 0
		return edit{what: "freeze or thaw"}
	case 2:
		p.Priority = w.rng.Intn(3)
		return edit{what: "priority"}
	case 3:
		w.grow(p)
		return edit{what: "grow"}
	case 4:
		if w.takeOver(p) {
			return edit{what: "take over"}
		}
		return edit{what: "grow"}
	case 5:
		p.Overlapping, p.Frozen = nil, false
		return edit{what: "mend", takes: true}
	case 6:
		p.Ranges = ipam.Merge(p.Ranges, w.half(p))
		return edit{what: "shrink", takes: true}
	case 7:
		w.pools = slices.Delete(w.pools, i, i+1)
		w.vanish()
		return edit{what: "delete pool", takes: true}
	case 8:
		p.Name = w.unused(p.Name)
		return edit{what: "rename", takes: true}
	case 9:
		p.CrossNamespace = !p.CrossNamespace
		return edit{what: "sharing"}
	case 10:
		q := *p
		q.Name, q.Ranges, q.Overlapping, q.Former = w.unused(p.Name), w.half(p), nil, nil
		if q.Name != p.Name {
			p.Ranges = ipam.Merge(p.Ranges, q.Ranges)
			w.pools = append(w.pools, q)
		}
		return edit{what: "split", takes: true}
	case 11:
		w.occupy()
		return edit{what: "occupied by others"}
	}
	p.AvoidBuggy = w.chance(50)
	w.pick(p, 40)
	return edit{what: "other rules", takes: true}
}

// grow gives p an address that no pool has.
func (w *world) grow(p *ipam.Pool) {
	for _, a := range universe() {
		had := slices.ContainsFunc(w.requests, func(r ipam.Request) bool { return r.GonePools[a] != "" })
		if !had && !slices.ContainsFunc(w.pools, func(q ipam.Pool) bool { q.AvoidBuggy = false; return slices.Contains(of(q), a) || q.HeldBefore(a) }) {
			p.Ranges = ipam.Merge(append(slices.Clone(p.Ranges), ipam.Range{First: a, Last: a}), nil)
			return
		}
	}
}

// takeOver gives p half of another pool, which is frozen then, and reports
// whether there is another.
func (w *world) takeOver(p *ipam.Pool) bool {
	for i := range w.pools {
		if q := &w.pools[i]; q.Name != p.Name {
			part := w.half(q)
			p.Ranges = ipam.Merge(append(slices.Clone(p.Ranges), part...), nil)
			q.Ranges = ipam.Merge(q.Ranges, part)
			q.Overlapping, q.Frozen = ipam.Merge(append(slices.Clone(q.Overlapping), part...), nil), true
			return true
		}
	}
	return false
}

// half returns about half the addresses of p.
func (w *world) half(p *ipam.Pool) []ipam.Range {
	var out []ipam.Range
	careless := *p
	careless.AvoidBuggy = false
	for _, a := range of(careless) {
		if w.chance(50) {
			out = append(out, ipam.Range{First: a, Last: a})
		}
	}
	return ipam.Merge(out, nil)
}

// unused returns a name that no pool has, or that name.
func (w *world) unused(name string) string {
	for _, n := range poolNames() {
		if !slices.ContainsFunc(w.pools, func(p ipam.Pool) bool { return p.Name == n }) {
			return n
		}
	}
	return name
}

// remove deletes the ith Service; what it has is kept, more often than not.
func (w *world) remove(i int) edit {
	gone, wanted := w.requests[i], 0
	for _, r := range w.requests {
		if r.Service.Namespace == gone.Service.Namespace {
			wanted += r.Wants()
		}
	}
	w.requests = slices.Delete(slices.Clone(w.requests), i, i+1)
	w.kept = slices.Clone(w.kept)
	if w.chance(70) {
		w.keep(gone.Service, gone.Has, wanted)
	}
	return edit{what: "delete", touched: []ipam.Key{gone.Service}}
}

// recreate makes a Service again for which something is kept.
func (w *world) recreate() edit {
	k := w.kept[w.rng.Intn(len(w.kept))].For
	if slices.ContainsFunc(w.requests, func(r ipam.Request) bool { return r.Service == k }) {
		return w.later()
	}
	w.requests = slices.Clone(w.requests)
	w.create()
	w.requests[len(w.requests)-1].Service = k
	return edit{what: "create again", touched: []ipam.Key{k}}
}

// later lets time pass: something is not kept any more, and Services can't keep what
// was of pools that are gone.
func (w *world) later() edit {
	w.kept = slices.DeleteFunc(slices.Clone(w.kept), func(ipam.Kept) bool { return w.chance(50) })
	w.requests = slices.Clone(w.requests)
	for i := range w.requests {
		w.requests[i].GonePools = nil
	}
	return edit{what: "later", takes: true}
}

// vanish has Services keep what a pool that was deleted gave them.
func (w *world) vanish() {
	w.requests = slices.Clone(w.requests)
	for i := range w.requests {
		if r := &w.requests[i]; w.chance(70) {
			w.orphan(r, 100)
		}
	}
}

// pendingDecides fails if what no Service may come back for decides anything. The
// world must be settled.
func pendingDecides(w *world) error {
	all := w.assign()
	pending := ipam.Pending(w.pools, pointers(w.requests), w.kept)
	if diff := diffOf(all, assign(&w.allocator, w.pools, w.requests, pending)); diff != "" {
		return fmt.Errorf("without what no Service may come back for there is another end: %s", diff)
	}
	if w.chance(50) {
		w.kept = pending
	}
	return nil
}
