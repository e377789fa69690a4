package cluster

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// relevantServices lists and watches the Services that the programs read: those of type
// LoadBalancer, and those with spec.externalIPs. No field selector of the API selects these, and
// a cluster may have thousands of others, which are not kept.
type relevantServices struct {
	toolscache.ListerWatcherWithContext
}

func relevant(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer || len(svc.Spec.ExternalIPs) > 0
}

func (r relevantServices) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	out, err := r.ListerWatcherWithContext.ListWithContext(ctx, o)
	if list, is := out.(*corev1.ServiceList); is {
		list.Items = slices.DeleteFunc(list.Items, func(svc corev1.Service) bool { return !relevant(&svc) })
	}
	return out, err
}

func (r relevantServices) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := r.ListerWatcherWithContext.WatchWithContext(ctx, o)
	if err != nil {
		return w, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		svc, is := e.Object.(*corev1.Service)
		if !is || e.Type == watch.Bookmark || e.Type == watch.Deleted || relevant(svc) {
			return e, true
		}
		keep := e.Type == watch.Modified // it may have been relevant
		e.Type = watch.Deleted
		return e, keep
	}), nil
}
