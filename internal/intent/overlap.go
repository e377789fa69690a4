package intent

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// pools checks each pool by itself, then all against one another. An address that
// several pools list belongs to the first of these: (1) the pool that had it before, by
// the pools' statuses, (2) a pool without another fault, (3) the older pool. The others
// are at fault: they assign only the addresses that they had before, and Services keep
// what they have.
func (p *parser) pools(in []v1beta1.IPAddressPool) []Pool {
	all := byAge(in)
	out := make([]Pool, len(all))
	var claims []claim
	for i, obj := range all {
		ref := Ref{"IPAddressPool", obj.Name}
		pool := p.pool(ref, obj)
		p.accept(ref)
		pool.Accepted = intersection(pool.Ranges, readable(obj.Status.Accepted))
		claims = claimed(claims, i, pool.Accepted)
		class := 1
		if pool.Frozen {
			class = 2 // its fault must not harm others
		}
		claims = claimed(claims, class*len(all)+i, ipam.Merge(pool.Ranges, pool.Accepted))
		out[i] = pool
	}
	owners := settle(claims)
	owned := make([][]ipam.Range, len(out))
	for i := range owners {
		place := owners[i].by % len(out)
		owned[place] = append(owned[place], owners[i].Range)
	}
	var lost []claim
	for i := range out {
		pool, owned := &out[i], ipam.Merge(owned[i], nil)
		without := ipam.Merge(pool.Ranges, owned)
		if len(without) == 0 {
			if !pool.Frozen {
				pool.Accepted = pool.Ranges
			}
			continue
		}
		lost = claimed(lost, i, without)
		p.overlaps(out, i, without[0], owners.of(without[0].First))
		had := intersection(owned, pool.Accepted)
		pool.Overlapping = ipam.Merge(pool.Ranges, had)
		if pool.Accepted, pool.Ranges = had, had; len(had) == 0 {
			pool.Frozen, pool.Ranges, pool.Overlapping = true, owned, without
		}
	}
	p.warn(out, owners, settle(lost))
	enterFormer(out, owners)
	p.replacements(all, out)
	return out
}

// overlaps reports the pool at that place, whose lowest range that it can't have
// is lost. The owner of its first address is given.
func (p *parser) overlaps(pools []Pool, place int, lost ipam.Range, owner *claim) {
	pool, other := &pools[place], &pools[owner.by%len(pools)]
	reason, until := "which keeps it", ""
	if place > owner.by%len(pools) {
		reason = "which is older and keeps it"
	}
	had := owner.by < len(pools)
	if _, both := ipam.Overlap(pool.Accepted, []ipam.Range{{First: lost.First, Last: lost.First}}); had && !both {
		reason = "which had it before and keeps it"
	}
	if len(pool.Accepted) > 0 {
		until = "; until then this pool gives out only what it had before"
	}
	p.fault(Ref{"IPAddressPool", pool.Name}, v1beta1.ReasonOverlaps, "spec.addresses: %s-%s also lies in IPAddressPool %q, %s; take it out of one of the two%s",
		lost.First, lesser(lost.Last, owner.Last), other.Name, reason, until)
}

// warn warns pools that keep addresses which others also list.
func (p *parser) warn(pools []Pool, owners, lost owners) {
	for len(owners) > 0 && len(lost) > 0 {
		o, l := owners[0], lost[0]
		switch {
		case o.Last.Less(l.First):
			owners = owners[1:]
			continue
		case l.Last.Less(o.First):
			lost = lost[1:]
			continue
		case o.Last.Less(l.Last):
			owners = owners[1:]
		default:
			lost = lost[1:]
		}
		ref := Ref{"IPAddressPool", pools[o.by%len(pools)].Name}
		if v := p.validations[ref]; v.Accepted.Message == "" {
			first := l.First
			if first.Less(o.First) {
				first = o.First
			}
			v.Accepted.Message = fmt.Sprintf("IPAddressPool %q also lists %s-%s, which stays this pool's; take it out of one of the two", pools[l.by].Name, first, lesser(l.Last, o.Last))
			p.validations[ref] = v
		}
	}
}

// readable returns the ranges of a status.
func readable(in []string) []ipam.Range {
	var out []ipam.Range
	for _, s := range in {
		if r, err := parseRange(s); err == nil { // only the controller writes them, and a pool is no worse off without
			out = append(out, r)
		}
	}
	return ipam.Merge(out, nil)
}

// Accepted spells ranges as they stand in the status of a pool, as many as it can
// hold.
func Accepted(ranges []ipam.Range) []string {
	var out []string
	for _, r := range ranges[:min(len(ranges), v1beta1.MaxAccepted)] {
		text := r.First.String()
		if r.First != r.Last {
			text += "-" + r.Last.String()
		}
		out = append(out, text)
	}
	return out
}

