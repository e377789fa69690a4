package intent

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// Described is a configuration object, and what its status says of it.
type Described struct {
	Ref
	Conditions []metav1.Condition
}

// Described returns the configuration objects, kind by kind.
func (o *Objects) Described() []Described {
	return slices.Concat(
		described(o.Pools, func(x *v1beta1.IPAddressPool) []metav1.Condition { return x.Status.Conditions }),
		described(o.L2, func(x *v1beta1.L2Advertisement) []metav1.Condition { return x.Status.Conditions }),
		described(o.BGP, func(x *v1beta1.BGPAdvertisement) []metav1.Condition { return x.Status.Conditions }),
		described(o.Peers, func(x *v1beta1.BGPPeer) []metav1.Condition { return x.Status.Conditions }),
		described(o.Profiles, func(x *v1beta1.BFDProfile) []metav1.Condition { return x.Status.Conditions }),
		described(o.Communities, func(x *v1beta1.Community) []metav1.Condition { return x.Status.Conditions }),
		described(o.Reservations, func(x *v1beta1.AddressReservation) []metav1.Condition { return x.Status.Conditions }),
		described(o.Quotas, func(x *v1beta1.AddressQuota) []metav1.Condition { return x.Status.Conditions }),
	)
}

// ConditionsOf returns the conditions of a configuration object; of another one none.
func ConditionsOf(o any) []metav1.Condition {
	switch x := o.(type) {
	case *v1beta1.IPAddressPool:
		return x.Status.Conditions
	case *v1beta1.L2Advertisement:
		return x.Status.Conditions
	case *v1beta1.BGPAdvertisement:
		return x.Status.Conditions
	case *v1beta1.BGPPeer:
		return x.Status.Conditions
	case *v1beta1.BFDProfile:
		return x.Status.Conditions
	case *v1beta1.Community:
		return x.Status.Conditions
	case *v1beta1.AddressReservation:
		return x.Status.Conditions
	case *v1beta1.AddressQuota:
		return x.Status.Conditions
	}
	return nil
}

func described[T any, P interface {
	*T
	metav1.Object
}](objects []T, conditions func(P) []metav1.Condition) []Described {
	out := make([]Described, len(objects))
	for i := range objects {
		x := P(&objects[i])
		out[i] = Described{Ref{Kind: reflect.TypeFor[T]().Name(), Name: x.GetName()}, conditions(x)}
	}
	return out
}
