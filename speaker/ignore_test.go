package main

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	toolscache "k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// leaseOf is the Lease of a node's speaker, renewed at second at; at -1 it was
// released.
func leaseOf(node string, at int) coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + node}}
	renewed := metav1.NewMicroTime(time.Unix(int64(at), 0))
	l.Spec.RenewTime = &renewed
	if at >= 0 {
		l.Spec.HolderIdentity = &node
	}
	return l
}

func TestSame(t *testing.T) {
	first, renewed, released := leaseOf("a", 1), leaseOf("a", 2), leaseOf("a", -1)
	if !same(&first, &renewed) {
		t.Error("a renewal must not start a pass")
	}
	if same(&first, &released) {
		t.Error("a release must start a pass")
	}
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	used, labelled, edited := pool.DeepCopy(), pool.DeepCopy(), pool.DeepCopy()
	used.Status.IPv4 = &v1beta1.PoolUsage{Assigned: "1"}
	labelled.Labels = map[string]string{"a": "b"}
	edited.Generation = 2
	if !same(pool, used) {
		t.Error("the use of a pool must not start a pass")
	}
	if same(pool, labelled) || same(pool, edited) {
		t.Error("other labels, and another spec, must start a pass")
	}
}

func TestEndpointsStartAPassOnlyIfTheyMatter(t *testing.T) {
	services := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	for name, policy := range map[string]corev1.ServiceExternalTrafficPolicy{"local": corev1.ServiceExternalTrafficPolicyLocal, "cluster": corev1.ServiceExternalTrafficPolicyCluster} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ExternalTrafficPolicy: policy}}
		if err := services.Add(svc); err != nil {
			t.Fatal(err)
		}
	}
	slice := func(of, node string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: of}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &node}},
		}
	}
	for _, c := range []struct {
		name          string
		before, after client.Object
		idle          bool
	}{
		{"an endpoint of a Local Service moves", slice("local", "a"), slice("local", "b"), false},
		{"a Local Service's endpoints come", nil, slice("local", "a"), false},
		{"a Local Service's endpoints go", slice("local", "a"), nil, false},
		{"nothing of note changes", slice("local", "a"), slice("local", "a"), true},
		{"an endpoint of another Service moves", slice("cluster", "a"), slice("cluster", "b"), true},
		{"an endpoint of what is no load balancer comes", nil, slice("web", "a"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := idle(services)(c.before, c.after); got != c.idle {
				t.Errorf("idle is %v", got)
			}
		})
	}
}