// intersection returns what is in both of two sorted and disjoint sets.
func intersection(a, b []ipam.Range) []ipam.Range { return ipam.Merge(a, ipam.Merge(a, b)) }

func lesser(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}

// claim is a range of the pool at the place by. Of two claims on an address the
// lower place wins.
type claim struct {
	ipam.Range
	by int
}

func claimed(claims []claim, by int, ranges []ipam.Range) []claim {
	for _, r := range ranges {
		claims = append(claims, claim{r, by})
	}
	return claims
}

// owners are claims that do not overlap, sorted.
type owners []claim

// of returns the claim on a; nil: no pool has it.
func (o owners) of(a netip.Addr) *claim {
	i, found := slices.BinarySearchFunc(o, a, func(c claim, a netip.Addr) int { return c.Last.Compare(a) })
	if !found && (i == len(o) || !o[i].Contains(a)) {
		return nil
	}
	return &o[i]
}

// settle returns who wins each address that is claimed, in one sweep from the
// lowest to the highest: it costs n log n, however the claims overlap.
func settle(claims []claim) owners {
	slices.SortFunc(claims, func(a, b claim) int { return a.First.Compare(b.First) })
	var out owners
	var open claimHeap // those that have started, and of which some have ended
	for at := (netip.Addr{}); len(open) > 0 || len(claims) > 0; {
		if len(open) == 0 {
			at = claims[0].First
		}
		for len(claims) > 0 && claims[0].First.Compare(at) <= 0 {
			heap.Push(&open, claims[0])
			claims = claims[1:]
		}
		best := open[0]
		if best.Last.Less(at) {
			heap.Pop(&open)
			continue
		}
		last := best.Last
		if len(claims) > 0 && claims[0].First.Compare(last) <= 0 {
			last = claims[0].First.Prev()
		}
		out = out.add(claim{ipam.Range{First: at, Last: last}, best.by})
		if at = last.Next(); !at.IsValid() {
			open = nil // the end of the family: all have ended
		}
	}
	return out
}

// add appends c, or makes the last one longer.
func (o owners) add(c claim) owners {
	if n := len(o); n > 0 && o[n-1].by == c.by && o[n-1].Last.Next() == c.First {
		o[n-1].Last = c.Last
		return o
	}
	return append(o, c)
}

// claimHeap has the claim that wins on top.
type claimHeap []claim

func (h claimHeap) Len() int           { return len(h) }
func (h claimHeap) Less(i, j int) bool { return h[i].by < h[j].by }
func (h claimHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *claimHeap) Push(c any)        { *h = append(*h, c.(claim)) }
func (h *claimHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// places says for each address which pool it is of, by the pool's place.
type places struct {
	held           owners // by the pools that have it
	overlapping    owners // by those that lost them to an overlap
	overlappingAny owners // as overlapping, without the pools that avoid buggy addresses
	former         owners // by those that had them under a prefix before
}

func placed(pools []Pool) places {
	var held, overlapping, overlappingAny, former []claim
	for i := range pools {
		pool := &pools[i]
		held, overlapping = claimed(held, i, pool.Ranges), claimed(overlapping, i, pool.Overlapping)
		former = claimed(former, i, pool.Former)
		if !pool.AvoidBuggy {
			overlappingAny = claimed(overlappingAny, i, pool.Overlapping)
		}
	}
	return places{settle(held), settle(overlapping), settle(overlappingAny), settle(former)}
}

// PoolOf returns the name of the pool that holds a, or held it under a prefix before, or lost it to an
// overlap; "": there is none.
func (c Config) PoolOf(a netip.Addr) string {
	if p := c.poolOf(a); p != nil {
		return p.Name
	}
	return ""
}

func (c Config) poolOf(a netip.Addr) *Pool {
	if x := c.places.held.of(a); x != nil && c.Pools[x.by].Holds(a) {
		return &c.Pools[x.by]
	}
	if x := c.places.former.of(a); x != nil {
		return &c.Pools[x.by]
	}
	x := c.places.overlapping.of(a)
	if x != nil && !c.Pools[x.by].Overlaps(a) {
		x = c.places.overlappingAny.of(a)
	}
	if x == nil {
		return nil
	}
	return &c.Pools[x.by]
}

// AddressOf returns an address of svc as the decision about announcing sees it.
func (c Config) AddressOf(svc *corev1.Service, a netip.Addr) announce.Address {
	out := announce.Address{Addr: a}
	pool := c.poolOf(a)
	if pool != nil {
		out.Pool = pool.Name
	} else {
		out.Pool = c.goneOf(svc, a)
	}
	switch {
	case !c.aggregates:
	case pool != nil:
		out.Bits = pool.within(a)
	default:
		out.Bits = a.BitLen() // it is not known what lies beside
	}
	out.Node = OwnAddressOf(svc, a)
	return out
}
