package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// reservations is what reserve, pin and release answer.
type reservations struct {
	DryRun       bool          `json:"dryRun,omitempty"`
	Reservations []reservation `json:"reservations"`
}

// reservation is what became of one AddressReservation.
type reservation struct {
	Name      string                   `json:"name"`
	Action    string                   `json:"action"` // created, updated, unchanged or deleted
	Addresses []string                 `json:"addresses"`
	Size      *v1beta1.ReservationSize `json:"size,omitempty"` // in the place of addresses
	For       string                   `json:"for"`            // namespace/name of its Service, or its namespace; several with "and" between
}

func (reservations) kind() string { return "Reservations" }

func (reservations) clean() bool { return true }

func (r reservations) draw(p *printer) {
	if len(r.Reservations) == 0 {
		p.line(plain("no Service has an address"))
	}
	for _, x := range r.Reservations {
		action := x.Action
		if r.DryRun && action != "unchanged" {
			action = "would be " + action
		}
		p.line(plain(fmt.Sprintf("addressreservation/%s %s: %s for %s", x.Name, action, x.what(), x.For)))
	}
}

// what tells what is reserved.
func (r reservation) what() string {
	if r.Size == nil {
		return strings.Join(r.Addresses, ", ")
	}
	var of []string
	for _, x := range []struct {
		n      int32
		family string
	}{{r.Size.IPv4, "IPv4"}, {r.Size.IPv6, "IPv6"}} {
		if x.n > 0 {
			of = append(of, fmt.Sprintf("%d %s addresses", x.n, x.family))
		}
	}
	return strings.Join(of, " and ") + " of IPAddressPool " + r.Size.Pool
}

// reserving are the flags of reserve and pin.
type reserving struct {
	dryRun  bool
	expires time.Duration
}

func (r *reserving) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "change nothing, and tell what would be")
	c.Flags().DurationVar(&r.expires, "expires", 0, "how long the reservation holds, such as 720h (default: for ever)")
}

// until is when a reservation that is made at that time ends.
func (r *reserving) until(now time.Time) *metav1.Time {
	if r.expires == 0 {
		return nil
	}
	return &metav1.Time{Time: now.Add(r.expires).Truncate(time.Second)}
}

func reserve(t *tool) *cobra.Command {
	var r reserving
	var service, selector, name string
	var size v1beta1.ReservationSize
	c := t.command(&cobra.Command{
		Use:   "reserve ADDRESS… | --pool POOL [--ipv4 N] [--ipv6 N] [--service NAME | -l SELECTOR]",
		Short: "Reserve addresses for Services of a namespace, also for some that do not exist yet",
		Long: `Reserve addresses, ranges or CIDRs, or so many addresses of a pool, for Services of
the namespace that kubectl's flags name, also for some that do not exist yet. It
writes an AddressReservation.

No other Service gets the addresses. One that has one of them keeps it.`,
		Example: `  kubectl steelyard reserve 192.0.2.120 192.0.2.130-192.0.2.131 -n shop --service mail
  kubectl steelyard reserve --pool lan --ipv4 3 -n shop`,
		Args: cobra.ArbitraryArgs,
	}, func(ctx context.Context, args []string) (answer, error) {
		ns, err := t.namespace()
		if err != nil {
			return nil, err
		}
		sized := size != v1beta1.ReservationSize{}
		switch {
		case sized == (len(args) > 0):
			return nil, errors.New("name addresses, or give --pool with --ipv4, --ipv6 or both")
		case sized && (size.Pool == "" || size.IPv4 <= 0 && size.IPv6 <= 0 || size.IPv4 < 0 || size.IPv6 < 0):
			return nil, errors.New("--pool POOL goes with --ipv4 N, --ipv6 N or both, each at least 1")
		}
		want := &v1beta1.AddressReservation{}
		want.Spec = v1beta1.AddressReservationSpec{Namespace: ns, Expires: r.until(t.now())}
		if sized {
			want.Spec.Size = &size
		}
		for _, a := range args {
			want.Spec.Addresses = append(want.Spec.Addresses, v1beta1.AddressRange(a))
		}
		want.Name = ns
		if service != "" {
			want.Spec.Services, want.Name = []string{service}, reservationName(ns, service)
		}
		if selector != "" {
			if want.Spec.ServiceSelector, err = metav1.ParseToLabelSelector(selector); err != nil {
				return nil, fmt.Errorf("-l %s: %w", selector, err)
			}
		}
		if name != "" {
			want.Name = name
		}
		return t.writeReservations(ctx, []*v1beta1.AddressReservation{want}, r.dryRun)
	})
	c.Flags().StringVar(&size.Pool, "pool", "", "IPAddressPool that the addresses are chosen from")
	c.Flags().Int32Var(&size.IPv4, "ipv4", 0, "how many IPv4 addresses of --pool")
	c.Flags().Int32Var(&size.IPv6, "ipv6", 0, "how many IPv6 addresses of --pool")
	c.Flags().StringVar(&service, "service", "", "name of the Service")
	c.Flags().StringVarP(&selector, "selector", "l", "", "labels of the Services")
	c.Flags().StringVar(&name, "name", "", "name of the AddressReservation (default: the namespace, and the Service)")
	r.addFlags(c)
	return c
}

