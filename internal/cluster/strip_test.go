package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStripDropsOnlyWhatNoProgramReads(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}},
		Status:     corev1.NodeStatus{Images: []corev1.ContainerImage{{SizeBytes: 1}}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady}}},
	}
	want := node.DeepCopy()
	want.ManagedFields, want.Status.Images = nil, nil
	if diff := cmp.Diff(want, Stripped(node)); diff != "" {
		t.Error(diff)
	}
	cluster := corev1.ServiceInternalTrafficPolicyCluster
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{"a": "b", corev1.LastAppliedConfigAnnotation: "{}"},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "k3s", Operation: "Update", Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)},
				{Manager: ManagerController, Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:loadBalancer":{}}}`)},
				{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)},
				{Manager: "other", Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:conditions":{}}}`)},
			},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
			SessionAffinity: corev1.ServiceAffinityNone, InternalTrafficPolicy: &cluster, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
	stripped := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "k3s"}}}, // who wrote the addresses
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if diff := cmp.Diff(stripped, Stripped(svc)); diff != "" {
		t.Error(diff)
	}
	large := &corev1.ConfigMap{Data: map[string]string{"prefix": "2001:db8::/56", "large": strings.Repeat("x", 1<<20)}, BinaryData: map[string][]byte{"b": {1}}}
	if diff := cmp.Diff(&corev1.ConfigMap{Data: map[string]string{"prefix": "2001:db8::/56", "large": strings.Repeat("x", 256)}}, Stripped(large)); diff != "" {
		t.Error(diff)
	}
}
