package planner

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// A Service waits while its quota is full, and gets an address when a Service goes, when the quota
// is raised, when it is deleted, and when the labels of its namespace change.
func TestAServiceWaitsForAQuota(t *testing.T) {
	quota := func(limit int32) []v1beta1.AddressQuota {
		return []v1beta1.AddressQuota{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1beta1.AddressQuotaSpec{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tenant": "shop"}}, Hard: []v1beta1.AddressLimit{{Addresses: limit}},
		}}}
	}
	objects := intent.Objects{Pools: []v1beta1.IPAddressPool{graced("lan", "0s", "192.0.2.10-192.0.2.19")}, Quotas: quota(1)}
	tenant := map[string]map[string]string{"n": {"tenant": "shop"}}
	in := Input{Now: time.Unix(1000, 0), Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: tenant}
	edit := func(quotas []v1beta1.AddressQuota) {
		in.Objects.Quotas = quotas
		in.Config = parsed(in.Objects)
	}
	a, b := aService("a", 0), aService("b", 1)
	for _, c := range []struct {
		name  string
		edit  func()
		after func()
	}{
		{"the Service with the address goes", func() { in.Services = []*corev1.Service{b} }, func() { in.Services = []*corev1.Service{a, b} }},
		{"the quota is raised", func() { edit(quota(2)) }, func() { edit(quota(1)) }},
		{"the quota is deleted", func() { edit(nil) }, func() { edit(quota(1)) }},
		{"the namespace has other labels", func() { in.Namespaces = map[string]map[string]string{"n": nil} }, func() { in.Namespaces = tenant }},
	} {
		state := New(nil, Finalizer{})
		in.Services = []*corev1.Service{a, b}
		grant := func() (Plan, ipam.Grant) {
			plan, _, _ := state.Pass(in)
			i := slices.IndexFunc(plan.Services, func(x *Service) bool { return x.Object == b })
			return plan, plan.Grants[i]
		}
		plan, g := grant()
		if g.Reason != ipam.QuotaExceeded {
			t.Errorf("%s: before, b got %+v", c.name, g)
		}
		summary := plan.Summary()
		i := slices.IndexFunc(Statuses(in.Configured, Reports{}, summary), func(c StatusChange) bool { return c.Kind == "AddressQuota" })
		have := Statuses(in.Configured, Reports{}, summary)[i].After.(*v1beta1.AddressQuota).Status
		have.Conditions = nil
		if diff := cmp.Diff(v1beta1.AddressQuotaStatus{Usage: "1/1 address", Hard: []int32{1}, Used: []int32{1}, Namespaces: []v1beta1.NamespaceUsage{{Namespace: "n", Used: []int32{1}}}}, have); diff != "" {
			t.Errorf("status: %s", diff)
		}
		c.edit()
		if _, g = grant(); len(g.Addrs) == 0 {
			t.Errorf("%s: b got %+v", c.name, g)
		}
		c.after()
	}
}

// What is reserved counts, also before and after the Service is there that is named, and until the reservation ends.
func TestWhatIsReservedCountsForAQuota(t *testing.T) {
	end := time.Unix(1000, 0)
	objects := intent.Objects{
		Pools:  []v1beta1.IPAddressPool{graced("lan", "0s", "192.0.2.10-192.0.2.19")},
		Quotas: []v1beta1.AddressQuota{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1beta1.AddressQuotaSpec{Namespaces: []string{"n"}, Hard: []v1beta1.AddressLimit{{Addresses: 1}}}}},
		Reservations: []v1beta1.AddressReservation{{ObjectMeta: metav1.ObjectMeta{Name: "mail"}, Spec: v1beta1.AddressReservationSpec{
			Addresses: []v1beta1.AddressRange{"192.0.2.15"}, Namespace: "n", Services: []string{"mail"}, Expires: &metav1.Time{Time: end},
		}}},
	}
	in := Input{Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: map[string]map[string]string{"n": nil}}
	state := New(nil, Finalizer{})
	pass := func(at time.Time, services ...*corev1.Service) string {
		in.Now, in.Services = at, services
		plan, _, _ := state.Pass(in)
		out := plan.Summary().Quotas["shop"].Status().Usage
		for i, x := range plan.Services {
			out += ", " + x.Object.Name
			if g := plan.Grants[i]; len(g.Addrs) > 0 {
				out += " " + g.Addrs[0].String()
			}
		}
		return out
	}
	a, mail := aService("a", 0), aService("mail", 1)
	before := end.Add(-time.Second)
	want(t, pass(before, a), "1/1 address, a")
	want(t, pass(before, a, mail), "1/1 address, a, mail 192.0.2.15")
	want(t, pass(end, a), "1/1 address, a 192.0.2.10")
}
