package intent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// A reservation may name a size of a pool in the place of addresses. Which addresses it has is chosen
// once, and stands in its status: from then on it is as if its spec named them. So nothing else that decides
// about addresses knows sizes, and people see which addresses these are.

// Size is how many addresses of a pool a reservation has in the place of addresses that it names. The zero
// Size is none.
type Size struct {
	Pool string
	Of   map[ipam.Family]int
}

func sizeOf(in *v1beta1.ReservationSize) Size {
	if in == nil {
		return Size{}
	}
	return Size{in.Pool, map[ipam.Family]int{ipam.IPv4: int(in.IPv4), ipam.IPv6: int(in.IPv6)}}
}

// Choosing is what is known when the addresses are chosen of reservations that name a size.
type Choosing struct {
	Before   map[string][]netip.Addr          // what was chosen before, by AddressReservation
	Users    map[netip.Addr][]*corev1.Service // who has an address, or is about to
	Kept     map[netip.Addr]bool              // what is kept for Services that were deleted
	Occupied *ipam.Occupied                   // what others have; not what is reserved
}

// Sizes reports whether any reservation names a size: then Reserved needs a Choosing.
func (c *Config) Sizes() bool {
	return slices.ContainsFunc(c.Reservations, func(r Reservation) bool { return r.Size.Pool != "" })
}

// ChosenBy reports whether the addresses of the reservation of that name are chosen: another cluster may choose others.
func (c *Config) ChosenBy(reservation string) bool {
	return slices.ContainsFunc(c.Reservations, func(r Reservation) bool { return r.Name == reservation && r.Size.Pool != "" })
}

// Chosen returns what was chosen before, by reservation: what is known of that, or what the status says.
func (x *Reserved) Chosen(objects []v1beta1.AddressReservation) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for i := range objects {
		for _, s := range objects[i].Status.Chosen {
			if a, err := parseAddr(s); err == nil { // only the controller writes them
				out[objects[i].Name] = append(out[objects[i].Name], a)
			}
		}
	}
	if x != nil {
		maps.Copy(out, x.chosen)
	}
	return out
}

// chooser chooses the addresses of one reservation.
type chooser struct {
	Choosing
	r      *Reservation
	pool   *Pool
	by     map[netip.Addr]*Reservation // what older reservations have
	listed map[netip.Addr]bool         // what reservations in force name, or had before
}

// choose returns the addresses of a reservation that names a size: of each family
//
//  1. those that were chosen before, first the ones that Services have which it names, then in their order;
//  2. further addresses of the pool that such Services have, the lowest first;
//  3. the lowest free addresses of the pool.
//
// It gives up an address that was chosen before if the pool does not hold it any more, an older reservation has
// it, or only others have it. While the pool is not there, what was chosen before stays.
func (c *Config) choose(r *Reservation, x Choosing, by map[netip.Addr]*Reservation, listed map[netip.Addr]bool) (out []netip.Addr) {
	i, there := c.named[r.Size.Pool]
	if !there {
		return slices.DeleteFunc(slices.Clone(x.Before[r.Name]), func(a netip.Addr) bool { return by[a] != nil || c.poolOf(a) != nil })
	}
	w := chooser{x, r, &c.Pools[i], by, listed}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		out = append(out, w.family(f, r.Size.Of[f])...)
	}
	return out
}

// listed are the addresses that reservations in force name, or that were chosen for them before.
func (c *Config) listed(now time.Time, before map[string][]netip.Addr) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for i := range c.Reservations {
		if r := &c.Reservations[i]; r.InForce(now) {
			for _, a := range slices.Concat(r.Addrs, before[r.Name]) {
				out[a] = true
			}
		}
	}
	return out
}

func (w *chooser) family(f ipam.Family, n int) []netip.Addr {
	var before, used []netip.Addr
	for _, a := range w.Before[w.r.Name] {
		if ipam.FamilyOf(a) == f && w.stays(a) {
			before = append(before, a)
		}
	}
	if len(before) > n {
		slices.SortStableFunc(before, func(a, b netip.Addr) int { return ipam.CompareBool(!w.used(a), !w.used(b)) })
		return before[:n]
	}
	if n -= len(before); n == 0 || w.pool.Frozen || w.pool.IPAM != "" {
		return before
	}
	for a := range w.Users {
		if ipam.FamilyOf(a) == f && w.used(a) && w.pool.Holds(a) && w.new(a, before) {
			used = append(used, a)
		}
	}
	slices.SortFunc(used, netip.Addr.Compare)
	used = used[:min(n, len(used))]
	pool := w.pool.Pool
	pool.Occupied = w.Occupied
	free := pool.Lowest(f, n-len(used), func(a netip.Addr) bool { return len(w.Users[a]) == 0 && !w.Kept[a] && w.new(a, before) })
	return slices.Concat(before, used, free)
}

// used reports whether a Service has a that the reservation names.
func (w *chooser) used(a netip.Addr) bool { return slices.ContainsFunc(w.Users[a], w.r.Names) }

// stays reports whether the reservation keeps a, which was chosen before.
func (w *chooser) stays(a netip.Addr) bool {
	by, occupied := w.Occupied.Of(a)
	return w.pool.Holds(a) && w.by[a] == nil && (w.used(a) || len(w.Users[a]) == 0 && (!occupied || by.Choosable()))
}

// new reports whether no reservation has a.
func (w *chooser) new(a netip.Addr, before []netip.Addr) bool {
	return w.by[a] == nil && !w.listed[a] && !slices.Contains(before, a)
}

// shortText tells why a reservation has fewer addresses than its size; "": it has as many.
func (c *Config) shortText(r *Reservation, has []netip.Addr) string {
	if r.Size.Pool == "" {
		return ""
	}
	i, there := c.named[r.Size.Pool]
	if !there {
		return fmt.Sprintf("there is no IPAddressPool %q: make it, or correct spec.size.pool", r.Size.Pool)
	}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		n := 0
		for _, a := range has {
			if ipam.FamilyOf(a) == f {
				n++
			}
		}
		switch of := r.Size.Of[f]; {
		case n >= of:
		case c.Pools[i].IPAM != "":
			return fmt.Sprintf("an IPAM chooses the addresses of IPAddressPool %q: name addresses in spec.addresses instead of spec.size", r.Size.Pool)
		default:
			return fmt.Sprintf("IPAddressPool %q has %d free %s addresses for it, and spec.size.%s is %d: add some to spec.addresses of the pool, or reserve fewer; it gets the next that are free", r.Size.Pool, n, f, map[ipam.Family]string{ipam.IPv4: "ipv4", ipam.IPv6: "ipv6"}[f], of)
		}
	}
	return ""
}