func pin(t *tool) *cobra.Command {
	var r reserving
	var all, everywhere bool
	c := t.command(&cobra.Command{
		Use:   "pin svc/NAME… | --all | -A",
		Short: "Reserve for Services the addresses that they have",
		Long: `Reserve for Services the addresses that they have: each gets them again, whenever
it is deleted and made again. It writes an AddressReservation for each Service,
named after its namespace and its name.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: t.names(corev1Kind("Service"), "svc/"),
	}, func(ctx context.Context, args []string) (answer, error) {
		if (len(args) > 0) == (all || everywhere) {
			return nil, errors.New("name Services (svc/NAME), or give --all for those of the namespace, or -A for all")
		}
		want, err := t.pinned(ctx, args, everywhere, r.until(t.now()))
		if err != nil {
			return nil, err
		}
		return t.writeReservations(ctx, want, r.dryRun)
	})
	c.Flags().BoolVar(&all, "all", false, "all Services of the namespace")
	c.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "all Services of all namespaces")
	r.addFlags(c)
	return c
}

// pinned returns the reservations of what Services have: of those of these names, or of all.
func (t *tool) pinned(ctx context.Context, names []string, everywhere bool, until *metav1.Time) (out []*v1beta1.AddressReservation, err error) {
	w, err := t.world(ctx)
	if err != nil {
		return nil, err
	}
	ns, err := t.namespace()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[strings.TrimPrefix(strings.TrimPrefix(name, "service/"), "svc/")] = true
	}
	found := map[string]bool{}
	evaluation := w.Evaluate()
	for _, svc := range evaluation.Served {
		if !everywhere && svc.Namespace != ns || len(names) > 0 && !wanted[svc.Name] {
			continue
		}
		found[svc.Name] = true
		addrs := evaluation.Checked.Lasting(intent.Holds(svc))
		if len(addrs) == 0 && len(names) > 0 {
			return nil, fmt.Errorf("svc/%s in namespace %s has no address: see kubectl steelyard explain svc/%s", svc.Name, ns, svc.Name)
		}
		if len(addrs) > 0 {
			out = append(out, pinOf(svc, addrs, until))
		}
	}
	for name := range wanted {
		if !found[name] {
			return nil, fmt.Errorf("no Service %s in namespace %s that Steelyard serves", name, ns)
		}
	}
	return out, nil
}

// pinOf is the reservation of what a Service has.
func pinOf(svc *corev1.Service, addrs []netip.Addr, until *metav1.Time) *v1beta1.AddressReservation {
	out := &v1beta1.AddressReservation{}
	out.Name = reservationName(svc.Namespace, svc.Name)
	out.Spec = v1beta1.AddressReservationSpec{Namespace: svc.Namespace, Services: []string{svc.Name}, Expires: until}
	for _, a := range addrs {
		out.Spec.Addresses = append(out.Spec.Addresses, v1beta1.AddressRange(a.String()))
	}
	return out
}

// reservationName is the name of the AddressReservation for one Service.
func reservationName(namespace, service string) string { return namespace + "." + service }

// writeReservations creates AddressReservations, or brings them up to date.
func (t *tool) writeReservations(ctx context.Context, all []*v1beta1.AddressReservation, dryRun bool) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	out := reservations{DryRun: dryRun, Reservations: []reservation{}}
	for _, want := range all {
		x := reservationOf(want, "")
		if x.Action, err = writeReservation(ctx, c, want, dryRun); err != nil {
			return nil, err
		}
		out.Reservations = append(out.Reservations, x)
	}
	slices.SortFunc(out.Reservations, func(a, b reservation) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// writeReservation writes one, and returns what that came to.
func writeReservation(ctx context.Context, c client.Client, want *v1beta1.AddressReservation, dryRun bool) (action string, err error) {
	have := &v1beta1.AddressReservation{}
	switch err = c.Get(ctx, client.ObjectKeyFromObject(want), have); {
	case apierrors.IsNotFound(err):
		action, err = "created", nil
		if !dryRun {
			err = c.Create(ctx, want)
		}
	case err != nil:
	case sameReservation(have.Spec, want.Spec):
		return "unchanged", nil
	default:
		action = "updated"
		before := have.DeepCopy()
		if have.Spec = want.Spec; !dryRun {
			err = c.Patch(ctx, have, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		}
	}
	if err != nil {
		return "", fmt.Errorf("write AddressReservation %q: %w", want.Name, err)
	}
	return action, nil
}

func sameReservation(a, b v1beta1.AddressReservationSpec) bool {
	return equality.Semantic.DeepEqual(a, b)
}

func reservationOf(o *v1beta1.AddressReservation, action string) reservation {
	out := reservation{Name: o.Name, Action: action, Addresses: []string{}, Size: o.Spec.Size, For: textFor(o.Spec.For())}
	for _, a := range o.Spec.Addresses {
		out.Addresses = append(out.Addresses, string(a))
	}
	return out
}

// textFor tells whom a reservation names.
func textFor(all []v1beta1.ReservedFor) string {
	out := make([]string, len(all))
	for i, x := range all {
		if out[i] = x.Namespace; len(x.Services) > 0 {
			out[i] += "/" + strings.Join(x.Services, ",")
		}
	}
	return strings.Join(out, " and ")
}

func release(t *tool) *cobra.Command {
	var dryRun bool
	c := t.command(&cobra.Command{
		Use:   "release NAME… | svc/NAME…",
		Short: "Delete AddressReservations; who has an address of one keeps it",
		Long: `Delete AddressReservations, by their names, or those that "pin" and "reserve" have
made for a Service of the namespace. A Service that has an address of one keeps it.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: t.names(v1beta1.GroupVersion().WithKind("AddressReservation"), ""),
	}, func(ctx context.Context, args []string) (answer, error) {
		return t.release(ctx, args, dryRun)
	})
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and tell what would be")
	return c
}

func (t *tool) release(ctx context.Context, args []string, dryRun bool) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	ns, err := t.namespace()
	if err != nil {
		return nil, err
	}
	out := reservations{DryRun: dryRun, Reservations: []reservation{}}
	for _, name := range args {
		if svc, is := strings.CutPrefix(name, "svc/"); is {
			name = reservationName(ns, svc)
		}
		have := &v1beta1.AddressReservation{}
		err := c.Get(ctx, client.ObjectKey{Name: name}, have)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no AddressReservation %q: see kubectl get addressreservations.steelyard.dev", name)
		}
		if err == nil && !dryRun {
			err = c.Delete(ctx, have)
		}
		if err != nil {
			return nil, fmt.Errorf("delete AddressReservation %q: %w", name, err)
		}
		out.Reservations = append(out.Reservations, reservationOf(have, "deleted"))
	}
	return out, nil
}
