package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func metaOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: "ns", Name: name, GenerateName: "g", UID: "u", ResourceVersion: "7", Generation: 3, Labels: map[string]string{"tier": "edge"},
		Annotations: map[string]string{"a": "b"}, Finalizers: []string{"f"}, OwnerReferences: []metav1.OwnerReference{{Name: "o"}},
	}
}

// randomService is a Service with endpoints in all states.
func randomService(rng *rand.Rand) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	class := "other"
	svc := &corev1.Service{ObjectMeta: metaOf("svc"), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "web"}, Ports: randomPorts(rng),
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster, HealthCheckNodePort: 30000, ClusterIP: "10.96.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
	}}
	svc.Status.Conditions = []metav1.Condition{{Type: "Other"}, {Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned, Message: []string{
		"words", `192.0.2.1 of IPAddressPool "gone"; more`, `192.0.2.1 of IPAddressPool "p", 2001:db8::1 of IPAddressPool "q" (which is gone: kept until 2030-01-01T00:00:00Z)`,
	}[rng.IntN(3)]}}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}
	if rng.IntN(2) == 0 {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if rng.IntN(3) == 0 {
		svc.Spec.LoadBalancerClass = &class
	}
	maybe := func() *bool {
		if rng.IntN(3) == 0 {
			return nil
		}
		b := rng.IntN(2) == 0
		return &b
	}
	var slices []*discoveryv1.EndpointSlice
	for i := range rng.IntN(3) {
		s := &discoveryv1.EndpointSlice{ObjectMeta: metaOf(fmt.Sprint("slice", i)), AddressType: []discoveryv1.AddressType{"IPv4", "IPv4", "IPv6", "FQDN"}[rng.IntN(4)]}
		for _, p := range randomPorts(rng) {
			port := discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port}
			if rng.IntN(8) == 0 {
				port.Port = nil
			}
			s.Ports = append(s.Ports, port)
		}
		s.Labels[discoveryv1.LabelServiceName] = "svc"
		for range rng.IntN(8) {
			e := discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.1", rng.IntN(5)), "10.0.9.9"}, Conditions: discoveryv1.EndpointConditions{Ready: maybe(), Serving: maybe(), Terminating: maybe()}}
			if node := fmt.Sprint("n", rng.IntN(3)); rng.IntN(5) > 0 {
				e.NodeName = &node
			}
			s.Endpoints = append(s.Endpoints, e)
		}
		slices = append(slices, s)
	}
	return svc, slices
}

// randomPorts are one or two of three ports; one has no name.
func randomPorts(rng *rand.Rand) []corev1.ServicePort {
	all := []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "http", Protocol: corev1.ProtocolUDP, Port: 80}, {Protocol: corev1.ProtocolTCP, Port: 81}}
	from := rng.IntN(3)
	return all[from:min(3, from+1+rng.IntN(2))]
}

// nodes are n0 to n2. Pods of the first two have addresses of 10.0.0.0/23; the third is 10.0.2.1.
func nodes() []corev1.Node {
	out := make([]corev1.Node, 3)
	for i := range out {
		out[i].Name = fmt.Sprint("n", i)
		if i < 2 {
			out[i].Spec.PodCIDRs = []string{fmt.Sprintf("10.0.%d.0/24", i), fmt.Sprintf("2001:db8:%d::/64", i)}
		}
	}
	out[2].Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.2.1"}}
	return out
}

// read is all that a pass makes of a Service.
func read(svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) any {
	out := struct {
		Announced   announce.Service
		Ours        bool
		Port        int32
		Here, Where []bool
		Dial        string
		About       corev1.ObjectReference
	}{Announced: intent.Config{Withdraws: true, CountsEndpoints: true}.Announced(svc, endpoints, intent.PlacementOf(nodes())), Ours: intent.Ours(svc, ""), Port: svc.Spec.HealthCheckNodePort, About: About(svc), Dial: intent.Dial(svc).String()}
	for node := range 3 {
		if !intent.Local(svc) {
			break // EndpointsOn is for Local alone
		}
		ready, serving := intent.EndpointsOn(fmt.Sprint("n", node), svc, intent.ByService(endpoints)[intent.KeyOf(svc)], intent.PlacementOf(nodes()))
		out.Here, out.Where = append(out.Here, ready), append(out.Where, serving)
	}
	return out
}

