package planner

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// sized is a controller whose writes succeed at once, with one pool and a reservation of two of its addresses.
type sized struct {
	*State
	in Input
}

func newSized(grace string) *sized {
	pools := []v1beta1.IPAddressPool{graced("lan", grace, "192.0.2.10-192.0.2.12")}
	held := []v1beta1.AddressReservation{{ObjectMeta: metav1.ObjectMeta{Name: "office"}, Spec: v1beta1.AddressReservationSpec{
		Size: &v1beta1.ReservationSize{Pool: "lan", IPv4: 2}, Namespace: "n", Services: []string{"mail", "web"},
	}}}
	objects := intent.Objects{Pools: pools, Reservations: held}
	return &sized{New(nil, Finalizer{}), Input{Now: time.Unix(1000, 0), Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: map[string]map[string]string{"n": nil}}}
}

// pass makes a pass a second later, and writes. It returns who has what, or why not.
func (x *sized) pass(services ...*corev1.Service) map[string]string {
	x.in.Now, x.in.Services = x.in.Now.Add(time.Second), versions(services)
	plan, sends, _ := x.Pass(x.in)
	out := map[string]string{}
	for i, s := range plan.Services {
		if out[s.Object.Name] = string(plan.Grants[i].Reason); len(plan.Grants[i].Addrs) > 0 {
			out[s.Object.Name] = plan.Grants[i].Addrs[0].String()
		}
	}
	summary := plan.Summary()
	for _, s := range sends {
		svc := s.Service.DeepCopy()
		s.Change.Apply(svc, x.Finalizer())
		take(services, svc)
		x.Done(s.Write, Answer{svc, nil, x.in.Now})
	}
	for _, c := range Statuses(x.in.Configured, Reports{}, summary) {
		switch o := c.After.(type) {
		case *v1beta1.IPAddressPool:
			x.in.Objects.Pools[0] = *o
		case *v1beta1.AddressReservation:
			x.in.Objects.Reservations[0] = *o
		}
	}
	return out
}

func (x *sized) is(t *testing.T, when string, have, want map[string]string, chosen ...string) {
	t.Helper()
	for name, a := range want {
		if have[name] != a {
			t.Errorf("%s: %s has %q, want %q", when, name, have[name], a)
		}
	}
	if s := x.in.Objects.Reservations[0].Status; !slices.Equal(s.Chosen, chosen) || int(s.Addresses.Reserved) != len(chosen) {
		t.Errorf("%s: chosen are %v, want %v; counted %+v", when, s.Chosen, chosen, s.Addresses)
	}
}

// A size is kept before its Services are there: another one gets the rest alone. Another leader goes on from
// what the status says.
func TestASizeIsKeptForServicesToCome(t *testing.T) {
	x := newSized("0s")
	a, b, mail := aService("a", 1), aService("b", 2), aService("mail", 3)
	x.is(t, "others come first", x.pass(a, b), map[string]string{"a": "192.0.2.12", "b": v1beta1.ReasonPoolExhausted}, "192.0.2.10", "192.0.2.11")
	x.Reset()
	x.is(t, "another leader", x.pass(a, b), map[string]string{"a": "192.0.2.12"}, "192.0.2.10", "192.0.2.11")
	x.is(t, "one is named", x.pass(a, b, mail), map[string]string{"mail": "192.0.2.10", "b": v1beta1.ReasonPoolExhausted}, "192.0.2.10", "192.0.2.11")
	x.is(t, "another leader", func() map[string]string { x.Reset(); return x.pass(a, b, mail) }(), map[string]string{"mail": "192.0.2.10"}, "192.0.2.10", "192.0.2.11")
	x.is(t, "what others give back is others'", x.pass(b, mail), map[string]string{"b": "192.0.2.12"}, "192.0.2.10", "192.0.2.11")
}

// A reservation that has too few gets what is free next, before a Service that waits; but not what
// is kept for a Service that may come back.
func TestASizeThatIsTooLargeGrows(t *testing.T) {
	for _, c := range []struct {
		grace string
		after []string // what is chosen when the Service is gone
	}{{"0s", []string{"192.0.2.12", "192.0.2.10"}}, {"5m", []string{"192.0.2.12"}}} {
		x := newSized(c.grace)
		a, b, waits := aService("a", 1), aService("b", 2), aService("waits", 3)
		a.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}}
		b.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.11"}}
		x.is(t, "others have the rest", x.pass(a, b, waits), map[string]string{"a": "192.0.2.10", "b": "192.0.2.11", "waits": v1beta1.ReasonPoolExhausted}, "192.0.2.12")
		conditions := x.in.Objects.Reservations[0].Status.Conditions
		if i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionAccepted }); conditions[i].Reason != v1beta1.ReasonTooFewAddresses {
			t.Errorf("its condition: %+v", conditions[i])
		}
		x.is(t, "graceTime "+c.grace, x.pass(b, waits), map[string]string{"waits": v1beta1.ReasonPoolExhausted}, c.after...)
	}
}
