package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// TestTheCacheKeepsServicesThatAreRelevant: whatever becomes of them, and no others.
func TestTheCacheKeepsServicesThatAreRelevant(t *testing.T) {
	service := func(name string, of corev1.ServiceType, externalIPs ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.ServiceSpec{Type: of, ExternalIPs: externalIPs}}
	}
	const lb, internal = corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP
	synctest.Test(t, func(t *testing.T) {
		events := watch.NewFake()
		informer := new(Revisions).newInformer(listThenWatch{&toolscache.ListWatch{
			ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
				return &corev1.ServiceList{Items: []corev1.Service{*service("a", lb), *service("b", internal), *service("c", internal, "192.0.2.1")}}, nil
			},
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return events, nil },
		}}, &corev1.Service{}, 0, nil)
		var gone []string
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
			svc := o.(*corev1.Service)
			gone = append(gone, svc.Name+" "+string(svc.Spec.Type)+strings.Join(svc.Spec.ExternalIPs, " "))
		}}); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		go informer.Run(stop)
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			names := informer.GetStore().ListKeys()
			slices.Sort(names)
			if have := strings.Join(names, " "); have != want {
				t.Errorf("it keeps %q, not %q", have, want)
			}
		}
		expect("a c")
		events.Add(service("d", internal))
		events.Add(service("e", lb))
		events.Modify(service("b", internal, "192.0.2.2"))
		expect("a b c e")
		events.Modify(service("a", internal))
		events.Modify(service("c", internal))
		events.Modify(service("d", internal))
		expect("b e")
		events.Delete(service("b", internal))
		expect("e")
		// The handlers learn what they were, and hear nothing of the others.
		if want := []string{"a LoadBalancer", "c ClusterIP192.0.2.1", "b ClusterIP"}; !slices.Equal(gone, want) {
			t.Errorf("deleted: %q, not %q", gone, want)
		}
		close(stop)
	})
}
