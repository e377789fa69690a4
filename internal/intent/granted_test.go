package intent_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// What counts as a change of what an address was granted for.
func TestChangedSinceTheGrant(t *testing.T) {
	const granted = `{metadata: {namespace: n, name: s, annotations: {steelyard.dev/allow-shared-ip: k}}, spec: {selector: {a: "1"}, ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}]}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}}`
	request := intent.AnnotationPrefixes(nil).Request(read[corev1.Service](t, granted))
	c, ok := intent.Granted(&request)
	if !ok {
		t.Fatal("an address that may be shared is granted without a condition")
	}
	for _, test := range []struct {
		name string
		edit func(*corev1.Service)
		want bool
	}{
		{"nothing", func(*corev1.Service) {}, false},
		{"the order of the ports", func(s *corev1.Service) { s.Spec.Ports[0], s.Spec.Ports[1] = s.Spec.Ports[1], s.Spec.Ports[0] }, false},
		{"a target port, which is no matter of the address", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30000 }, false},
		{"a port", func(s *corev1.Service) { s.Spec.Ports[0].Port = 443 }, true},
		{"a protocol", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }, true},
		{"one port more", func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81, Protocol: corev1.ProtocolTCP})
		}, true},
		{"the sharing key", func(s *corev1.Service) { s.Annotations["steelyard.dev/allow-shared-ip"] = "l" }, true},
		{"no sharing key", func(s *corev1.Service) { s.Annotations = nil }, true},
		{"the traffic policy", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, true},
		{"the selector", func(s *corev1.Service) { s.Spec.Selector["a"] = "2" }, true},
		{"an annotation that claims what only the status can say", func(s *corev1.Service) {
			s.Spec.Ports[0].Port = 443
			s.Annotations["steelyard.dev/Sharing"] = c.Message
		}, true},
		{"its addresses are gone", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress, s.Spec.Ports = nil, nil }, false},
		{"nothing is known of the grant", func(s *corev1.Service) { s.Status.Conditions, s.Spec.Ports = nil, nil }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			svc := read[corev1.Service](t, granted)
			svc.Status.Conditions = []metav1.Condition{c}
			test.edit(svc)
			if got := intent.AnnotationPrefixes(nil).Request(svc).Changed; got != test.want {
				t.Errorf("changed: %t", got)
			}
		})
	}
	request.Share.Key = ""
	if _, ok := intent.Granted(&request); ok {
		t.Error("an address that no object may share needs no condition")
	}
}
