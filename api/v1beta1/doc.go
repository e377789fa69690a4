// Package v1beta1 holds the kinds of API group steelyard.dev: what people may
// ask for, and what the programs report. All kinds are cluster-scoped.
//
// A rule that one object alone can break is part of its schema (CEL), so that
// the API server refuses the object with a message. A rule between objects is
// reported as a condition on the object at fault, which is then skipped while
// the rest goes on.
//
// +kubebuilder:object:generate=true
// +groupName=steelyard.dev
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of every kind in this package.
const Group = "steelyard.dev"

// GroupVersion returns the group and version of this package's kinds.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: "v1beta1"} }

// AddToScheme registers this package's kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&IPAddressPool{}, &IPAddressPoolList{},
		&L2Advertisement{}, &L2AdvertisementList{},
		&BGPAdvertisement{}, &BGPAdvertisementList{},
		&BGPPeer{}, &BGPPeerList{},
		&BFDProfile{}, &BFDProfileList{},
		&Community{}, &CommunityList{},
		&AddressReservation{}, &AddressReservationList{},
		&AddressQuota{}, &AddressQuotaList{},
		&L2Claim{}, &L2ClaimList{},
		&BGPSession{}, &BGPSessionList{},
		&Speaker{}, &SpeakerList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
