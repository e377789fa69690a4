package intent

import (
	"fmt"
	"net/netip"
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
	aggregated map[[2]int]error // what is unaligned of all pools, by the lengths of prefixes
}

func newCatalog(pools []Pool) *catalog {
	c := &catalog{naming: naming{places: make(map[string]int, len(pools))}, pools: pools, aggregated: map[[2]int]error{}}
	for _, p := range pools {
		c.enter(p.Name, p.Labels)
	}
	return c
}

// selection checks what both kinds of advertisement have in common.
func (p *parser) selection(ref Ref, in v1beta1.Selection, pools *catalog) (announce.Selection, bool) {
	var out announce.Selection
	var faults [3]error
	var byLabel announce.Selector
	byLabel, faults[0] = selector("spec.ipAddressPoolSelectors", in.IPAddressPoolSelectors)
	out.Nodes, faults[1] = selector("spec.nodeSelectors", in.NodeSelectors)
	out.Services, faults[2] = selector("spec.serviceSelectors", in.ServiceSelectors)
	usable := true
	for _, err := range faults {
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v; nothing is announced by it", err)
			usable = false
		}
	}
	var missing []string
	out.Pools, missing = pools.resolve(in.IPAddressPools, byLabel)
	for _, name := range missing { // it may be gone, and still have Services
		out.Pools[name] = true
	}
	if len(missing) > 0 {
		p.unresolved(ref, v1beta1.ReasonNotFound, "spec.ipAddressPools: there is no IPAddressPool %s; the others that it names are announced", printable.Quotes(missing))
	}
	return out, usable
}

// unaligned says of which pool some prefix of these lengths holds addresses from
// outside it, if there is one. The pools are those that are there of some, nil for all.
func (c *catalog) unaligned(of map[string]bool, length4, length6 int) error {
	if length4 >= 32 && length6 >= 128 {
		return nil
	}
	if of != nil {
		places := make([]int, 0, len(of))
		for name := range of {
			if i, there := c.places[name]; there {
				places = append(places, i)
			}
		}
		slices.Sort(places)
		for _, i := range places {
			if err := c.pools[i].unaligned(length4, length6); err != nil {
				return err
			}
		}
		return nil
	}
	lengths := [2]int{length4, length6}
	fault, known := c.aggregated[lengths]
	for i := 0; !known && fault == nil && i < len(c.pools); i++ {
		fault = c.pools[i].unaligned(length4, length6)
	}
	c.aggregated[lengths] = fault
	return fault
}

func (p *Pool) unaligned(length4, length6 int) error {
	err, field := p.aligned(ipam.IPv4, length4), "spec.aggregationLength"
	if err == nil {
		err, field = p.aligned(ipam.IPv6, length6), "spec.aggregationLengthV6"
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; addresses of such prefixes are announced one by one", field, err)
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
// others. The length of an address shows its family.
func (p *Pool) aligned(f ipam.Family, length int) error {
	if f == ipam.IPv4 && length >= p.whole4 || f == ipam.IPv6 && length >= p.whole6 {
		return nil
	}
	i := slices.IndexFunc(p.Whole, func(r ipam.Range) bool { return ipam.FamilyOf(r.First) == f && exactLength(r) > length })
	r := p.Whole[i]
	return fmt.Errorf("a prefix of length %d holds addresses outside IPAddressPool %q (%s-%s)", length, p.Name, r.First, r.Last)
}

// within returns the length of the shortest prefix around an address of the pool that
// lies within the pool, whatever is excluded of it.
func (p *Pool) within(a netip.Addr) int {
	i, found := slices.BinarySearchFunc(p.Whole, a, func(r ipam.Range, a netip.Addr) int {
		switch {
		case r.Last.Less(a):
			return -1
		case a.Less(r.First):
			return 1
		}
		return 0
	})
	for bits := a.BitLen(); found && bits > 0; bits-- {
		if wider := ipam.RangeOf(netip.PrefixFrom(a, bits-1).Masked()); wider.First.Less(p.Whole[i].First) || p.Whole[i].Last.Less(wider.Last) {
			return bits
		}
	}
	return a.BitLen()
}
