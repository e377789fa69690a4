package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func versioned(uid, rv string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid), ResourceVersion: rv}}
}

func versions(services []*corev1.Service) []string {
	var out []string
	for _, s := range services {
		out = append(out, s.Name+"@"+s.ResourceVersion)
	}
	return out
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   []*corev1.Service
		made   []*corev1.Service
		cached []*corev1.Service
		want   []string
	}{
		{"the zero overlay changes nothing", nil, nil, []*corev1.Service{versioned("a", "5")}, []string{"a@5"}},
		{"what was seen later replaces what is cached", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "5"), versioned("b", "6")}, []string{"a@7", "b@6"}},
		{"a cache that has caught up wins", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "7")}, []string{"a@7"}},
		{"a cache that is ahead wins", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "12")}, []string{"a@12"}},
		{"versions are compared as numbers", []*corev1.Service{versioned("a", "100")}, nil, []*corev1.Service{versioned("a", "99")}, []string{"a@100"}},
		{"the later of two that were seen counts", []*corev1.Service{versioned("a", "9"), versioned("a", "8")}, nil, []*corev1.Service{versioned("a", "5")}, []string{"a@9"}},
		{"a new object that the cache has not shown yet is there", nil, []*corev1.Service{versioned("a", "9")}, nil, []string{"a@9"}},
		{"a known object that the cache holds no more is gone", []*corev1.Service{versioned("a", "9")}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Overlay[*corev1.Service]
			for _, s := range c.seen {
				o.Saw(s)
			}
			for _, s := range c.made {
				o.SawNew(s)
			}
			if diff := cmp.Diff(c.want, versions(o.Apply(c.cached))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOverlayForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Overlay[*corev1.Service]
		o.Saw(versioned("caught up", "7"))
		o.Saw(versioned("deleted", "7"))
		o.SawNew(versioned("never shown", "7"))
		o.Saw(versioned("deleted before the next look", "7"))
		o.Apply([]*corev1.Service{versioned("caught up", "8"), versioned("deleted", "6")})
		got := versions(o.Apply([]*corev1.Service{versioned("caught up", "8")}))
		if diff := cmp.Diff([]string{"caught up@8", "never shown@7"}, got); diff != "" {
			t.Error(diff)
		}
		time.Sleep(unshown)
		if got := o.Apply(nil); len(got) != 0 || len(o.newer) != 0 {
			t.Errorf("after %s it still remembers %v", unshown, versions(got))
		}
	})
}

func TestStripDropsOnlyWhatNobodyReads(t *testing.T) {
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
}
