package main

import (
	"maps"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// idle reports whether an event is no reason to think anew: what same says, and
// what becomes of the endpoints of a Service that is announced wherever they are.
// When that changes, or the Service comes, the Service's own event is a reason.
func idle(services toolscache.Store) func(before, after client.Object) bool {
	return func(before, after client.Object) bool {
		slice, ok := after.(*discoveryv1.EndpointSlice)
		if !ok {
			slice, ok = before.(*discoveryv1.EndpointSlice)
		}
		if !ok {
			return same(before, after)
		}
		o, there, err := services.GetByKey(intent.ServiceOf(slice).String())
		svc, _ := o.(*corev1.Service)
		return err == nil && (!there || svc != nil && !intent.Local(svc)) || same(before, after)
	}
}

// same reports whether an update is no reason to think anew: a renewal of a
// Lease, which comes all the time, or the status of what only its spec and its
// labels matter of.
func same(before, after client.Object) bool {
	if before == nil || after == nil {
		return false
	}
	switch a := after.(type) {
	case *coordinationv1.Lease:
		b, ok := before.(*coordinationv1.Lease)
		return ok && intent.LeaseNode(a) == intent.LeaseNode(b)
	case *discoveryv1.EndpointSlice: // of which the cache has only what matters
		b, ok := before.(*discoveryv1.EndpointSlice)
		return ok && equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints) && maps.Equal(a.Labels, b.Labels)
	case *v1beta1.L2Claim:
		b, ok := before.(*v1beta1.L2Claim)
		return ok && a.Generation == b.Generation && a.Status.Node == b.Status.Node && maps.Equal(a.Labels, b.Labels)
	case *v1beta1.IPAddressPool, *v1beta1.L2Advertisement, *v1beta1.BGPAdvertisement, *v1beta1.BGPPeer,
		*v1beta1.BFDProfile, *v1beta1.Community:
		return before.GetGeneration() == after.GetGeneration() && maps.Equal(before.GetLabels(), after.GetLabels())
	}
	return false
}