func TestNoProgramReadsWhatIsDropped(t *testing.T) {
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for seed := range uint64(500) {
		svc, endpoints := randomService(rand.New(rand.NewPCG(seed, 1)))
		want := read(svc, endpoints)
		var w interner
		w.stripFields(svc)
		for _, s := range endpoints {
			w.stripFields(s)
		}
		if diff := cmp.Diff(want, read(svc, endpoints), same); diff != "" {
			t.Fatalf("seed %d: want -, have +:\n%s", seed, diff)
		}
		if svc.Annotations != nil || svc.Spec.Selector != nil || len(svc.Status.Conditions) > 1 || len(svc.Status.Conditions) == 1 && svc.Status.Conditions[0].Reason != "" {
			t.Fatalf("a Service that is kept whole: %v", svc)
		}
		for _, s := range endpoints {
			if len(s.Endpoints) > 12+20 || s.Annotations != nil || len(s.Labels) != 1 {
				t.Fatalf("an EndpointSlice that is kept whole: %v", s)
			}
		}
	}
	node := &corev1.Node{ObjectMeta: metaOf("n"), Status: corev1.NodeStatus{
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.11"}},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}},
		Capacity:   corev1.ResourceList{"cpu": resource.MustParse("1")},
	}}
	node.Annotations = map[string]string{"example.com/router": "2001:db8:1111:2222:3333:4444:5555:6666", "long": strings.Repeat("x", 65)}
	before := node.DeepCopy()
	SpeakerFields()(node)
	if intent.NodeAddress(before) != intent.NodeAddress(node) || (intent.Exclusion{}).Reason(before) != (intent.Exclusion{}).Reason(node) || node.UID != before.UID || !cmp.Equal(node.Labels, before.Labels) {
		t.Errorf("a Node: %v", node)
	}
	if delete(before.Annotations, "long"); !maps.Equal(node.Annotations, before.Annotations) || node.Status.Capacity != nil {
		t.Errorf("a Node is kept whole, or without what BGPPeers read: %v", node)
	}
}

// What the controller forecasts and what the plugin explains follows from the same as what
// each speaker decides, and a node on which kube-proxy is asked for its endpoints is one that counts.
func TestControllerSpeakersAndPluginSeeTheSameEndpoints(t *testing.T) {
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	counted := map[string]int{}
	for seed := range uint64(2000) {
		make := func() (*corev1.Service, []*discoveryv1.EndpointSlice) {
			return randomService(rand.New(rand.NewPCG(seed, 1)))
		}
		where := func() *intent.Placement { return intent.PlacementOf(nodes()) }
		svc, plain := make()
		_, controllers := make()
		speakers, stripped := make()
		filter, strip := ControllerFields(), SpeakerFields()
		for i := range plain {
			filter(controllers[i])
			strip(stripped[i])
		}
		strip(speakers)
		want := intent.Config{Withdraws: true, CountsEndpoints: true}.Announced(svc, plain, where())
		for who, have := range map[string]announce.Service{
			"controller": intent.Config{Withdraws: true, CountsEndpoints: true}.Announced(svc, controllers, where()), "speaker": intent.Config{Withdraws: true, CountsEndpoints: true}.Announced(speakers, stripped, where()),
		} {
			if diff := cmp.Diff(want, have, same); diff != "" {
				t.Fatalf("seed %d: plugin -, %s +:\n%s", seed, who, diff)
			}
		}
		if diff := cmp.Diff(intent.BackendsOf(svc, plain, where()), intent.BackendsOf(svc, controllers, where())); diff != "" {
			t.Fatalf("seed %d: plugin -, controller +:\n%s", seed, diff)
		}
		for _, n := range nodes() {
			ready, serving := intent.EndpointsOn(n.Name, speakers, stripped, where())
			counts := want.ReadyOn4[n.Name] || want.ReadyOn6[n.Name]
			if want.Local && (counts && !serving || ready && !counts) {
				t.Fatalf("seed %d: on %s ready %t, serving %t; it counts: %t", seed, n.Name, ready, serving, counts)
			}
			if counts {
				counted[n.Name]++
			}
		}
		for i := range plain {
			twin := plain[i].DeepCopy()
			filter(twin)
			if !intent.SamePorts(controllers[i], twin) {
				t.Fatalf("seed %d: an EndpointSlice differs from itself", seed)
			}
		}
	}
	if len(counted) != 3 {
		t.Errorf("nodes that counted: %v", counted)
	}
}

// An L2Claim is patched by comparing: nothing of it may be missing.
func TestWhatIsPatchedStaysWhole(t *testing.T) {
	claim := func() *v1beta1.L2Claim {
		c := &v1beta1.L2Claim{ObjectMeta: metaOf("192.0.2.1"), Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.1", Node: string([]byte("node1"))}}
		now := metav1.NewTime(time.Unix(1000, 0))
		c.Status = v1beta1.L2ClaimStatus{
			Node: string([]byte("node1")), Since: &now, Services: []string{"a/b"}, Links: []v1beta1.ClaimLink{{Name: "eth0", MAC: "02:00:00:00:00:01"}},
			Conditions: []metav1.Condition{{Type: "Announced", Status: metav1.ConditionTrue, Reason: "Announced", Message: "m", LastTransitionTime: now}},
		}
		return c
	}
	var w interner
	one, two := claim(), claim()
	w.stripFields(one)
	w.stripFields(two)
	if diff := cmp.Diff(claim(), one); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	if unsafe.StringData(one.Spec.Node) != unsafe.StringData(two.Status.Node) {
		t.Error("equal strings do not share memory")
	}
}

func TestWordsAreBounded(t *testing.T) {
	var w interner
	for i := range 3 * maxInterned {
		if s := fmt.Sprint(i); w.intern(s) != s {
			t.Fatalf("%s is %s", s, w.intern(s))
		}
	}
	if len(w.known) > maxInterned {
		t.Errorf("%d strings are known", len(w.known))
	}
}
