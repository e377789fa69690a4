package ipam

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// refusal is the reason for which a request cannot be met. The zero value: it can.
type refusal struct {
	reason  Reason
	message string
}

func refuse(reason Reason, format string, args ...any) refusal {
	return refusal{reason, fmt.Sprintf(format, args...)}
}

// reasonFor says what stands in the way of r beyond what it retained. The refused retained nothing.
func (al *allocation) reasonFor(r *Request, retained holding) refusal {
	if r.Invalid != "" {
		reason := InvalidRequest
		if r.Contradicts {
			reason = RequestConflict
		}
		return refusal{reason, r.Invalid}
	}
	if !retainsPart(r, retained) { // as for one that does not have what this one loses: the next pass says the same
		without := *r
		r, without.Has, retained = &without, nil, holding{}
	}
	al.drawn = nil
	no := al.check(r, retained)
	if no.reason != "" {
		return no
	}
	lesser := PoolExhausted // of two obstacles: that may pass by itself
	if !r.Families.All {
		lesser = FamilyUnavailable // the other family suffices
	}
	for _, f := range r.Families.Want {
		asked := slices.ContainsFunc(r.Want, func(a netip.Addr) bool { return FamilyOf(a) == f })
		if _, has := retained.of(f); has || asked {
			continue
		}
		if x := al.best(r, f); x.pool != nil {
			al.draw(x)
			continue
		}
		if also := al.lacking(r, f, al.servingPools(r, f)); no.reason == "" || no.reason == lesser && also.reason != lesser {
			no = also
		}
	}
	return no
}

// check says whether what r asks for by name, the pool and the addresses beyond what
// it retained, rules itself out.
func (al *allocation) check(r *Request, retained holding) refusal {
	if r.Pool != "" && !al.servesAsked(r) {
		switch s := al.named(r.Pool); {
		case s == nil && retained.isOf(r.Pool): // it is gone, and r keeps what it has of it
		case s == nil:
			return refuse(PoolNotFound, "there is no IPAddressPool %s, %s", printable.Quote(r.Pool), al.otherPools())
		default:
			return refuse(PoolNotAllowed, "IPAddressPool %q does not serve this Service: it %s (spec.serviceAllocation)", r.Pool, s.servesOnly())
		}
	}
	for _, a := range r.Want {
		if retained.has(a) {
			continue
		}
		if no := al.checkAddr(r, a); no.reason != "" {
			return no
		}
	}
	for _, a := range r.Want {
		if retained.has(a) || !al.blocked(a, r) {
			continue
		}
		other, cause := al.blocker(a, r)
		if other == nil {
			return refuse(AddressInUse, "%s", al.kept.blocking(a, r).Kept)
		}
		reason := AddressInUse
		if r.Share.Key != "" && r.Share.Key == other.Share.Key {
			reason = SharingRefused
		}
		return refuse(reason, "Service %s has %s: %s", other.Service, a, cause)
	}
	return al.checkQuotas(r, retained)
}

// servesAsked reports whether the pool that r asks for serves it, or one that replaces that.
func (al *allocation) servesAsked(r *Request) bool {
	return slices.ContainsFunc(al.pools, func(s *poolState) bool { return s.isAskedFor(r) && s.serves(r) })
}

