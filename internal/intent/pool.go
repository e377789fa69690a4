package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// Pool is an IPAddressPool. Its Allows is not set: Bind does that.
type Pool struct {
	ipam.Pool
	Labels  map[string]string
	Whole   []ipam.Range // the ranges before anything is excluded
	Selects func(Consumer) bool
	// External: addresses of it that Services have in spec.externalIPs are announced.
	External bool
	Grace    time.Duration // how long an address is kept for a Service that is deleted; 0: it is not
	// Source is the IPAM that chooses its addresses; nil: the controller does.
	Source *source.Target
	// Accepted is what stays this pool's when another one is edited to overlap.
	Accepted []ipam.Range
	// Renumbering is how far its Services have moved to the pool SuccessorName; "": they stay.
	Renumbering   v1beta1.RenumberingPhase
	SuccessorName string
	prefixes      prefixes
	listed        []ipam.Range // spec.addresses, in their order, as far as they can be read; host parts under the current prefix
	whole4        int          // the length of the shortest IPv4 prefixes that can hold its addresses and no others; 0: it has none
	whole6        int
}

// Consumer is what a pool's selectors look at: a Service and its namespace.
type Consumer struct {
	Namespace       string
	NamespaceLabels map[string]string
	Labels          map[string]string
}

// Pools are all pools.
type Pools []Pool

// Serves reports whether the selectors of a pool, given by its index, let it
// serve s.
func (ps Pools) Serves(pool int, s Consumer) bool {
	selects := ps[pool].Selects
	return selects == nil || selects(s)
}

// Bind returns the pools in the form that ipam.Assign takes. The function
// allows tells whether a pool, given by its index, serves a Service: what
// Serves says of it.
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

func (p *parser) pool(ref Ref, obj *v1beta1.IPAddressPool) Pool {
	out := Pool{Labels: obj.Labels, Grace: graceTime(obj.Spec.GraceTime), External: obj.Spec.AnnounceExternalIPs, Pool: ipam.Pool{
		Name:           obj.Name,
		AutoAssign:     obj.Spec.AutoAssign == nil || *obj.Spec.AutoAssign,
		AvoidBuggy:     obj.Spec.AvoidBuggyIPs,
		CrossNamespace: obj.Spec.Sharing == v1beta1.SharingCluster,
	}}
	invalid := func(faults ...error) {
		for _, err := range faults {
			p.fault(ref, v1beta1.ReasonInvalid, "%v", err)
			out.Frozen = true
		}
	}
	check := reachable
	if FollowsPrefix(obj) {
		out.prefixes = readPrefixes(obj.Status.Prefix)
		check = hostPart(out.prefixes.current)
	}
	whole, faults := ranges("spec.addresses", obj.Spec.Addresses, check)
	invalid(faults...)
	except, faults := ranges("spec.exclude", obj.Spec.Exclude, func(ipam.Range) error { return nil })
	invalid(faults...)
	if len(faults) > 0 {
		except = nil // it is not known which Services were meant: each holder keeps its address
	}
	if FollowsPrefix(obj) {
		whole, except = out.layUnder(whole, except)
	}
	out.Whole, out.listed = ipam.Merge(slices.Concat(whole, out.Former), nil), whole
	for _, r := range out.Whole {
		if n := exactLength(r); r.First.Is4() {
			out.whole4 = max(out.whole4, n)
		} else {
			out.whole6 = max(out.whole6, n)
		}
	}
	out.Ranges = ipam.Merge(whole, except)
	if a := obj.Spec.ServiceAllocation; a != nil {
		out.Priority = int(a.Priority)
		var err error
		if out.Selects, err = selects(a); err != nil {
			invalid(err)
		}
		if out.Selective = out.Selects != nil; out.Selective {
			out.Only = servesOnly(a)
		}
	}
	return out
}

// layUnder has p, which follows a prefix, list these host parts without those of except. It returns the addresses that
// they are under its current prefix; those under prefixes before are its Former.
func (p *Pool) layUnder(hosts, except []ipam.Range) (whole, without []ipam.Range) {
	p.prefixes.hosts = hosts
	for _, before := range p.prefixes.former {
		p.Former = append(p.Former, ipam.Merge(lay(before, hosts), lay(before, except))...)
	}
	p.Former = ipam.Merge(p.Former, nil)
	return lay(p.prefixes.current, hosts), lay(p.prefixes.current, except)
}

// ranges parses all that can be parsed, and returns the faults of the rest. A range with
// its ends in the wrong order still says what was meant: who holds an address
// of it shall keep that. Ranges that can be parsed are checked as well.
func ranges(field string, in []v1beta1.AddressRange, check func(ipam.Range) error) (out []ipam.Range, faults []error) {
	for i, s := range in {
		r, err := parseRange(string(s))
		if r.First.IsValid() {
			out = append(out, r)
			err = cmp.Or(err, check(r))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s[%d]: %w", field, i, err))
		}
	}
	return out, faults
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
			return ipam.Range{}, cmp.Or(shortRange(s, a, last), err)
		case a.BitLen() != b.BitLen():
			return ipam.Range{}, fmt.Errorf("%s mixes IPv4 and IPv6", printable.Quote(s))
		case b.Less(a):
			return ipam.Range{First: b, Last: a}, fmt.Errorf("%s ends before it starts: write \"%s-%s\"", printable.Quote(s), b, a)
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
		return ipam.Range{}, fmt.Errorf("%s is not a CIDR", printable.Quote(s))
	case p != p.Masked():
		return ipam.Range{}, fmt.Errorf("%s has host bits set: write %q", printable.Quote(s), p.Masked())
	}
	return ipam.RangeOf(p), nil
}

// shortRange returns what is wrong with a range of which last is the end only of its last
// address, as in 192.0.2.100-110; nil: s is none.
func shortRange(s string, a netip.Addr, last string) error {
	start := a.String()
	b, err := parseAddr(start[:strings.LastIndexAny(start, ".:")+1] + strings.TrimSpace(last))
	if err != nil {
		return nil
	}
	return fmt.Errorf("%s is a short range: write \"%s-%s\"", printable.Quote(s), a, b)
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%s is not an IPv4 or IPv6 address", printable.Quote(strings.TrimSpace(s)))
	}
	return a, nil
}

// selects turns serviceAllocation into a function; nil selects all. Labels of
// a Service never stand in for its namespace.
func selects(a *v1beta1.ServiceAllocation) (func(Consumer) bool, error) {
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
	return func(s Consumer) bool {
		in := anyNamespace || names[s.Namespace] || namespaces != nil && namespaces(s.NamespaceLabels)
		return in && (services == nil || services(s.Labels))
	}, nil
}
