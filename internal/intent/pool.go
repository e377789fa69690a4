package intent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Pool is an IPAddressPool. Its Allows is not set: Bind does that.
type Pool struct {
	ipam.Pool
	Labels  map[string]string
	Whole   []ipam.Range // the ranges before anything is excluded
	Selects func(Subject) bool
}

// Subject is what a pool's selectors look at: a Service and its namespace.
type Subject struct {
	Namespace       string
	NamespaceLabels map[string]string
	Labels          map[string]string
}

// Pools are all pools.
type Pools []Pool

// Serving reports for each pool whether its selectors let it serve s.
func (ps Pools) Serving(s Subject) []bool {
	out := make([]bool, len(ps))
	for i, p := range ps {
		out[i] = p.Selects == nil || p.Selects(s)
	}
	return out
}

// Bind returns the pools in the form that ipam.Assign takes. The function
// allows tells whether a pool, given by its index, serves a Service: what
// Serving says of it.
func (ps Pools) Bind(allows func(k ipam.Key, pool int) bool) ipam.Pools {
	out := make(ipam.Pools, len(ps))
	for i, p := range ps {
		out[i] = p.Pool
		if p.Selects != nil {
			out[i].Allows = func(k ipam.Key) bool { return allows(k, i) }
		}
	}
	return out
}

// PoolOf returns the name of the pool that holds a, or would but for an overlap;
// "": there is none.
func (c Config) PoolOf(a netip.Addr) string {
	i := slices.IndexFunc(c.Pools, func(p Pool) bool { return p.Holds(a) })
	if i < 0 {
		i = slices.IndexFunc(c.Pools, func(p Pool) bool { return p.Disputes(a) })
	}
	if i < 0 {
		return ""
	}
	return c.Pools[i].Name
}

// pools checks each pool by itself, then against the older ones: of two that
// overlap the older has the addresses. A pool at fault is frozen: Services keep
// what they have of it, and nobody gets anything new.
func (p *parser) pools(in []v1beta1.IPAddressPool) []Pool {
	var out []Pool
	for _, obj := range byAge(in) {
		ref := Ref{"IPAddressPool", obj.Name}
		pool := p.pool(ref, obj)
		all := pool.Ranges
		for _, older := range out {
			both, overlap := ipam.Overlap(pool.Ranges, older.Ranges)
			if !overlap {
				continue
			}
			p.fault(ref, v1beta1.ReasonOverlaps, "spec.addresses: %s-%s also lies in IPAddressPool %q, which is older and keeps it; take it out of one of the two",
				both.First, both.Last, older.Name)
			pool.Frozen = true
			pool.Ranges = ipam.Merge(pool.Ranges, older.Ranges)
		}
		pool.Disputed = ipam.Merge(all, pool.Ranges)
		p.accept(ref)
		out = append(out, pool)
	}
	return out
}

func (p *parser) pool(ref Ref, obj *v1beta1.IPAddressPool) Pool {
	out := Pool{Labels: obj.Labels, Pool: ipam.Pool{
		Name:       obj.Name,
		AutoAssign: obj.Spec.AutoAssign == nil || *obj.Spec.AutoAssign,
		AvoidBuggy: obj.Spec.AvoidBuggyIPs,
	}}
	invalid := func(err error) {
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v", err)
			out.Frozen = true
		}
	}
	whole, err := ranges("spec.addresses", obj.Spec.Addresses)
	invalid(err)
	except, err := ranges("spec.exclude", obj.Spec.Exclude)
	invalid(err)
	if err != nil {
		except = nil // it can't be known who was meant: whoever holds an address keeps it
	}
	out.Whole = ipam.Merge(whole, nil)
	out.Ranges = ipam.Merge(whole, except)
	if a := obj.Spec.ServiceAllocation; a != nil {
		out.Priority = int(a.Priority)
		out.Selects, err = selects(a)
		invalid(err)
		out.Pinned = out.Selects != nil
	}
	return out
}

// ranges parses all that can be parsed, and tells the first fault. A range with
// its ends in the wrong order still says what was meant: who holds an address
// of it shall keep that.
func ranges(field string, in []v1beta1.AddressRange) ([]ipam.Range, error) {
	var out []ipam.Range
	var first error
	for i, s := range in {
		r, err := parseRange(string(s))
		if r.First.IsValid() {
			out = append(out, r)
		}
		if err == nil {
			err = special(r)
		}
		if err != nil && first == nil {
			first = fmt.Errorf("%s[%d]: %w", field, i, err)
		}
	}
	return out, first
}

