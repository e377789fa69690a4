package cluster

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// relevantServices lists and watches the Services that the programs read: those of type
// LoadBalancer, and those with spec.externalIPs. No field selector of the API selects these, and
// a cluster may have thousands of others, which are not kept.
//
// A Service that becomes another is reported as deleted, as it was when it was relevant last:
// the API server does so with a selector. Handlers find out by that what it was.
type relevantServices struct {
	toolscache.ListerWatcherWithContext

	mu   sync.Mutex
	last map[types.UID]extract // of what was relevant last
}

// extract is what a Service is recognized by, once it is deleted. It shares nothing that the
// cache changes. (A whole Service takes 0.7 KB, and there are thousands.)
type extract struct {
	namespace, name string
	kind            corev1.ServiceType
	class           *string
	externalIPs     []string
	ingress         []corev1.LoadBalancerIngress
}

func extractOf(svc *corev1.Service) extract {
	return extract{svc.Namespace, svc.Name, svc.Spec.Type, svc.Spec.LoadBalancerClass, svc.Spec.ExternalIPs, svc.Status.LoadBalancer.Ingress}
}

// service returns a Service that has what e has.
func (e extract) service(uid types.UID, version string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: e.name, UID: uid, ResourceVersion: version},
		Spec:       corev1.ServiceSpec{Type: e.kind, LoadBalancerClass: e.class, ExternalIPs: e.externalIPs},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: e.ingress}},
	}
}

func relevant(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer || len(svc.Spec.ExternalIPs) > 0
}

func (r *relevantServices) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	out, err := r.ListerWatcherWithContext.ListWithContext(ctx, o)
	if list, is := out.(*corev1.ServiceList); is {
		list.Items = slices.DeleteFunc(list.Items, func(svc corev1.Service) bool { return !relevant(&svc) })
		r.mu.Lock()
		defer r.mu.Unlock()
		if o.Continue == "" { // the first page
			r.last = map[types.UID]extract{}
		}
		for i := range list.Items {
			r.last[list.Items[i].UID] = extractOf(&list.Items[i])
		}
	}
	return out, err
}

func (r *relevantServices) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := r.ListerWatcherWithContext.WatchWithContext(ctx, o)
	if err != nil {
		return w, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		if svc, is := e.Object.(*corev1.Service); is && e.Type != watch.Bookmark {
			return r.event(e, svc)
		}
		return e, true
	}), nil
}

// event returns what a selector would make of the event of a Service, and whether it would
// report it.
func (r *relevantServices) event(e watch.Event, svc *corev1.Service) (watch.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.last[svc.UID]
	switch {
	case e.Type != watch.Deleted && relevant(svc):
		if r.last == nil {
			r.last = map[types.UID]extract{}
		}
		r.last[svc.UID] = extractOf(svc)
		return e, true
	case !known && !relevant(svc):
		return e, false
	}
	delete(r.last, svc.UID)
	if e.Type != watch.Deleted {
		e = watch.Event{Type: watch.Deleted, Object: was.service(svc.UID, svc.ResourceVersion)}
	}
	return e, true
}
