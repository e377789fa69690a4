package planner

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// A pass reads all Services, also those after ours in the cache: what they have in
// spec.externalIPs is never chosen, and is announced where the pool says so.
func TestExternalIPsOfServicesThatAreNotOurs(t *testing.T) {
	s := world()
	other := aService("z", 9)
	other.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ExternalIPs: []string{"10.0.1.2"}}
	other.Labels = map[string]string{"tier": "front"}
	theirs := other.DeepCopy()
	theirs.Name, theirs.Spec.ExternalIPs = "y", []string{"10.0.1.4"}
	for i, svc := range s.Services {
		s.Services[i] = svc.DeepCopy()
		s.Services[i].Spec.Type = corev1.ServiceTypeLoadBalancer
	}
	for i := range s.Objects.Pools {
		s.Objects.Pools[i].Spec.AnnounceExternalIPs = true
	}
	config := intent.Parse(s.Objects)
	in := Input{Now: s.Now, Configured: intent.Configured{Objects: s.Objects, Config: &config}, Namespaces: s.Namespaces}
	in.Services = slices.Concat([]*corev1.Service{other, theirs}, s.Services)
	p, _, _ := New(nil, Finalizer{}).Pass(in)
	for _, a := range []string{"10.0.1.2", "10.0.1.4"} {
		if !slices.ContainsFunc(p.externals, func(x intent.External) bool { return x.Addr.String() == a && x.Refused == "" }) {
			t.Errorf("%s is not announced: %+v", a, p.externals)
		}
	}
	for _, g := range p.Grants {
		for _, a := range g.Addrs {
			if slices.Contains([]string{"10.0.1.2", "10.0.1.4"}, a.String()) {
				t.Errorf("%s is chosen, which a Service has in spec.externalIPs", a)
			}
		}
	}
	for _, change := range Statuses(in.Configured, Reports{}, p.Summary()) {
		if pool, is := change.After.(*v1beta1.IPAddressPool); is && pool.Name == "front" && len(pool.Status.ExternalIPs) != 2 {
			t.Errorf("the status of the pool says %+v", pool.Status.ExternalIPs)
		}
	}
}
