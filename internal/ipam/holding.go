package ipam

import (
	"net/netip"
	"slices"
)

// holding is what a Service has so far.
type holding struct {
	at    [2]pooledAddr // by familyIndex: the first of each family
	more  []pooledAddr  // further ones, in the order in which it got them
	moved string        // the reason for which something it held was not retained
}

// pooledAddr is an address and the pool that it is in. The zero pooledAddr is none.
type pooledAddr struct {
	addr netip.Addr
	pool *poolState
}

// familyIndex is the index of a family.
func familyIndex(f Family) int {
	if f == IPv4 {
		return 0
	}
	return 1
}

// add adds x, which h does not have.
func (h *holding) add(x pooledAddr) {
	if first := &h.at[familyIndex(FamilyOf(x.addr))]; first.pool == nil {
		*first = x
		return
	}
	h.more = append(slices.Clip(h.more), x)
}

// of returns the first of what is held of family f, and whether there is something.
func (h *holding) of(f Family) (pooledAddr, bool) {
	x := h.at[familyIndex(f)]
	return x, x.pool != nil
}

// all yields what is held of family f.
func (h *holding) all(f Family) func(yield func(pooledAddr) bool) {
	return func(yield func(pooledAddr) bool) {
		if x, held := h.of(f); !held || !yield(x) {
			return
		}
		for _, x := range h.more {
			if FamilyOf(x.addr) == f && !yield(x) {
				return
			}
		}
	}
}

// has reports whether a is held. A nil holding has nothing.
func (h *holding) has(a netip.Addr) bool {
	if h == nil {
		return false
	}
	return h.at[familyIndex(FamilyOf(a))].addr == a || slices.ContainsFunc(h.more, func(x pooledAddr) bool { return x.addr == a })
}

// isOf reports whether something of the pool of that name is held.
func (h *holding) isOf(pool string) bool {
	is := func(x pooledAddr) bool { return x.pool != nil && x.pool.Name == pool }
	return slices.ContainsFunc(h.at[:], is) || slices.ContainsFunc(h.more, is)
}

// lacks reports whether some of addrs are not in h.
func (h *holding) lacks(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !h.has(a) })
}

// count is of how many families something is held.
func (h *holding) count() (n int) {
	for i := range h.at {
		if h.at[i].pool != nil {
			n++
		}
	}
	return n
}

func (h *holding) empty() bool { return h.count() == 0 }

// number is how many addresses of family f are held, but for what r keeps beside them.
func (h *holding) number(r *Request, f Family) (n int) {
	if x, held := h.of(f); held && !r.beside(x.addr) {
		n++
	}
	for _, x := range h.more {
		if FamilyOf(x.addr) == f && !r.beside(x.addr) {
			n++
		}
	}
	return n
}

// room reports whether there is room for a, which is not held, beside what is held and what r
// asks for by address.
func (h *holding) room(r *Request, a netip.Addr) bool {
	if r.Invalid != "" {
		return true // it is not known how many are meant
	}
	f, asked := FamilyOf(a), 0
	if r.beside(a) {
		return true
	}
	for _, w := range r.Want {
		if w == a {
			return true
		}
		if FamilyOf(w) == f && !h.has(w) {
			asked++
		}
	}
	return h.number(r, f)+asked < r.number(f)
}

// complete reports whether r needs nothing more.
func (h *holding) complete(r *Request) bool {
	return r.Invalid == "" && !h.lacks(r.Want) && h.count() == len(r.Families.Want) && h.lacking(r) == 0
}

// lacking returns the first family of which r has some addresses, and fewer than it asks for; 0: none.
func (h *holding) lacking(r *Request) Family {
	for _, f := range r.Families.Want {
		if _, some := h.of(f); some && h.number(r, f) < r.number(f) {
			return f
		}
	}
	return 0
}

// beside reports whether r keeps a, which it has, beside what it asks for.
func (r *Request) beside(a netip.Addr) bool {
	return slices.Contains(r.Beside, a) && !slices.Contains(r.Want, a)
}

// besideOf returns what Services keep beside other addresses, in their namespaces.
func besideOf(requests []*Request) map[nameAt]bool {
	var out map[nameAt]bool
	for _, r := range requests {
		for _, a := range r.Beside { // none, usually
			if !r.beside(a) {
				continue
			}
			if out == nil {
				out = map[nameAt]bool{}
			}
			out[nameAt{r.Service.Namespace, a}] = false
		}
	}
	return out
}

// wants is how many addresses r may have: none if it can't be given any, and keeps none.
func (ix *poolIndex) wants(r *Request) int {
	mayRetain := func(a netip.Addr) bool {
		_, reason := ix.mayRetain(r, a)
		return reason == ""
	}
	if r.Invalid != "" && !r.StatusLocked && !slices.ContainsFunc(r.Has, mayRetain) {
		return 0
	}
	return r.Wants()
}

// Wants is how many addresses r may have. One that has none and can't be given any, as
// for example when it is being deleted, wants none.
func (r *Request) Wants() int {
	has := func(f Family) bool { return numberOf(r.Has, f) > 0 }
	if (r.StatusLocked || r.Invalid != "") && !slices.ContainsFunc(r.Families.Want, has) {
		return 0
	}
	return r.Asks()
}

// number is how many addresses of family f, which it wants, r asks for.
func (r *Request) number(f Family) int { return max(1, r.Count, numberOf(r.Want, f)) }

// Asks is how many addresses r asks for.
func (r *Request) Asks() (n int) {
	for _, f := range r.Families.Want {
		n += r.number(f)
	}
	return n
}

// asksForOthers reports whether r asks for so many addresses by address that it gets others of that family than a.
func (r *Request) asksForOthers(a netip.Addr) bool {
	return r.choosesNone(FamilyOf(a)) && !slices.Contains(r.Want, a)
}

// choosesNone reports whether r asks for all addresses of family f by address.
func (r *Request) choosesNone(f Family) bool {
	n := numberOf(r.Want, f)
	return n > 0 && n >= r.Count
}

func numberOf(addrs []netip.Addr, f Family) (n int) {
	for _, a := range addrs {
		if FamilyOf(a) == f {
			n++
		}
	}
	return n
}
