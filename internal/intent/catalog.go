package intent

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// catalog is the pools as advertisements refer to them.
type catalog struct {
	naming
	pools      []Pool
	aggregated map[[2]int]aggregated // all pools, by the lengths of prefixes
}

// aggregated is which of some pools can be aggregated, and why another can't.
type aggregated struct {
	pools map[string]bool // shared by advertisements
	fault error
}

func newCatalog(pools []Pool) *catalog {
	c := &catalog{naming: naming{places: make(map[string]int, len(pools))}, pools: pools, aggregated: map[[2]int]aggregated{}}
	for _, p := range pools {
		c.enter(p.Name, p.Labels)
	}
	return c
}

// selection checks what both kinds of advertisement have in common.
func (p *parser) selection(ref Ref, in v1beta1.Selection, pools *catalog) (announce.Selection, bool) {
	var out announce.Selection
	byLabel, err := selector("spec.ipAddressPoolSelectors", in.IPAddressPoolSelectors)
	if err == nil {
		out.Nodes, err = selector("spec.nodeSelectors", in.NodeSelectors)
	}
	if err == nil {
		out.Services, err = selector("spec.serviceSelectors", in.ServiceSelectors)
	}
	if err != nil {
		p.fault(ref, v1beta1.ReasonInvalid, "%v; nothing is announced by it", err)
		return out, false
	}
	var missing []string
	out.Pools, missing = pools.resolve(in.IPAddressPools, byLabel)
	for _, name := range missing { // it may be gone, and still have Services
		out.Pools[name] = true
	}
	if len(missing) > 0 {
		p.fault(ref, v1beta1.ReasonNotFound, "spec.ipAddressPools: there is no IPAddressPool %s; the others that it names are announced", printable.Quotes(missing))
	}
	return out, true
}

// aggregates returns those of the pools, nil for all, whose addresses can be
// aggregated to these lengths. Of a pool that is not there only whole addresses can be
// announced: it is not known what lies beside them.
func (c *catalog) aggregates(of map[string]bool, length4, length6 int) aggregated {
	if length4 >= 32 && length6 >= 128 {
		return aggregated{pools: of}
	}
	if of != nil {
		places := make([]int, 0, len(of))
		for name := range of {
			if i, there := c.places[name]; there {
				places = append(places, i)
			}
		}
		slices.Sort(places)
		return c.aggregate(places, length4, length6)
	}
	lengths := [2]int{length4, length6}
	if _, known := c.aggregated[lengths]; !known {
		places := make([]int, len(c.pools))
		for i := range places {
			places[i] = i
		}
		c.aggregated[lengths] = c.aggregate(places, length4, length6)
	}
	return c.aggregated[lengths]
}

func (c *catalog) aggregate(places []int, length4, length6 int) aggregated {
	out := aggregated{pools: make(map[string]bool, len(places))}
	for _, i := range places {
		pool := &c.pools[i]
		err := pool.aligned(ipam.IPv4, length4)
		field := "spec.aggregationLength"
		if err == nil {
			err, field = pool.aligned(ipam.IPv6, length6), "spec.aggregationLengthV6"
		}
		if err == nil {
			out.pools[pool.Name] = true
		} else if out.fault == nil {
			out.fault = fmt.Errorf("%s: %w; that pool is not announced", field, err)
		}
	}
	return out
}

// exactLength returns the shortest length of prefixes that can make up r.
func exactLength(r ipam.Range) int {
	first, last := r.First.AsSlice(), r.Last.AsSlice()
	for n := len(first) * 8; n > 0; n-- {
		bit := byte(0x80) >> ((n - 1) % 8)
		if i := (n - 1) / 8; first[i]&bit != 0 || last[i]&bit == 0 {
			return n
		}
	}
	return 0
}

// aligned reports whether every prefix of that length around an address of
// the pool lies within the pool, so that announcing it attracts no traffic for
// others. Families are told apart by length of the address.
func (p *Pool) aligned(f ipam.Family, length int) error {
	if f == ipam.IPv4 && length >= p.whole4 || f == ipam.IPv6 && length >= p.whole6 {
		return nil
	}
	i := slices.IndexFunc(p.Whole, func(r ipam.Range) bool { return ipam.FamilyOf(r.First) == f && exactLength(r) > length })
	r := p.Whole[i]
	return fmt.Errorf("a prefix of length %d holds addresses outside IPAddressPool %q (%s-%s)", length, p.Name, r.First, r.Last)
}
