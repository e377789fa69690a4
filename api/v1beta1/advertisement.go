package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Selection says which addresses, Services and nodes an advertisement is for.
// An empty list selects all; within one list any one match suffices; the lists
// narrow each other.
type Selection struct {
	// ipAddressPools, by name. With ipAddressPoolSelectors empty too: all pools.
	// A name that is not there is reported and skipped.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// ipAddressPoolSelectors select further pools by their labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// nodeSelectors select the nodes that may announce.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// serviceSelectors select Services by their labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// AdvertisementStatus is an advertisement's health.
type AdvertisementStatus struct {
	// conditions: Accepted (False: Invalid, Conflicts), ResolvedRefs (False: NotFound) and
	// Programmed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// announced is what the advertisement comes to; absent: that is not known yet.
	// +optional
	Announced *AdvertisementCount `json:"announced,omitempty"`
}

// AdvertisementCount counts what is announced because of an advertisement.
type AdvertisementCount struct {
	// addresses are those of Services that a node answers for, or offers in a session that is up.
	// An address counts for every advertisement that covers it.
	// +required
	Addresses int32 `json:"addresses"`
	// nodes are those that do.
	// +required
	Nodes int32 `json:"nodes"`
}
