package main

import (
	"cmp"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// idle reports whether an event is no reason to think anew: what same says, what
// becomes of Services that have no address of ours to announce, and of the endpoints of
// a Service that is announced wherever they are. When that changes, or the Service
// comes, the Service's own event is a reason.
func idle(node, class string, services toolscache.Store) func(before, after client.Object) bool {
	announced := func(o client.Object) bool {
		svc, ok := o.(*corev1.Service)
		return ok && announceable(svc, class)
	}
	return func(before, after client.Object) bool {
		switch o := cmp.Or(after, before).(type) {
		case *corev1.Service:
			return !announced(before) && !announced(after) || same(before, after)
		case *discoveryv1.EndpointSlice:
			of, there, err := services.GetByKey(intent.ServiceOf(o).String())
			svc, _ := of.(*corev1.Service)
			return err == nil && (!there || svc != nil && !intent.Local(svc)) || same(before, after)
		case *v1beta1.Speaker:
			return o.Name != node && same(before, after) // what somebody else wrote into the own one is put right
		}
		return same(before, after)
	}
}

// announceable reports whether svc is ours, and has addresses.
func announceable(svc *corev1.Service, class string) bool {
	return intent.Ours(svc, class) && len(svc.Status.LoadBalancer.Ingress) > 0
}

// same reports whether an update is no reason to think anew: a renewal of a
// Lease, which comes all the time, or a change of what is not read. Of an object that
// was made anew while the watch was broken it tells as of an update, too.
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
	case *corev1.Service: // of which the cache has only what matters, too
		b, ok := before.(*corev1.Service)
		return ok && maps.Equal(a.Labels, b.Labels) && a.DeletionTimestamp.Equal(b.DeletionTimestamp) && equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Status, b.Status)
	case *corev1.Node:
		b, ok := before.(*corev1.Node)
		return ok && maps.Equal(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
			slices.Equal(a.Status.Addresses, b.Status.Addresses) && slices.EqualFunc(a.Status.Conditions, b.Status.Conditions, sameCondition)
	case *v1beta1.Speaker: // how much it has is for people
		b, ok := before.(*v1beta1.Speaker)
		return ok && a.UID == b.UID && equality.Semantic.DeepEqual(a.Status.Links, b.Status.Links) && equality.Semantic.DeepEqual(a.Status.Conditions, b.Status.Conditions)
	case *v1beta1.L2Claim:
		b, ok := before.(*v1beta1.L2Claim)
		return ok && a.UID == b.UID && a.Generation == b.Generation && a.Status.Node == b.Status.Node && maps.Equal(a.Labels, b.Labels)
	case *v1beta1.IPAddressPool, *v1beta1.L2Advertisement, *v1beta1.BGPAdvertisement, *v1beta1.BGPPeer,
		*v1beta1.BFDProfile, *v1beta1.Community:
		return before.GetUID() == after.GetUID() && before.GetGeneration() == after.GetGeneration() && maps.Equal(before.GetLabels(), after.GetLabels())
	}
	return false
}

// sameCondition leaves out the time: the kubelet writes each anew every few minutes.
func sameCondition(a, b corev1.NodeCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}