// checkAddr checks an address that r asks for, whether or not another Service has it.
func (al *allocation) checkAddr(r *Request, a netip.Addr) refusal {
	s := al.find(a)
	switch {
	case !slices.Contains(r.Families.Want, FamilyOf(a)):
		return refuse(RequestConflict, "the Service asks for %s, but its spec.ipFamilies is %s: set spec.ipFamilyPolicy and spec.ipFamilies for both families, or ask for no such address", a, families(r))
	case s == nil && al.overlappedBy(a) != nil:
		return refuse(PoolNotAllowed, "%s is of IPAddressPool %q, which is not accepted", a, al.overlappedBy(a).Name)
	case s == nil:
		return refuse(AddressOutsidePools, "%s", al.outside(a))
	case r.Pool != "" && !s.isAskedFor(r):
		return refuse(RequestConflict, "the Service asks for %s, which is of IPAddressPool %q, and for IPAddressPool %q: take one of the two out", a, s.Name, r.Pool)
	case !s.serves(r):
		return refuse(PoolNotAllowed, "%s is of IPAddressPool %q, which does not serve this Service: it %s (spec.serviceAllocation)", a, s.Name, s.servesOnly())
	case s.Frozen:
		return refuse(PoolNotAllowed, "%s is of IPAddressPool %q, which is not accepted", a, s.Name)
	}
	switch by, _ := s.Occupied.Of(a); {
	case by.lost():
		return refuse(AddressOccupied, "%s is %s: ask for another address", a, by.Name)
	case !by.admits(a, r):
		return refuse(AddressReserved, "AddressReservation %q has %s for other Services: ask for another address", by.Reserved, a)
	}
	if given, fits := al.offered(s, FamilyOf(a), r); s.IPAM != "" && !al.blocked(a, r) && (given != a || !fits) {
		return al.waitsFor(s, FamilyOf(a), r)
	}
	return refusal{}
}

// lackText says why r has fewer addresses than its Count.
func (al *allocation) lackText(r *Request, h holding) string {
	f := h.lacking(r)
	al.own, al.drawn = &h, nil
	defer func() { al.own = nil }()
	if successors := r.Successors[f]; len(successors) > 0 {
		return fmt.Sprintf("IPAddressPool %q is to replace one that the Service has an address of, and gives it none: %s", strings.Join(successors, ", "), al.lacking(r, f, al.servingPools(r, f)).message)
	}
	return fmt.Sprintf("it asks for %d %s addresses and has %d: %s", r.number(f), f, h.number(r, f), al.lacking(r, f, al.servingPools(r, f)).message)
}

// lacking returns the reason for which none of pools, which serve r, gives it an address of family f.
func (al *allocation) lacking(r *Request, f Family, pools []*poolState) refusal {
	if no := al.overQuota(r, f); no.reason != "" {
		return no
	}
	if len(pools) == 0 {
		if r.Pool != "" {
			if s := al.named(r.Pool); s != nil && s.Closed && !s.Frozen {
				return refuse(PoolNotAllowed, "IPAddressPool %q is being replaced, and gives no new addresses", r.Pool)
			}
			return refuse(PoolNotAllowed, "IPAddressPool %q is not accepted", r.Pool)
		}
		if len(al.pools) == 0 {
			return refuse(NoPool, "there is no IPAddressPool: make one")
		}
		return refuse(NoPool, "no IPAddressPool serves this Service without being asked: %s", al.describePools(r))
	}
	var all, with []string
	for _, p := range pools {
		if p.awaits(f, r) {
			return al.waitsFor(p, f, r)
		}
		all = append(all, p.Name)
		if p.has(f) {
			with = append(with, p.Name)
		}
	}
	if len(with) == 0 {
		return refuse(FamilyUnavailable, "the Service wants %s, and none of its IPAddressPools holds any: %s; add some to spec.addresses of one, or leave %s out of the Service's spec.ipFamilies", f, limited(all, len(all)), f)
	}
	return refuse(PoolExhausted, "every %s address is taken%s%s: IPAddressPools %s%s%s; add some to spec.addresses of one", f, unusable(f, pools), reserved(f, pools), limited(with, len(with)), exhausted(f, r, pools), al.nextKept(f, pools))
}

// exhausted tells what the first of the IPAMs says that have no address for r.
func exhausted(f Family, r *Request, pools []*poolState) string {
	for _, s := range pools {
		if o := s.offer(f, r); s.IPAM != "" && o.Exhausted {
			return fmt.Sprintf("; the IPAM of %q (%s) %s", s.Name, s.IPAM, o.Message)
		}
	}
	return ""
}

// unusable tells how many addresses of pools are occupied.
func unusable(f Family, pools []*poolState) string {
	n := new(big.Int)
	for _, s := range pools {
		n.Add(n, s.Unusable(f))
	}
	if n.Sign() == 0 {
		return ""
	}
	return fmt.Sprintf(" or occupied (%s are, by nodes, routers, other hosts or the cluster: see the condition Accepted of the pools)", n)
}

