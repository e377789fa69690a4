package intent_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// external returns a Service of namespace/name, so many seconds old that the first is the oldest.
func external(namespace, name string, born int, ips ...string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(born), 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ExternalIPs: ips},
	}
}

// TestExternalIPs: only what a pool announces, for whom it serves, and that nothing else has.
func TestExternalIPs(t *testing.T) {
	pools := []v1beta1.IPAddressPool{
		{ObjectMeta: metav1.ObjectMeta{Name: "open"}, Spec: v1beta1.IPAddressPoolSpec{
			Addresses: []v1beta1.AddressRange{"192.0.2.0/28"}, Exclude: []v1beta1.AddressRange{"192.0.2.9"}, AnnounceExternalIPs: true,
			ServiceAllocation: &v1beta1.ServiceAllocation{Namespaces: []string{"shop", "mail"}},
		}},
		{ObjectMeta: metav1.ObjectMeta{Name: "closed"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.128/28"}}},
	}
	lb := external("shop", "lb", 9)
	lb.Spec.Type = corev1.ServiceTypeLoadBalancer
	lb.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.4"}}
	services := []*corev1.Service{
		external("mail", "thief", 3, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"),
		external("shop", "old", 1, "192.0.2.1", "192.0.2.130", "198.51.100.1", "192.0.2.9", "no address"),
		external("shop", "twin", 2, "192.0.2.1", "192.0.2.1"),
		external("dev", "outsider", 0, "192.0.2.1", "192.0.2.5"),
		lb,
	}
	others := intent.Others{
		Nodes:    []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}}}}},
		Speakers: []v1beta1.Speaker{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1beta1.SpeakerStatus{Host: &v1beta1.SpeakerHost{Gateways: []string{"192.0.2.3"}}}}},
	}
	config := intent.Parse(intent.Objects{Pools: pools})
	serves := func(pool int, svc *corev1.Service) bool {
		return config.Pools.Serves(pool, intent.Consumer{Namespace: svc.Namespace})
	}
	all := config.ExternalIPs(services, serves, config.Occupied(others, services, ""), map[netip.Addr]ipam.Key{netip.MustParseAddr("192.0.2.4"): intent.KeyOf(lb)})
	have := map[string]string{}
	for _, x := range intent.ExternalStatus(all, "open") {
		have[x.Service+" "+x.Address] = x.Refused
	}
	want := map[string]string{
		"shop/old 192.0.2.1":     "",
		"shop/twin 192.0.2.1":    "",
		"mail/thief 192.0.2.1":   "the older Service shop/old, of another namespace, has it in spec.externalIPs",
		"mail/thief 192.0.2.2":   "it is the address of node n1, and in spec.externalIPs of Service mail/thief",
		"mail/thief 192.0.2.3":   "it is a default gateway of node n1",
		"mail/thief 192.0.2.4":   "Service shop/lb has it",
		"dev/outsider 192.0.2.1": "the pool does not serve this Service (spec.serviceAllocation)",
		"dev/outsider 192.0.2.5": "the pool does not serve this Service (spec.serviceAllocation)",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	if of := intent.ExternalStatus(all, "closed"); len(of) > 0 {
		t.Errorf("a pool that announces none says %v", of)
	}

	// The speakers announce what the status says, as far as Service and pool still do.
	pools[0].Status.ExternalIPs = intent.ExternalStatus(all, "open")
	announced := func(svc *corev1.Service) (out []string) {
		for _, a := range intent.Parse(intent.Objects{Pools: pools}).Announced(svc, nil, nil).Addrs {
			out = append(out, a.Addr.String()+" of "+a.Pool)
		}
		return out
	}
	if diff := cmp.Diff([]string{"192.0.2.1 of open"}, announced(services[1])); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	for _, svc := range []*corev1.Service{services[0], external("shop", "old", 1, "192.0.2.7")} {
		if have := announced(svc); len(have) > 0 {
			t.Errorf("%s announces %v", intent.KeyOf(svc), have)
		}
	}
	pools[0].Spec.AnnounceExternalIPs = false
	if have := announced(services[1]); len(have) > 0 {
		t.Errorf("announced although the pool does not say so: %v", have)
	}
}
