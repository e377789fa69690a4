package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// serve gives r what it lacks beyond what it kept, or says why it can't and
// takes nothing.
func (b *book) serve(r *Request, h holding) Grant {
	if r.Invalid != "" {
		if len(h.addrs) == 0 {
			return Grant{Reason: InvalidRequest, Message: r.Invalid, Moved: h.moved}
		}
		// Nothing that is held is lost to a slip of the pen.
		g := h.grant(r)
		g.Message = r.Invalid
		return g
	}
	for _, step := range []func(*Request, holding) refusal{b.checkPool, b.checkWanted, b.chooseWanted, b.chooseRest} {
		if no := step(r, h); no.reason != "" {
			return Grant{Reason: no.reason, Message: no.message, Moved: h.moved}
		}
	}
	b.take(r, h)
	return h.grant(r)
}

// refusal is why a request can't be met. The zero refusal: it can.
type refusal struct {
	reason  Reason
	message string
}

func refuse(reason Reason, format string, args ...any) refusal {
	return refusal{reason, fmt.Sprintf(format, args...)}
}

// checkPool checks the pool that r asks for.
func (b *book) checkPool(r *Request, _ holding) refusal {
	if r.Pool == "" {
		return refusal{}
	}
	switch p := b.pools.named(r.Pool); {
	case p == nil:
		return refuse(PoolNotFound, "IPAddressPool %q is not there", r.Pool)
	case !p.Serves(r.Service):
		return refuse(PoolNotAllowed, "IPAddressPool %q does not serve this Service: see its spec.serviceAllocation", r.Pool)
	}
	return refusal{}
}

// checkWanted checks the addresses that r asks for by name, whoever has them.
func (b *book) checkWanted(r *Request, h holding) refusal {
	for _, a := range r.Want {
		f := FamilyOf(a)
		if h.addrs[f].addr == a {
			continue
		}
		p := b.pools.Find(a)
		switch {
		case !slices.Contains(r.Families.Want, f):
			return refuse(RequestConflict, "the Service asks for %s, but its spec.ipFamilies is %s", a, list(r.Families.Want))
		case p == nil:
			return refuse(AddressOutsidePools, "no IPAddressPool holds %s", a)
		case r.Pool != "" && p.Name != r.Pool:
			return refuse(RequestConflict, "the Service asks for %s, which is of IPAddressPool %q, and for IPAddressPool %q", a, p.Name, r.Pool)
		case !p.Serves(r.Service):
			return refuse(PoolNotAllowed, "%s is of IPAddressPool %q, which does not serve this Service: see its spec.serviceAllocation", a, p.Name)
		case p.Frozen:
			return refuse(PoolNotAllowed, "%s is of IPAddressPool %q, which is not Ready", a, p.Name)
		}
	}
	return refusal{}
}

// chooseWanted enters in h the addresses that r asks for by name.
func (b *book) chooseWanted(r *Request, h holding) refusal {
	for _, a := range r.Want {
		if other, why := b.conflict(a, r); other != nil {
			reason := AddressInUse
			if r.Share.Key != "" && r.Share.Key == other.Share.Key {
				reason = SharingRefused
			}
			return refuse(reason, "Service %s has %s: %s", other.Service, a, why)
		}
		h.addrs[FamilyOf(a)] = place{a, b.pools.Find(a)}
	}
	return refusal{}
}

// chooseRest enters in h an address of each family that r still lacks: of one
// pool, if one of the most preferred pools of each family has them all.
func (b *book) chooseRest(r *Request, h holding) refusal {
	pools := b.candidates(r)
	best := map[Family]place{}
	var no refusal
	lesser := PoolExhausted // of two obstacles: that may pass by itself
	if !r.Families.All {
		lesser = FamilyUnavailable // the other family suffices
	}
	for _, f := range r.Families.Want {
		if _, held := h.addrs[f]; held {
			continue
		}
		p, a := b.first(pools, f, r)
		if p == nil {
			if why := b.whyNot(r, f, pools); no.reason == "" || no.reason == lesser && why.reason != lesser {
				no = why
			}
			continue
		}
		best[f] = place{a, p}
	}
	if no.reason != "" && (r.Families.All || len(best)+len(h.addrs) == 0) {
		return no
	}
	if len(best)+len(h.addrs) == 2 {
		b.unite(pools, best, r, h)
	}
	maps.Copy(h.addrs, best)
	return refusal{}
}

// unite moves best to one pool that is as preferred as the pools in it, and
// that what is held already is of, if there is one.
func (b *book) unite(pools []*Pool, best map[Family]place, r *Request, h holding) {
	for _, p := range pools {
		one := map[Family]place{}
		for f, x := range best {
			if a, ok := b.peek(p, f, r); ok && p.tier() == x.pool.tier() {
				one[f] = place{a, p}
			}
		}
		fits := len(one) == len(best)
		for _, x := range h.addrs {
			fits = fits && x.pool == p
		}
		if fits {
			maps.Copy(best, one)
			return
		}
	}
}

// candidates are the pools that may serve r without being asked for an
// address, the preferred ones first.
func (b *book) candidates(r *Request) []*Pool {
	var out []*Pool
	for _, p := range b.sorted {
		asked := r.Pool == p.Name
		if p.Serves(r.Service) && !p.Frozen && (asked || r.Pool == "" && p.AutoAssign) {
			out = append(out, p)
		}
	}
	return out
}

// first returns the first of pools that has a free address of family f.
func (b *book) first(pools []*Pool, f Family, r *Request) (*Pool, netip.Addr) {
	for _, p := range pools {
		if a, ok := b.peek(p, f, r); ok {
			return p, a
		}
	}
	return nil, netip.Addr{}
}

// whyNot says why none of pools gives r an address of family f.
func (b *book) whyNot(r *Request, f Family, pools []*Pool) refusal {
	if len(pools) == 0 {
		if r.Pool != "" {
			return refuse(PoolNotAllowed, "IPAddressPool %q is not Ready", r.Pool)
		}
		if len(b.pools) == 0 {
			return refuse(NoPool, "there is no IPAddressPool")
		}
		return refuse(NoPool, "no IPAddressPool serves this Service on its own accord: %s", b.describe(r))
	}
	var all, with []string
	for _, p := range pools {
		all = append(all, p.Name)
		if p.has(f) {
			with = append(with, p.Name)
		}
	}
	if len(with) == 0 {
		return refuse(FamilyUnavailable, "the Service wants %s, and none of its IPAddressPools holds any: %s", f, strings.Join(all, ", "))
	}
	return refuse(PoolExhausted, "every %s address is taken: IPAddressPools %s", f, strings.Join(with, ", "))
}

// describe says of each pool why it gives r nothing by itself.
func (b *book) describe(r *Request) string {
	var out []string
	for i, p := range b.sorted {
		why := "has autoAssign false"
		switch {
		case p.Frozen:
			why = "is not Ready"
		case !p.Serves(r.Service):
			why = "selects other Services"
		}
		if i == 5 {
			out = append(out, fmt.Sprintf("and %d more", len(b.sorted)-i))
			break
		}
		out = append(out, fmt.Sprintf("%q %s", p.Name, why))
	}
	return strings.Join(out, ", ")
}

func list(fs []Family) string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.String()
	}
	return strings.Join(out, ", ")
}
