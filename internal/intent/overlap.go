package intent

import (
	"container/heap"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// pools checks each pool by itself, then all of them against one another: of two
// that overlap the older has the addresses. A pool at fault is frozen: Services
// keep what they have of it, and nobody gets anything new.
func (p *parser) pools(in []v1beta1.IPAddressPool) []Pool {
	out := make([]Pool, 0, len(in))
	for _, obj := range byAge(in) {
		ref := Ref{"IPAddressPool", obj.Name}
		out = append(out, p.pool(ref, obj))
		p.accept(ref)
	}
	var claims []claim
	for i := range out {
		claims = claimed(claims, i, out[i].Ranges)
	}
	owners := settle(claims)
	owned := make([][]ipam.Range, len(out))
	for _, c := range owners {
		owned[c.by] = append(owned[c.by], c.Range)
	}
	for i := range out {
		pool := &out[i]
		pool.Disputed = ipam.Merge(pool.Ranges, owned[i])
		if len(pool.Disputed) == 0 {
			continue
		}
		first := pool.Disputed[0]
		older := owners.of(first.First)
		p.fault(Ref{"IPAddressPool", pool.Name}, v1beta1.ReasonOverlaps,
			"spec.addresses: %s-%s also lies in IPAddressPool %q, which is older and keeps it; take it out of one of the two",
			first.First, lesser(first.Last, older.Last), out[older.by].Name)
		pool.Frozen = true
		pool.Ranges = owned[i]
	}
	return out
}

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

// of returns the claim on a; nil: nobody has it.
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
	var open claimHeap // those that have begun; some have ended, too
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
	held     owners // by the pools that have it
	disputed owners // by those that would, but for an overlap
	careless owners // as disputed, without the pools that avoid buggy addresses
}

func placed(pools []Pool) places {
	var held, disputed, careless []claim
	for i := range pools {
		pool := &pools[i]
		held, disputed = claimed(held, i, pool.Ranges), claimed(disputed, i, pool.Disputed)
		if !pool.AvoidBuggy {
			careless = claimed(careless, i, pool.Disputed)
		}
	}
	return places{settle(held), settle(disputed), settle(careless)}
}

// PoolOf returns the name of the pool that holds a, or would but for an overlap;
// "": there is none.
func (c Config) PoolOf(a netip.Addr) string {
	if x := c.places.held.of(a); x != nil && c.Pools[x.by].Holds(a) {
		return c.Pools[x.by].Name
	}
	x := c.places.disputed.of(a)
	if x != nil && !c.Pools[x.by].Disputes(a) {
		x = c.places.careless.of(a)
	}
	if x == nil {
		return ""
	}
	return c.Pools[x.by].Name
}
