package intent

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestSame(t *testing.T) {
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	used, labeled, edited, again := pool.DeepCopy(), pool.DeepCopy(), pool.DeepCopy(), pool.DeepCopy()
	used.Status.IPv4 = &v1beta1.PoolUsage{Assigned: "1"}
	labeled.Labels = map[string]string{"a": "b"}
	edited.Generation = 2
	again.UID = "another"
	if !Same(pool, used) {
		t.Error("the use of a pool must not start a pass")
	}
	if Same(pool, labeled) || Same(pool, edited) || Same(pool, again) {
		t.Error("other labels, another spec, and another pool of that name, must start a pass")
	}
}

func TestEventsStartAPassOnlyIfTheyMatter(t *testing.T) {
	services := map[ipam.Key]*corev1.Service{}
	for name, policy := range map[string]corev1.ServiceExternalTrafficPolicy{"local": corev1.ServiceExternalTrafficPolicyLocal, "cluster": corev1.ServiceExternalTrafficPolicyCluster} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ExternalTrafficPolicy: policy}}
		services[KeyOf(svc)] = svc
	}
	shown := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "shown"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	shown.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.9"}}
	services[KeyOf(shown)] = shown
	slice := func(of, node string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: of}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &node}},
		}
	}
	service := func(class, addr string) *corev1.Service {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
		if class != "" {
			svc.Spec.LoadBalancerClass = &class
		}
		if addr != "" {
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
		}
		return svc
	}
	node := func(unavailable corev1.ConditionStatus, at int64) *corev1.Node {
		n := &corev1.Node{}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: unavailable, LastHeartbeatTime: metav1.Unix(at, 0)}}
		return n
	}
	speakerOf := func(node string, addresses int32, up bool) *v1beta1.Speaker {
		s := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: node}}
		s.Status.Addresses, s.Status.Links = addresses, []v1beta1.SpeakerLink{{Name: "eth0", Up: up}}
		return s
	}
	under := func(prefix string, before ...v1beta1.PreviousPrefix) *v1beta1.IPAddressPool {
		return &v1beta1.IPAddressPool{Status: v1beta1.IPAddressPoolStatus{Prefix: &v1beta1.PrefixStatus{Current: prefix, Previous: before}}}
	}
	for _, c := range []struct {
		name          string
		before, after metav1.Object
		idle          bool
		withdraws     bool
	}{
		{"endpoints of a Cluster Service come, and an advertisement withdraws without", nil, slice("shown", "a"), false, true},
		{"they go", slice("shown", "a"), nil, false, true},
		{"they move", slice("shown", "a"), slice("shown", "b"), true, true},
		{"they come, and no advertisement withdraws", nil, slice("shown", "a"), true, false},
		{"endpoints of a Service without addresses come", nil, slice("cluster", "a"), true, true},
		{"an endpoint of a Local Service moves", slice("local", "a"), slice("local", "b"), false, false},
		{"a Local Service's endpoints come", nil, slice("local", "a"), false, false},
		{"a Local Service's endpoints go", slice("local", "a"), nil, false, false},
		{"nothing of note changes", slice("local", "a"), slice("local", "a"), true, false},
		{"an endpoint of another Service moves", slice("cluster", "a"), slice("cluster", "b"), true, false},
		{"an endpoint of what is no load balancer comes", nil, slice("web", "a"), true, false},
		{"a Service comes that has no address yet", nil, service("", ""), true, false},
		{"a Service comes that has one", nil, service("", "192.0.2.1"), false, false},
		{"it is given one", service("", ""), service("", "192.0.2.1"), false, false},
		{"it loses it", service("", "192.0.2.1"), service("", ""), false, false},
		{"it goes", service("", "192.0.2.1"), nil, false, false},
		{"nothing of note in it changes", service("", "192.0.2.1"), service("", "192.0.2.1"), true, false},
		{"another load balancer's is given one", service("other", ""), service("other", "192.0.2.1"), true, false},
		{"another load balancer takes ours", service("", "192.0.2.1"), service("other", "192.0.2.1"), false, false},
		{"the kubelet renews what it says of its Node", node("", 1), node("", 2), true, false},
		{"it says that the network is unavailable", node("", 1), node(corev1.ConditionTrue, 2), false, false},
		{"another speaker counts again", speakerOf("b", 1, true), speakerOf("b", 2, true), true, false},
		{"another speaker's link goes down", speakerOf("b", 1, true), speakerOf("b", 1, false), false, false},
		{"a pool gets a prefix", &v1beta1.IPAddressPool{}, under("2001:db8:1::/64"), false, false},
		{"a pool has another prefix", under("2001:db8:1::/64"), under("2001:db8:2::/64"), false, false},
		{"a prefix before ends", under("2001:db8:1::/64", v1beta1.PreviousPrefix{Prefix: "2001:db8:2::/64"}), under("2001:db8:1::/64"), false, false},
		{"a pool stays under its prefix", under("2001:db8:1::/64"), under("2001:db8:1::/64"), true, false},
		{"some object counts the own speaker's addresses otherwise", speakerOf("a", 1, true), speakerOf("a", 2, true), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Ignorable("a", "", func(k ipam.Key) (*corev1.Service, error) { return services[k], nil }, func() bool { return c.withdraws })(c.before, c.after); got != c.idle {
				t.Errorf("idle is %v", got)
			}
		})
	}
}