// reserved tells how many addresses of pools are reserved.
func reserved(f Family, pools []*poolState) string {
	n := int64(0)
	for _, s := range pools {
		n += s.Reserved(f)
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" or reserved (%d are: see kubectl get addressreservations.steelyard.dev)", n)
}

// servingPools are the pools that serve r without being asked for an address of family f.
func (al *allocation) servingPools(r *Request, f Family) []*poolState {
	var out []*poolState
	for _, s := range al.pools {
		if s.offersFamily(r, f) && s.serves(r) {
			out = append(out, s)
		}
	}
	return out
}

// describePools returns, for each pool, the reason for which it gives r nothing by itself.
func (al *allocation) describePools(r *Request) string {
	var out []string
	all := slices.DeleteFunc(slices.Clone(al.pools), func(s *poolState) bool { return s.former })
	for _, s := range all[:min(messageLimit, len(all))] {
		cause := "has autoAssign false"
		switch {
		case s.Frozen:
			cause = "is not accepted"
		case s.Closed:
			cause = "is being replaced"
		case !s.serves(r):
			cause = s.servesOnly()
		}
		out = append(out, fmt.Sprintf("%q %s", s.Name, cause))
	}
	return limited(out, len(all))
}

// servesOnly says what s serves, of which a Service is not.
func (s *poolState) servesOnly() string {
	if s.Only == "" {
		return "serves other Services"
	}
	return "serves only " + s.Only
}

// outside says that no pool gives out a, and which range is nearest to it.
func (al *allocation) outside(a netip.Addr) string {
	i, _ := slices.BinarySearchFunc(al.spans, a, func(x poolRange, a netip.Addr) int { return x.Last.Compare(a) })
	if i < len(al.spans) && al.spans[i].Contains(a) {
		return fmt.Sprintf("IPAddressPool %q does not give out %s, which ends in .0 or .255 (spec.avoidBuggyIPs)", al.spans[i].pool.Name, a)
	}
	var best *poolRange
	for _, j := range []int{i - 1, i} {
		if j < 0 || j >= len(al.spans) || FamilyOf(al.spans[j].First) != FamilyOf(a) {
			continue
		}
		if x := &al.spans[j]; best == nil || gap(a, x.Range).Cmp(gap(a, best.Range)) < 0 {
			best = x
		}
	}
	if best == nil {
		return fmt.Sprintf("no IPAddressPool holds %s, nor any other %s address", a, FamilyOf(a))
	}
	if best.First == best.Last {
		return fmt.Sprintf("no IPAddressPool holds %s; the nearest address is %s of IPAddressPool %q", a, best.First, best.pool.Name)
	}
	return fmt.Sprintf("no IPAddressPool holds %s; the nearest range is %s-%s of IPAddressPool %q", a, best.First, best.Last, best.pool.Name)
}

// gap returns how far a is from r, in which it does not lie.
func gap(a netip.Addr, r Range) *big.Int {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	if a.Less(r.First) {
		return new(big.Int).Sub(number(r.First), number(a))
	}
	return new(big.Int).Sub(number(a), number(r.Last))
}

// otherPools names the pools that are there, in place of one that is not.
func (al *allocation) otherPools() string {
	var out []string
	for _, s := range al.pools {
		if !s.former {
			out = append(out, s.Name)
		}
	}
	if len(out) == 0 {
		return "nor any other"
	}
	return "only " + limited(out, len(out))
}

// messageLimit is how many pools a message names at most.
const messageLimit = 5

// limited lists the first of n.
func limited(all []string, n int) string {
	if n > messageLimit {
		all = append(all[:messageLimit:messageLimit], fmt.Sprintf("and %d more", n-messageLimit))
	}
	return strings.Join(all, ", ")
}

func families(r *Request) string {
	out := make([]string, len(r.Families.Want))
	for i, f := range r.Families.Want {
		out[i] = f.String()
	}
	return strings.Join(out, ", ")
}
