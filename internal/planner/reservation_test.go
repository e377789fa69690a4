package planner

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// A Service that is not named gets none of what is reserved until that ends, then it does: a pass
// is due at that time, and the pool's status counts.
func TestAReservationHoldsUntilItEnds(t *testing.T) {
	end := time.Unix(1000, 0)
	pools := []v1beta1.IPAddressPool{graced("lan", "0s", "192.0.2.10-192.0.2.11")}
	held := []v1beta1.AddressReservation{{ObjectMeta: metav1.ObjectMeta{Name: "office"}, Spec: v1beta1.AddressReservationSpec{
		Addresses: []v1beta1.AddressRange{"192.0.2.10"}, Namespace: "n", Services: []string{"mail"}, Expires: &metav1.Time{Time: end},
	}}}
	objects := intent.Objects{Pools: pools, Reservations: held}
	in := Input{Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: map[string]map[string]string{"n": nil}}
	state := New(nil, Finalizer{})
	pass := func(at time.Time, services ...*corev1.Service) (Plan, map[string]string, time.Duration) {
		in.Now, in.Services = at, services
		plan, _, again := state.Pass(in)
		got := map[string]string{}
		for i, x := range plan.Services {
			got[x.Object.Name] = ""
			if g := plan.Grants[i]; len(g.Addrs) > 0 {
				got[x.Object.Name] = g.Addrs[0].String()
			}
		}
		return plan, got, again
	}
	a, b := aService("a", 0), aService("b", 1)
	plan, got, again := pass(end.Add(-time.Minute), a, b)
	if got["a"] != "192.0.2.11" || got["b"] != "" || again != time.Minute {
		t.Errorf("while it lasts: %v, again in %s", got, again)
	}
	summary := plan.Summary()
	if u := summary.Usage["lan"][0].Status(); u.Reserved != "1" || u.Assigned != "1" || u.Available != "0" {
		t.Errorf("usage %+v", u)
	}
	i := slices.IndexFunc(Statuses(in.Configured, Reports{}, summary), func(c StatusChange) bool { return c.Kind == "AddressReservation" })
	r := Statuses(in.Configured, Reports{}, summary)[i].After.(*v1beta1.AddressReservation)
	if c := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionAccepted); *r.Status.Addresses != (v1beta1.ReservationCount{Reserved: 1}) || c.Status != metav1.ConditionTrue {
		t.Errorf("status %+v", r.Status)
	}
	if _, got, _ = pass(end.Add(-time.Second), a, b, aService("mail", 2)); got["mail"] != "192.0.2.10" {
		t.Errorf("who is named: %v", got)
	}
	plan, got, _ = pass(end, a, b)
	if got["b"] != "192.0.2.10" {
		t.Errorf("when it has ended: %v", got)
	}
	if use := plan.Summary().Uses["office"]; use.Accepted.Reason != v1beta1.ReasonExpired {
		t.Errorf("when it has ended: %+v", use)
	}
	if p := netip.MustParseAddr("192.0.2.10"); plan.reserved.By(p) != "" {
		t.Errorf("%s is reserved still", p)
	}
}
