package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Reservation is an AddressReservation that is valid.
type Reservation struct {
	Name      string
	Addrs     []netip.Addr // in the order in which Services get them; none twice
	Until     time.Time    // zero: for ever
	namespace string
	services  map[string]bool
	selects   announce.Selector // nil: none
}

// InForce reports whether the reservation has not ended.
func (r *Reservation) InForce(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// Names reports whether the reservation is for svc.
func (r *Reservation) Names(svc *corev1.Service) bool {
	switch {
	case svc.Namespace != r.namespace:
		return false
	case len(r.services) == 0 && r.selects == nil:
		return true
	}
	return r.services[svc.Name] || r.selects != nil && r.selects(svc.Labels)
}

// reservations checks each AddressReservation by itself. Whether two have one address depends on
// whether both are in force.
func (p *parser) reservations(in []v1beta1.AddressReservation, pools []Pool) []Reservation {
	var out []Reservation
	following := slices.DeleteFunc(slices.Clone(pools), func(p Pool) bool { return p.prefixes.hosts == nil })
	for _, obj := range byAge(in) {
		ref := Ref{"AddressReservation", obj.Name}
		p.accept(ref)
		if r, valid := p.reservation(ref, obj, following); valid {
			out = append(out, r)
		}
	}
	return out
}

// reservation reads one. Host parts of the pools in following, which follow a prefix, are addresses of these.
func (p *parser) reservation(ref Ref, obj *v1beta1.AddressReservation, following []Pool) (_ Reservation, valid bool) {
	out := Reservation{Name: obj.Name, namespace: obj.Spec.Namespace, services: map[string]bool{}}
	for _, name := range obj.Spec.Services {
		out.services[name] = true
	}
	if obj.Spec.Expires != nil {
		out.Until = obj.Spec.Expires.Time
	}
	all, faults := ranges("spec.addresses", obj.Spec.Addresses, reachable)
	if obj.Spec.ServiceSelector != nil {
		var err error
		if out.selects, err = selector("spec.serviceSelector", []metav1.LabelSelector{*obj.Spec.ServiceSelector}); err != nil {
			faults = append(faults, err)
		}
	}
	seen := map[netip.Addr]bool{}
	for _, r := range all {
		for a := r.First; a.IsValid() && a.Compare(r.Last) <= 0 && len(out.Addrs) <= v1beta1.MaxReserved; a = a.Next() {
			if !seen[a] {
				seen[a], out.Addrs = true, append(out.Addrs, addressUnder(following, a))
			}
		}
	}
	if len(out.Addrs) > v1beta1.MaxReserved {
		faults = append(faults, fmt.Errorf("spec.addresses has more than %d addresses: make several AddressReservations, or an IPAddressPool with serviceAllocation", v1beta1.MaxReserved))
	}
	for _, err := range faults {
		p.fault(ref, v1beta1.ReasonInvalid, "%v", err)
	}
	return out, len(faults) == 0
}

// ReservationsFor returns those that are for svc, in force or not: first those that name it, then
// those that select it; of each kind the oldest first.
func (c *Config) ReservationsFor(svc *corev1.Service) []*Reservation {
	var out []*Reservation
	for _, i := range c.reservedFor[KeyOf(svc)] {
		out = append(out, &c.Reservations[i])
	}
	for _, i := range c.reservedIn[svc.Namespace] {
		if r := &c.Reservations[i]; !r.services[svc.Name] && r.Names(svc) {
			out = append(out, r)
		}
	}
	return out
}

// Reserved are the addresses that reservations in force have, each with the name of the oldest
// that has it. Nil has none.
type Reserved struct {
	by     map[netip.Addr]*Reservation
	config *Config
	until  time.Time // when the next reservation ends; zero: none does
}

// By returns the name of the reservation that has a; "": none has.
func (x *Reserved) By(a netip.Addr) string {
	if x == nil || x.by[a] == nil {
		return ""
	}
	return x.by[a].Name
}

// Ends returns when the next reservation ends; zero: none does.
func (x *Reserved) Ends() time.Time {
	if x == nil {
		return time.Time{}
	}
	return x.until
}

// Reserved returns what is reserved at that time: before, if that is still so.
func (c *Config) Reserved(now time.Time, before *Reserved) *Reserved {
	switch {
	case len(c.Reservations) == 0: // usually
		return nil
	case before != nil && before.config == c && (before.until.IsZero() || now.Before(before.until)):
		return before
	}
	out := &Reserved{map[netip.Addr]*Reservation{}, c, c.reservationsEnd(now)}
	for i := range c.Reservations {
		if r := &c.Reservations[i]; r.InForce(now) {
			for _, a := range r.Addrs {
				if out.by[a] == nil {
					out.by[a] = r
				}
			}
		}
	}
	return out
}

// Of returns the addresses that those reservations have, in their order.
func (x *Reserved) Of(reservations []*Reservation) (out []netip.Addr) {
	for _, r := range reservations {
		for _, a := range r.Addrs {
			if x.By(a) == r.Name {
				out = append(out, a)
			}
		}
	}
	return out
}

// reservationsEnd returns when the next reservation ends after now; zero: none does.
func (c *Config) reservationsEnd(now time.Time) (next time.Time) {
	for i := range c.Reservations {
		if until := c.Reservations[i].Until; now.Before(until) && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	return next
}

// ReservationUse is what becomes of a reservation at one time.
type ReservationUse struct {
	Reserved, Used int32   // addresses of pools that it has, and those of them that Services have which it names
	Accepted       Finding // beside that of its Validation
}

// Uses tells what becomes of each reservation, by its name. The function users returns the Services that
// have an address.
func (c *Config) Uses(now time.Time, reserved *Reserved, users func(netip.Addr) []*corev1.Service) map[string]ReservationUse {
	if len(c.Reservations) == 0 {
		return nil
	}
	out := make(map[string]ReservationUse, len(c.Reservations))
	for i := range c.Reservations {
		r := &c.Reservations[i]
		out[r.Name] = c.use(r, now, reserved, users)
	}
	return out
}

func (c *Config) use(r *Reservation, now time.Time, reserved *Reserved, users func(netip.Addr) []*corev1.Service) (out ReservationUse) {
	if !r.InForce(now) {
		out.Accepted = Finding{v1beta1.ReasonExpired, fmt.Sprintf("spec.expires was %s: delete it, or set a later time", r.Until.UTC().Format(time.RFC3339))}
		return out
	}
	var p parser
	p.found = map[foundIn]int{}
	note := func(reason, format string, args ...any) {
		p.add(foundIn{}, &out.Accepted, cmp.Or(reason, out.Accepted.Reason), format, args)
	}
	for _, a := range r.Addrs { // the faults first: the first gives the reason
		if by := reserved.By(a); by != r.Name {
			note(v1beta1.ReasonOverlaps, "%s is reserved by AddressReservation %q, which is older: take it out of one of the two", a, by)
		}
	}
	for _, a := range r.Addrs {
		switch {
		case reserved.By(a) != r.Name:
			continue
		case c.poolOf(a) == nil:
			note("", "no IPAddressPool holds %s", a)
			continue
		}
		out.Reserved++
		has := users(a)
		switch i := slices.IndexFunc(has, func(svc *corev1.Service) bool { return !r.Names(svc) }); {
		case i >= 0:
			note("", "Service %s has %s, is not named, and keeps it", KeyOf(has[i]), a)
		case len(has) > 0:
			out.Used++
		}
	}
	return out
}

// reservationIndex finds reservations by the Services that they name, and, if they name others as
// well, by their namespaces.
type reservationIndex struct {
	reservedFor map[ipam.Key][]int
	reservedIn  map[string][]int
}

func indexOf(all []Reservation) reservationIndex {
	out := reservationIndex{map[ipam.Key][]int{}, map[string][]int{}}
	for i := range all {
		r := &all[i]
		for name := range r.services {
			k := ipam.Key{Namespace: r.namespace, Name: name}
			out.reservedFor[k] = append(out.reservedFor[k], i)
		}
		if len(r.services) == 0 || r.selects != nil {
			out.reservedIn[r.namespace] = append(out.reservedIn[r.namespace], i)
		}
	}
	return out
}

// reserved enters what reservations have of the pools' addresses.
func (o *occupancy) reserved(x *Reserved) {
	if x == nil {
		return
	}
	for a, r := range x.by {
		if o.holds(a) {
			by, _ := o.out.Of(a)
			by.Reserved, by.ReservedIn = r.Name, r.namespace
			o.out.Addrs[a] = by
		}
	}
}
