package intent

import (
	"cmp"
	"fmt"
	"maps"
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
	Name  string
	Addrs []netip.Addr // in the order in which Services get them; none twice
	Size  Size         // in the place of Addrs
	Until time.Time    // zero: for ever
	named []named
}

// named are Services of a namespace that a reservation is for.
type named struct {
	namespace string
	services  map[string]bool
	selects   announce.Selector // nil: none
}

// all reports whether they are all Services of the namespace.
func (n *named) all() bool { return len(n.services) == 0 && n.selects == nil }

// InForce reports whether the reservation has not ended.
func (r *Reservation) InForce(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// Names reports whether the reservation is for svc.
func (r *Reservation) Names(svc *corev1.Service) bool {
	return slices.ContainsFunc(r.named, func(n named) bool {
		return n.namespace == svc.Namespace && (n.all() || n.services[svc.Name] || n.selects != nil && n.selects(svc.Labels))
	})
}

// namesItself reports whether the reservation is for svc by its name.
func (r *Reservation) namesItself(svc *corev1.Service) bool {
	return slices.ContainsFunc(r.named, func(n named) bool { return n.namespace == svc.Namespace && n.services[svc.Name] })
}

// namespaces are those of the Services that the reservation is for, sorted.
func (r *Reservation) namespaces() (out []string) {
	for _, n := range r.named {
		out = append(out, n.namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
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
	out := Reservation{Name: obj.Name, Size: sizeOf(obj.Spec.Size)}
	if obj.Spec.Expires != nil {
		out.Until = obj.Spec.Expires.Time
	}
	all, faults := ranges("spec.addresses", obj.Spec.Addresses, reachable)
	var wrong []error
	out.named, wrong = namedBy(&obj.Spec)
	faults = append(faults, wrong...)
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

// namedBy reads for which Services a reservation is.
func namedBy(spec *v1beta1.AddressReservationSpec) (out []named, faults []error) {
	for i, h := range spec.For() {
		n := named{namespace: h.Namespace, services: map[string]bool{}}
		for _, name := range h.Services {
			n.services[name] = true
		}
		if h.ServiceSelector != nil {
			var err error
			if n.selects, err = selector(selectorField(i), []metav1.LabelSelector{*h.ServiceSelector}); err != nil {
				faults = append(faults, err)
			}
		}
		out = append(out, n)
	}
	return out, faults
}

// selectorField is the field of the serviceSelector of the Services of that place.
func selectorField(i int) string {
	if i == 0 {
		return "spec.serviceSelector"
	}
	return fmt.Sprintf("spec.alsoFor[%d].serviceSelector", i-1)
}

// ReservationsFor returns those that are for svc, in force or not: first those that name it, then
// those that select it; of each kind the oldest first.
func (c *Config) ReservationsFor(svc *corev1.Service) []*Reservation {
	var out []*Reservation
	for _, i := range c.reservedFor[KeyOf(svc)] {
		out = append(out, &c.Reservations[i])
	}
	for _, i := range c.reservedIn[svc.Namespace] {
		if r := &c.Reservations[i]; !r.namesItself(svc) && r.Names(svc) {
			out = append(out, r)
		}
	}
	return out
}

// Reserved are the addresses that reservations in force have, each with the name of the oldest
// that has it. Nil has none.
type Reserved struct {
	by     map[netip.Addr]*Reservation
	chosen map[string][]netip.Addr // by reservation that names a size
	config *Config
	until  time.Time // when the next reservation ends; zero: none does
}

// addrs are the addresses that a reservation names, or that were chosen for it.
func (x *Reserved) addrs(r *Reservation) []netip.Addr {
	if x == nil || r.Size.Pool == "" {
		return r.Addrs
	}
	return x.chosen[r.Name]
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

// Reserved returns what is reserved at that time: before, if that is still so. Where reservations name sizes
// it chooses their addresses by x.
func (c *Config) Reserved(now time.Time, before *Reserved, x Choosing) *Reserved {
	still := before != nil && before.config == c && (before.until.IsZero() || now.Before(before.until))
	switch {
	case len(c.Reservations) == 0: // usually
		return nil
	case still && len(before.chosen) == 0 && !c.Sizes():
		return before
	}
	out := &Reserved{map[netip.Addr]*Reservation{}, map[string][]netip.Addr{}, c, c.reservationsEnd(now)}
	listed := c.listed(now, x.Before)
	for i := range c.Reservations {
		r := &c.Reservations[i]
		if !r.InForce(now) {
			continue
		}
		if r.Size.Pool != "" {
			out.chosen[r.Name] = c.choose(r, x, out.by, listed)
		}
		for _, a := range out.addrs(r) {
			if out.by[a] == nil {
				out.by[a] = r
			}
		}
	}
	if still && maps.EqualFunc(before.chosen, out.chosen, slices.Equal) {
		return before
	}
	return out
}

// Of returns the addresses that those reservations have, in their order.
func (x *Reserved) Of(reservations []*Reservation) (out []netip.Addr) {
	for _, r := range reservations {
		for _, a := range x.addrs(r) {
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
	Reserved, Used int32        // addresses of pools that it has, and those of them that Services have which it names
	Chosen         []netip.Addr // what was chosen for it, if it names a size
	Accepted       Finding      // beside that of its Validation
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
	has := reserved.addrs(r)
	if out.Chosen = reserved.chosen[r.Name]; r.Size.Pool != "" {
		if short := c.shortText(r, has); short != "" {
			note(v1beta1.ReasonTooFewAddresses, "%s", short)
		}
	}
	for _, a := range has { // the faults first: the first gives the reason
		if by := reserved.By(a); by != r.Name {
			note(v1beta1.ReasonOverlaps, "%s is reserved by AddressReservation %q, which is older: take it out of one of the two", a, by)
		}
	}
	for _, a := range has {
		switch {
		case reserved.By(a) != r.Name:
			continue
		case c.poolOf(a) == nil && r.Size.Pool != "": // its pool is not there
			continue
		case c.poolOf(a) == nil:
			note("", "no IPAddressPool holds %s", a)
			continue
		}
		out.Reserved++
		with := users(a)
		switch i := slices.IndexFunc(with, func(svc *corev1.Service) bool { return !r.Names(svc) }); {
		case i >= 0:
			note("", "Service %s has %s, is not named, and keeps it", KeyOf(with[i]), a)
		case len(with) > 0:
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
		for _, n := range all[i].named {
			for name := range n.services {
				addOnce(out.reservedFor, ipam.Key{Namespace: n.namespace, Name: name}, i)
			}
			if n.all() || n.selects != nil {
				addOnce(out.reservedIn, n.namespace, i)
			}
		}
	}
	return out
}

// addOnce adds i to what is of a key, unless it is the last there already.
func addOnce[K comparable](to map[K][]int, key K, i int) {
	if of := to[key]; len(of) == 0 || of[len(of)-1] != i {
		to[key] = append(of, i)
	}
}

// reserved enters what reservations have of the pools' addresses.
func (o *occupancy) reserved(x *Reserved) {
	if x == nil {
		return
	}
	for a, r := range x.by {
		if o.holds(a) {
			by, _ := o.out.Of(a)
			by.Reserved, by.ReservedIn = r.Name, ipam.Namespaces(r.namespaces())
			o.out.Addrs[a] = by
		}
	}
}
