package intent

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Ignorable returns a function that reports whether an event cannot change the plan of a
// node's speaker:
//   - an update in which no relevant field changed (Same),
//   - an event of a Service without an address of ours,
//   - an EndpointSlice of a Service with externalTrafficPolicy Cluster, or of no Service
//     of ours. When that changes, the Service's own event starts a pass. If withdraws
//     returns true, one counts that changes which ports are served.
//
// service returns the Service of a key: nil if there is none, an error if that is not
// known.
func Ignorable(node, class string, service func(ipam.Key) (*corev1.Service, error), withdraws func() bool) func(before, after metav1.Object) bool {
	announced := func(o metav1.Object) bool {
		svc, ok := o.(*corev1.Service)
		return ok && Announceable(svc, class)
	}
	return func(before, after metav1.Object) bool {
		switch o := cmp.Or(after, before).(type) {
		case *corev1.Service:
			return !announced(before) && !announced(after) || Same(before, after)
		case *discoveryv1.EndpointSlice:
			svc, err := service(ServiceOf(o))
			switch {
			case err != nil || svc != nil && Local(svc):
				return Same(before, after)
			case svc == nil || !announced(svc) || !withdraws():
				return true
			}
			return servesAlike(before, after)
		case *v1beta1.Speaker:
			return o.Name != node && Same(before, after) // another program's write to our own Speaker is corrected
		}
		return Same(before, after)
	}
}

// servesAlike reports whether two versions of an EndpointSlice serve the same ports.
func servesAlike(before, after metav1.Object) bool {
	b, is := before.(*discoveryv1.EndpointSlice)
	a, also := after.(*discoveryv1.EndpointSlice)
	return is && also && SamePorts(b, a)
}

// Announceable reports whether svc is ours and has addresses, or has some in spec.externalIPs.
func Announceable(svc *corev1.Service, class string) bool {
	return Ours(svc, class) && len(svc.Status.LoadBalancer.Ingress) > 0 || len(svc.Spec.ExternalIPs) > 0
}

// Same reports that an update changed no field that is read. Of some kinds the cache has
// only such fields. An object that was recreated while the watch was broken appears as an
// update.
func Same(before, after metav1.Object) bool {
	if before == nil || after == nil {
		return false
	}
	switch a := after.(type) {
	case *discoveryv1.EndpointSlice:
		return alike(a, before, func(a, b *discoveryv1.EndpointSlice) bool {
			return a.AddressType == b.AddressType && equal(a.Ports, b.Ports) && equal(a.Endpoints, b.Endpoints) && equal(a.Labels, b.Labels)
		})
	case *corev1.Service:
		return alike(a, before, sameService)
	case *corev1.Node:
		return alike(a, before, sameNode)
	case *v1beta1.Speaker: // how much it has is for people
		return alike(a, before, sameSpeaker)
	case *v1beta1.L2Claim:
		return alike(a, before, func(a, b *v1beta1.L2Claim) bool { return a.Status.Node == b.Status.Node && sameSpec(a, b) })
	case *v1beta1.IPAddressPool:
		return alike(a, before, func(a, b *v1beta1.IPAddressPool) bool {
			return slices.Equal(a.Status.ExternalIPs, b.Status.ExternalIPs) && sameSpec(a, b)
		})
	case *v1beta1.L2Advertisement, *v1beta1.BGPAdvertisement, *v1beta1.BGPPeer,
		*v1beta1.BFDProfile, *v1beta1.Community:
		return sameSpec(before, after)
	}
	return false
}

// SamePorts reports whether two versions of an EndpointSlice serve the same ports.
func SamePorts(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && equal(a.Ports, b.Ports) && equal(a.Labels, b.Labels) && serves(a) == serves(b) && placeholder(a) == placeholder(b)
}

// alike reports whether before is of the type of after, and the same by that function.
func alike[T metav1.Object](after T, before metav1.Object, same func(after, before T) bool) bool {
	b, ok := before.(T)
	return ok && same(after, b)
}

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// sameSpec reports whether two versions differ in their status at most, and not in the prefix of a pool.
func sameSpec(a, b metav1.Object) bool {
	return a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() && maps.Equal(a.GetLabels(), b.GetLabels()) && SamePrefix(a, b)
}

func sameService(a, b *corev1.Service) bool {
	return equal(a.Labels, b.Labels) && a.DeletionTimestamp.Equal(b.DeletionTimestamp) && equal(a.Spec, b.Spec) && equal(a.Status, b.Status)
}

func sameSpeaker(a, b *v1beta1.Speaker) bool {
	return a.UID == b.UID && equal(a.Status.Links, b.Status.Links) && equal(a.Status.Conditions, b.Status.Conditions)
}

func sameNode(a, b *corev1.Node) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) && equal(a.Spec, b.Spec) &&
		slices.Equal(a.Status.Addresses, b.Status.Addresses) && slices.EqualFunc(a.Status.Conditions, b.Status.Conditions, sameCondition)
}

// sameCondition leaves out the time: the kubelet writes each again every few minutes.
func sameCondition(a, b corev1.NodeCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}
