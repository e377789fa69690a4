package intent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// A pool whose source is Prefix lists host parts. Its addresses are these under a prefix, which stands in the
// status of the pool beside those before it. The controller alone writes that (NextPrefix), so all programs come
// to the same addresses, and one that restarts goes on where it was.

// FollowsPrefix reports whether the addresses of a pool lie under a prefix that changes.
func FollowsPrefix(o *v1beta1.IPAddressPool) bool {
	return o.Spec.Source != nil && o.Spec.Source.Prefix != nil
}

// prefixes are those of a pool that follows one. The zero prefixes are those of another pool.
type prefixes struct {
	current netip.Prefix   // invalid: not known yet
	former  []netip.Prefix // whose addresses Services keep
	hosts   []ipam.Range   // spec.addresses: host parts
}

// readPrefixes reads the prefixes of a pool. Only the controller writes them: what can't be read counts as not there.
func readPrefixes(status *v1beta1.PrefixStatus) (out prefixes) {
	if status == nil {
		return out
	}
	out.current, _ = parsePrefix(status.Current)
	for _, before := range status.Previous {
		if p, err := parsePrefix(before.Prefix); err == nil && p != out.current {
			out.former = append(out.former, p)
		}
	}
	return out
}

// lay returns host parts under a prefix, without those that it leaves no room for.
func lay(p netip.Prefix, hosts []ipam.Range) (out []ipam.Range) {
	for _, r := range hosts {
		if fits(p, r) {
			out = append(out, ipam.Range{First: under(p, r.First), Last: under(p, r.Last)})
		}
	}
	return out
}

// fits reports whether a prefix leaves room for host parts.
func fits(p netip.Prefix, hosts ipam.Range) bool {
	return p.IsValid() && hosts.First.Is6() && p.Bits()+hostBits(hosts.Last) <= hosts.Last.BitLen()
}

// hostBits is how many bits a host part has, from its highest bit that is set.
func hostBits(host netip.Addr) int { return distance(netip.IPv6Unspecified(), host).BitLen() }

// under returns the address with a host part under a prefix, which leaves room for it.
func under(p netip.Prefix, host netip.Addr) netip.Addr {
	out, part := p.Masked().Addr().As16(), host.As16()
	for i := range out {
		out[i] |= part[i]
	}
	return netip.AddrFrom16(out)
}

// hostOf returns the host part of an address under a prefix.
func hostOf(p netip.Prefix, a netip.Addr) netip.Addr {
	out, network := a.As16(), p.Masked().Addr().As16()
	for i := range out {
		out[i] &^= network[i]
	}
	return netip.AddrFrom16(out)
}

// now returns the address under the current prefix with the host part that a has under a former one; invalid: there
// is none.
func (x *prefixes) now(a netip.Addr) netip.Addr {
	for _, p := range x.former {
		if host := hostOf(p, a); p.Contains(a) && x.lists(host) {
			return under(x.current, host)
		}
	}
	return netip.Addr{}
}

// hostOf returns the host part of an address of the pool, under the current prefix or one before.
func (x *prefixes) hostOf(a netip.Addr) netip.Addr {
	for _, p := range append([]netip.Prefix{x.current}, x.former...) {
		if host := hostOf(p, a); p.Contains(a) && slices.ContainsFunc(x.hosts, func(r ipam.Range) bool { return r.Contains(host) }) {
			return host
		}
	}
	return a
}

// lists reports whether a is a host part that the pool lists, and that has an address now.
func (x *prefixes) lists(a netip.Addr) bool {
	return slices.ContainsFunc(x.hosts, func(r ipam.Range) bool { return r.Contains(a) && fits(x.current, r) })
}

// enterFormer enters the addresses of prefixes that pools had before, as far as no pool has them now: none is of two pools.
func enterFormer(pools []Pool, owners owners) {
	var taken []ipam.Range
	for _, c := range owners {
		taken = append(taken, c.Range)
	}
	var claims []claim
	for i := range pools {
		if had := pools[i].Former; len(had) > 0 {
			claims, pools[i].Former = claimed(claims, i, ipam.Merge(had, taken)), nil
		}
	}
	for _, c := range settle(claims) {
		pools[c.by].Former = append(pools[c.by].Former, c.Range)
	}
}

// addressUnder returns the address for a host part, in the oldest of pools that lists it; any other address stays.
func addressUnder(pools []Pool, host netip.Addr) netip.Addr {
	if p := listing(pools, host, ""); p != nil {
		return under(p.prefixes.current, host)
	}
	return host
}

// askUnderPrefix returns a request in which each host part that it asks for is the address of the pool that lists it:
// of several the one that is asked for, else the oldest. Beside that it goes on asking for those with the same host
// part that it has, until their prefix ends; svc may rather switch at once.
func (c *Config) askUnderPrefix(r *ipam.Request, svc *corev1.Service) *ipam.Request {
	out := r
	for i, host := range r.Want {
		pool := listing(c.Pools, host, r.Pool)
		if pool == nil {
			continue
		}
		if out == r {
			cp := *r
			out, cp.Want = &cp, slices.Clone(r.Want)
		}
		out.Want[i] = under(pool.prefixes.current, host)
		for _, a := range r.Has {
			if pool.HeldBefore(a) && pool.prefixes.now(a) == out.Want[i] && !switches(svc) {
				out.Want = append(out.Want, a)
			}
		}
	}
	return out
}

// listing returns the oldest pool of that name, or of any if it is empty, that lists a host part; nil: none does.
func listing(pools []Pool, host netip.Addr, name string) *Pool {
	for i := range pools {
		if p := &pools[i]; p.prefixes.lists(host) && (name == "" || name == p.Name) {
			return p
		}
	}
	return nil
}

// OfFormerPrefix reports whether a is an address of a pool under a prefix that it had before.
func (c *Config) OfFormerPrefix(a netip.Addr) bool {
	return len(c.places.former) > 0 && c.places.held.of(a) == nil && c.places.former.of(a) != nil
}

// Lasting returns addresses as an object names them that is to hold under another prefix as well: those of a pool that
// follows one are their host parts. Each comes once.
func (c *Config) Lasting(addrs []netip.Addr) (out []netip.Addr) {
	for _, a := range addrs {
		if p := c.poolOf(a); p != nil && p.prefixes.hosts != nil {
			a = p.prefixes.hostOf(a)
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// SamePrefix reports whether two versions of a pool lie under the same prefixes; those of another object do.
func SamePrefix(a, b metav1.Object) bool {
	p, is := a.(*v1beta1.IPAddressPool)
	q, also := b.(*v1beta1.IPAddressPool)
	if !is || !also {
		return true
	}
	x, y := p.Status.Prefix, q.Status.Prefix
	if x == nil || y == nil {
		return x == y
	}
	return x.Current == y.Current && slices.EqualFunc(x.Previous, y.Previous, func(p, q v1beta1.PreviousPrefix) bool { return p.Prefix == q.Prefix })
}

// overlapOf is how long addresses of the prefix before stay. The schema lets nothing else in.
func overlapOf(s *v1beta1.PrefixSource) time.Duration {
	d, err := time.ParseDuration(string(cmp.Or(s.Overlap, v1beta1.DefaultOverlap)))
	if err != nil || d < 0 {
		return time.Hour
	}
	return d
}
