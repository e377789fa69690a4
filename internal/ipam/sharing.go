package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// socket is a port of an address.
type socket struct {
	addr netip.Addr
	port Port
}

// ring is those who may share what is in a pool.
type ring struct {
	key       string
	namespace string // "" where the pool lets all share
	pool      *source
	family    Family
}

func ringOf(r *Request, s *source, f Family) ring {
	if s.Across {
		return ring{r.Share.Key, "", s, f}
	}
	return ring{r.Share.Key, r.Service.Namespace, s, f}
}

// circle is the addresses that a ring uses, and who might join where.
type circle struct {
	addrs     []netip.Addr        // as they came into use; none twice
	open      map[string]*opening // by the ports of those who would join
	listeners map[Port]int        // on how many of the addresses somebody listens on it
}

// full reports whether somebody listens on a port of r at every address of c.
func (c *circle) full(r *Request) bool {
	return slices.ContainsFunc(r.Ports, func(p Port) bool { return c.listeners[p] == len(c.addrs) })
}

// opening is the addresses of a circle, from the lowest upwards, without those
// where a port was found to be taken; these are not asked about again.
type opening struct {
	seen  int // so many of the circle's addresses have entered
	addrs []netip.Addr
}

// lowest returns the lowest address of c that r can share. In nil there is none.
func (b *book) lowest(c *circle, r *Request) (netip.Addr, bool) {
	if c == nil || c.full(r) {
		return netip.Addr{}, false
	}
	var ports []byte
	for _, p := range r.Ports {
		ports = binary.BigEndian.AppendUint16(append(ports, p.Protocol...), p.Number)
	}
	o := c.open[string(ports)]
	if o == nil {
		o = &opening{len(c.addrs), slices.Clone(c.addrs)}
		slices.SortFunc(o.addrs, netip.Addr.Compare)
		c.open[string(ports)] = o
	}
	for _, a := range c.addrs[o.seen:] {
		i, _ := slices.BinarySearchFunc(o.addrs, a, netip.Addr.Compare)
		o.addrs = slices.Insert(o.addrs, i, a)
	}
	o.seen = len(c.addrs)
	for len(o.addrs) > 0 && b.listens(o.addrs[0], r) {
		o.addrs = o.addrs[1:]
	}
	i := slices.IndexFunc(o.addrs, func(a netip.Addr) bool { return !b.blocked(a, r) })
	if i < 0 {
		return netip.Addr{}, false
	}
	return o.addrs[i], true
}

// listens reports whether somebody who shares a listens on a port of r.
func (b *book) listens(a netip.Addr, r *Request) bool {
	return slices.ContainsFunc(r.Ports, func(p Port) bool {
		_, taken := b.ports[socket{a, p}]
		return taken
	})
}

// blocked reports whether somebody uses a with whom r may not share it, or a is kept
// for others. It does not look at every user, for these can be many.
func (b *book) blocked(a netip.Addr, r *Request) bool {
	if b.reserve.against(a, r) != nil {
		return true
	}
	first := b.first(a)
	if first == nil {
		return false
	}
	u := b.request(first.rank)
	switch {
	case r.Share.Key == "" || r.Share.Key != u.Share.Key:
		return true
	case (first.across || u.Service.Namespace != r.Service.Namespace) && !b.across(a) && !r.has(a):
		return true
	case first.odd, first.fresh && (first.across || u.Service.Namespace != r.Service.Namespace):
		other, _ := b.blocker(a, r)
		return other != nil
	case (r.Share.Local || first.local) && u.Share.Pods != r.Share.Pods, r.Share.Local && first.mixed:
		return true
	}
	return b.listens(a, r)
}

// across reports whether Services of different namespaces may come to share a.
func (b *book) across(a netip.Addr) bool {
	s := b.find(a)
	return s != nil && s.Across
}

// has reports whether r has a now.
func (r *Request) has(a netip.Addr) bool { return slices.Contains(r.Has, a) }

// refuses says why two Services may not share a, or "". Those of different
// namespaces that both have it go on sharing it, whatever has become of its pool.
func (b *book) refuses(a netip.Addr, u, r *Request) string {
	switch {
	case u.Share.Key == "" && r.Share.Key == "":
		return "neither of them asks to share it"
	case u.Share.Key == "" || r.Share.Key == "":
		return "only one of them asks to share it"
	case u.Share.Key != r.Share.Key:
		return "their sharing keys differ"
	case u.Service.Namespace != r.Service.Namespace && !b.across(a) && !(u.has(a) && r.has(a)):
		if s := b.find(a); s != nil {
			return fmt.Sprintf("they are of different namespaces, and spec.sharing of IPAddressPool %q is Namespace", s.Name)
		}
		return "they are of different namespaces"
	case (u.Share.Local || r.Share.Local) && u.Share.Pods != r.Share.Pods:
		return "externalTrafficPolicy is Local and they select different Pods"
	}
	for _, p := range u.Ports {
		if slices.Contains(r.Ports, p) {
			return fmt.Sprintf("both listen on port %d/%s", p.Number, p.Protocol)
		}
	}
	return ""
}
