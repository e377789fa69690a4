package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// waiting is a Service of type LoadBalancer, created at second at.
func waiting(name string, at int64) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(at, 0))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

// bench is a reconciler on a fake API server that refuses to patch the Services
// in refused. What a real one makes of the patches, the stories tell.
type bench struct {
	*reconciler
	refused map[string]bool
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{refused: map[string]bool{}}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&corev1.Service{}, &v1beta1.IPAddressPool{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if _, isService := o.(*corev1.Service); isService && b.refused[o.GetName()] {
				return errors.New("an admission policy says no")
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		}}).Build()
	b.reconciler = &reconciler{client: api, direct: api, events: events.NewFakeRecorder(100), log: slog.New(slog.DiscardHandler), namespace: "steelyard-system"}
	return b
}

// addresses makes a pass and returns the address of each Service, and whether
// the pass wants to be repeated.
func (b *bench) addresses(t *testing.T) (map[string]string, bool) {
	t.Helper()
	result, err := b.reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.ServiceList
	if err := b.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range list.Items {
		if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
			out[s.Name] = in[0].IP
		}
	}
	return out, result.RequeueAfter > 0
}

func poolOf(name string, addresses ...v1beta1.AddressRange) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
}

func TestAServiceThatCantBeWrittenDelaysNobody(t *testing.T) {
	b := newBench(t, poolOf("p", "10.0.0.1-10.0.0.3"), waiting("a", 1), waiting("b", 2), waiting("c", 3))
	b.refused["b"] = true
	got, again := b.addresses(t)
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.1", "c": "10.0.0.3"}, got); diff != "" || !again {
		t.Errorf("to be repeated: %t; %s", again, diff)
	}
	delete(b.refused, "b")
	got, again = b.addresses(t)
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}, got); diff != "" || again {
		t.Errorf("to be repeated: %t; %s", again, diff)
	}
}

// An address that could not be taken from one Service must not be seen on two.
func TestWhatCouldNotBeTakenAwayIsNotGivenOut(t *testing.T) {
	b := newBench(t, poolOf("p", "10.0.0.1"), poolOf("q", "10.0.0.9"), waiting("a", 1), waiting("b", 2))
	got, _ := b.addresses(t)
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.1", "b": "10.0.0.9"}, got); diff != "" {
		t.Fatal(diff)
	}
	// Now b goes, a comes to want the other pool, and c the address that a has.
	if err := b.client.Delete(t.Context(), waiting("b", 2)); err != nil {
		t.Fatal(err)
	}
	c := waiting("c", 3)
	c.Annotations = map[string]string{v1beta1.AnnotationLoadBalancerIPs: "10.0.0.1"}
	if err := b.client.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a := &corev1.Service{}
	if err := b.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: "a"}, a); err != nil {
		t.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1beta1.AnnotationAddressPool, "q")
	if err := b.client.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	b.refused["a"] = true
	got, again := b.addresses(t)
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.1"}, got); diff != "" || !again {
		t.Errorf("to be repeated: %t; %s", again, diff)
	}
	delete(b.refused, "a")
	got, again = b.addresses(t)
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.9", "c": "10.0.0.1"}, got); diff != "" || again {
		t.Errorf("to be repeated: %t; %s", again, diff)
	}
}