// special says why no Service can be reached at some address of r, or nil.
func special(r ipam.Range) error {
	for _, x := range []struct{ prefix, what string }{
		{"0.0.0.0/8", "addresses of \"this network\" (RFC 1122)"},
		{"127.0.0.0/8", "loopback addresses"},
		{"169.254.0.0/16", "link-local addresses"},
		{"224.0.0.0/4", "multicast addresses"},
		{"255.255.255.255/32", "the broadcast address"},
		{"::/127", "the unspecified or the loopback address"},
		{"fe80::/10", "link-local addresses"},
		{"ff00::/8", "multicast addresses"},
	} {
		p := netip.MustParsePrefix(x.prefix)
		if both, ok := ipam.Overlap([]ipam.Range{r}, []ipam.Range{{First: p.Addr(), Last: lastOf(p)}}); ok {
			return fmt.Errorf("%s-%s are %s, where no Service can be reached", both.First, both.Last, x.what)
		}
	}
	return nil
}

// parseRange reads a CIDR, a range first-last or a single address. Beside the
// error that a range ends before it starts stands the range that was meant.
func parseRange(s string) (ipam.Range, error) {
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err := parseAddr(first)
		if err != nil {
			return ipam.Range{}, err
		}
		b, err := parseAddr(last)
		switch {
		case err != nil:
			return ipam.Range{}, err
		case a.BitLen() != b.BitLen():
			return ipam.Range{}, fmt.Errorf("%q mixes IPv4 and IPv6", s)
		case b.Less(a):
			return ipam.Range{First: b, Last: a}, fmt.Errorf("%q ends before it starts: write \"%s-%s\"", s, b, a)
		}
		return ipam.Range{First: a, Last: b}, nil
	}
	if !strings.Contains(s, "/") {
		a, err := parseAddr(s)
		return ipam.Range{First: a, Last: a}, err
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(s))
	switch {
	case err != nil || p.Addr().Is4In6():
		return ipam.Range{}, fmt.Errorf("%q is not a CIDR", s)
	case p != p.Masked():
		return ipam.Range{}, fmt.Errorf("%q has host bits set: write %q", s, p.Masked())
	}
	return ipam.Range{First: p.Addr(), Last: lastOf(p)}, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 or IPv6 address", strings.TrimSpace(s))
	}
	return a, nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// selects turns serviceAllocation into a function; nil selects all. Labels of
// a Service never stand in for its namespace.
func selects(a *v1beta1.ServiceAllocation) (func(Subject) bool, error) {
	namespaces, err := selector("spec.serviceAllocation.namespaceSelectors", a.NamespaceSelectors)
	if err != nil {
		return nil, err
	}
	services, err := selector("spec.serviceAllocation.serviceSelectors", a.ServiceSelectors)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, n := range a.Namespaces {
		names[n] = true
	}
	anyNamespace := len(names) == 0 && namespaces == nil
	if anyNamespace && services == nil {
		return nil, nil
	}
	return func(s Subject) bool {
		in := anyNamespace || names[s.Namespace] || namespaces != nil && namespaces(s.NamespaceLabels)
		return in && (services == nil || services(s.Labels))
	}, nil
}

// aligned reports whether every prefix of that length around an address of
// the pool lies within the pool, so that announcing it attracts no traffic for
// others. Families are told apart by length of the address.
func (p Pool) aligned(f ipam.Family, length int) error {
	for _, r := range p.Whole {
		if ipam.FamilyOf(r.First) != f {
			continue
		}
		first, last := netip.PrefixFrom(r.First, length).Masked(), netip.PrefixFrom(r.Last, length).Masked()
		if first.Addr() != r.First || lastOf(last) != r.Last {
			return fmt.Errorf("a prefix of length %d holds addresses outside IPAddressPool %q (%s-%s)", length, p.Name, r.First, r.Last)
		}
	}
	return nil
}

// poolNames are the pools as advertisements refer to them.
func poolNames(pools []Pool) []named {
	out := make([]named, len(pools))
	for i, p := range pools {
		out[i] = named{p.Name, p.Labels}
	}
	return out
}

// selection checks what both kinds of advertisement have in common.
func (p *parser) selection(ref Ref, in v1beta1.Selection, pools []Pool) (announce.Selection, bool) {
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
	out.Pools, missing = resolve(poolNames(pools), in.IPAddressPools, byLabel)
	if len(missing) > 0 {
		p.fault(ref, v1beta1.ReasonNotFound, "spec.ipAddressPools: there is no IPAddressPool %q; the others that it names are announced", missing)
	}
	return out, true
}
