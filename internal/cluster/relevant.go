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
	last map[types.UID]*corev1.Service // what was relevant last, by extract
}

// extract returns what a Service is recognized by, once it is deleted. It shares nothing that the
// cache changes.
func extract(svc *corev1.Service) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID},
		Spec:       corev1.ServiceSpec{Type: svc.Spec.Type, LoadBalancerClass: svc.Spec.LoadBalancerClass, ExternalIPs: svc.Spec.ExternalIPs},
		Status:     corev1.ServiceStatus{LoadBalancer: svc.Status.LoadBalancer},
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
			r.last = map[types.UID]*corev1.Service{}
		}
		for i := range list.Items {
			r.last[list.Items[i].UID] = extract(&list.Items[i])
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
	was := r.last[svc.UID]
	switch {
	case e.Type != watch.Deleted && relevant(svc):
		if r.last == nil {
			r.last = map[types.UID]*corev1.Service{}
		}
		r.last[svc.UID] = extract(svc)
		return e, true
	case was == nil && !relevant(svc):
		return e, false
	}
	delete(r.last, svc.UID)
	if e.Type != watch.Deleted {
		was.ResourceVersion = svc.ResourceVersion
		e = watch.Event{Type: watch.Deleted, Object: was}
	}
	return e, true
}
