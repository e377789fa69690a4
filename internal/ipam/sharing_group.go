package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// endpoint is a port of an address.
type endpoint struct {
	addr netip.Addr
	port Port
}

// sharingKey tells those who may share what is in a pool.
type sharingKey struct {
	key       string
	namespace string // "" where the pool lets all share
	pool      *poolState
	family    Family
}

func sharingKeyOf(r *Request, s *poolState, f Family) sharingKey {
	if s.CrossNamespace {
		return sharingKey{r.Share.Key, "", s, f}
	}
	return sharingKey{r.Share.Key, r.Service.Namespace, s, f}
}

// sharingGroup is the addresses that those of a sharingKey hold, and who might join where.
type sharingGroup struct {
	addrs      []netip.Addr           // as they came into use; none twice
	candidates map[string]*candidates // by the ports of those who would join
	listeners  map[Port]int           // on how many of the addresses a Service has it
}

// full reports whether at every address of the group some holder listens on a port of r.
func (g *sharingGroup) full(r *Request) bool {
	return slices.ContainsFunc(r.Ports, func(p Port) bool { return g.listeners[p] == len(g.addrs) })
}

// candidates are the addresses of a group, from the lowest upwards, without those
// where a port was found to be taken; these are not asked about again.
type candidates struct {
	seen  int // so many of the group's addresses have entered
	addrs []netip.Addr
}

// lowestShared returns the lowest address of g that r can share. In nil there is none.
func (al *allocation) lowestShared(g *sharingGroup, r *Request) (netip.Addr, bool) {
	if g == nil || g.full(r) {
		return netip.Addr{}, false
	}
	var ports []byte
	for _, p := range r.Ports {
		ports = binary.BigEndian.AppendUint16(append(ports, p.Protocol...), p.Number)
	}
	o := g.candidates[string(ports)]
	if o == nil {
		o = &candidates{len(g.addrs), slices.Clone(g.addrs)}
		slices.SortFunc(o.addrs, netip.Addr.Compare)
		g.candidates[string(ports)] = o
	}
	for _, a := range g.addrs[o.seen:] {
		i, _ := slices.BinarySearchFunc(o.addrs, a, netip.Addr.Compare)
		o.addrs = slices.Insert(o.addrs, i, a)
	}
	o.seen = len(g.addrs)
	for len(o.addrs) > 0 && al.listens(o.addrs[0], r) {
		o.addrs = o.addrs[1:]
	}
	i := slices.IndexFunc(o.addrs, func(a netip.Addr) bool {
		return !al.blocked(a, r) && !al.unjoinable(a, r) && al.exceeded(r, pooledAddr{a, al.find(a)}) == nil
	})
	if i < 0 {
		return netip.Addr{}, false
	}
	return o.addrs[i], true
}

// unjoinable reports whether r does not come to share a, which a pool holds, unasked: it has it, or the pool
// would not choose it for r.
func (al *allocation) unjoinable(a netip.Addr, r *Request) bool {
	return al.own.has(a) || !al.find(a).chooses(a, r)
}

// listens reports whether a holder of a listens on a port of r.
func (al *allocation) listens(a netip.Addr, r *Request) bool {
	return slices.ContainsFunc(r.Ports, func(p Port) bool {
		_, taken := al.ports[endpoint{a, p}]
		return taken
	})
}

// blocked reports whether a holder of a may not share it with r, or a is kept
// for others. It does not look at every holder, since there can be thousands.
func (al *allocation) blocked(a netip.Addr, r *Request) bool {
	if al.kept.blocking(a, r) != nil {
		return true
	}
	first := al.firstHolder(a)
	if first == nil {
		return false
	}
	u := al.request(first.rank)
	across := first.crossNamespace || u.Service.Namespace != r.Service.Namespace
	switch {
	case r.Share.Key == "" || r.Share.Key != u.Share.Key, across && !al.crossNamespace(a) && !r.has(a):
		return true
	case first.conflicting, first.fresh && across:
		other, _ := al.blocker(a, r)
		return other != nil
	case (r.Share.Local || first.local) && across:
		return true
	}
	return al.listens(a, r) || al.apart(a, r)
}

// crossNamespace reports whether Services of different namespaces may come to share a.
func (al *allocation) crossNamespace(a netip.Addr) bool {
	s := al.find(a)
	return s != nil && s.CrossNamespace
}

// has reports whether r has a now.
func (r *Request) has(a netip.Addr) bool { return slices.Contains(r.Has, a) }

// sharingAnnotation is v1beta1.AnnotationAllowSharedIP, for messages.
const sharingAnnotation = "steelyard.dev/allow-shared-ip"

// keysDiffer returns the reason for which the sharing keys of two Services do not let r
// share an address that u has.
func keysDiffer(u, r *Request) string {
	switch {
	case u.Share.Key == r.Share.Key:
		return "neither of them asks to share it, with the same key in the annotation " + sharingAnnotation + " of both"
	case u.Share.Key == "":
		return fmt.Sprintf("it does not ask to share it, with the key %s in the annotation %s", printable.Quote(r.Share.Key), sharingAnnotation)
	case r.Share.Key == "":
		return "it shares it only with Services that have its key in the annotation " + sharingAnnotation
	}
	return "their sharing keys (annotation " + sharingAnnotation + ") differ"
}

// refuses returns the reason for which two Services may not share a, or "". Those of different
// namespaces that both have it go on sharing it, whatever has become of its pool.
func (al *allocation) refuses(a netip.Addr, u, r *Request) string {
	if u.Share.Key != r.Share.Key || u.Share.Key == "" {
		return keysDiffer(u, r)
	}
	for _, p := range u.Ports {
		if slices.Contains(r.Ports, p) {
			return fmt.Sprintf("both listen on port %d/%s", p.Number, p.Protocol)
		}
	}
	switch { // what depends on who has a comes last: the reason for which one lost it stays the same afterwards
	case (u.Share.Local || r.Share.Local) && u.Service.Namespace != r.Service.Namespace:
		return "externalTrafficPolicy is Local and they are of different namespaces: both need the policy Cluster"
	case u.Service.Namespace != r.Service.Namespace && !al.crossNamespace(a) && !(u.has(a) && r.has(a)):
		if s := al.find(a); s != nil {
			return fmt.Sprintf("they are of different namespaces, and spec.sharing of IPAddressPool %q is Namespace, not Cluster", s.Name)
		}
		return "they are of different namespaces"
	}
	return ""
}
