package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressQuota limits how many addresses of pools the Services of namespaces have. A Service
// that would exceed it waits (QuotaExceeded), and gets an address as soon as there is room. A
// Service that has an address keeps it, also when a quota is lowered.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=syquota,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Usage",type=string,JSONPath=`.status.usage`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type AddressQuota struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AddressQuotaSpec `json:"spec"`
	// +optional
	Status AddressQuotaStatus `json:"status,omitempty"`
}

// Counting says whether the namespaces of a quota share its limits.
type Counting string

// The values of AddressQuotaSpec.Counting.
const (
	CountTogether     Counting = "Together"
	CountPerNamespace Counting = "PerNamespace"
)

// AddressQuotaSpec says which namespaces may have how many addresses.
type AddressQuotaSpec struct {
	// namespaces that the quota limits, by name. Without namespaces and namespaceSelector
	// it limits all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelector selects further namespaces by their labels.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// counting: Together: the limits are for all of these namespaces together. PerNamespace:
	// each of them may have as many.
	// +optional
	// +kubebuilder:default=Together
	// +kubebuilder:validation:Enum=Together;PerNamespace
	Counting Counting `json:"counting,omitempty"`

	// hard are the limits. Each counts for itself: a Service needs room in all that count
	// its address.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Hard []AddressLimit `json:"hard"`
}

// AddressLimit is how many addresses of which pools there may be.
type AddressLimit struct {
	// addresses is how many there may be. An address that Services of one namespace share
	// counts once. One that is reserved for the namespace by an AddressReservation counts
	// from then on, so that the Service which it names always gets it.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Addresses int32 `json:"addresses"`

	// ipAddressPools whose addresses count, by name. With ipAddressPoolSelectors empty too:
	// all pools. A name that is not there is reported and skipped.
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

	// family of the addresses that count; absent: both.
	// +optional
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family,omitempty"`
}

// MaxQuotaNamespaces is how many namespaces the status of a quota lists.
const MaxQuotaNamespaces = 256

// AddressQuotaStatus is how much of a quota is used.
type AddressQuotaStatus struct {
	// usage is used and hard of each limit, in words.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Usage string `json:"usage,omitempty"`
	// hard are the limits in force, as in spec.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Hard []int32 `json:"hard,omitempty"`
	// used is how many addresses count for each limit; with counting PerNamespace those of the
	// namespace that has most.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Used []int32 `json:"used,omitempty"`
	// namespaces tell what each of them has; at most 256, by name, and none without addresses.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +kubebuilder:validation:MaxItems=256
	Namespaces []NamespaceUsage `json:"namespaces,omitempty"`
	// conditions: Accepted (False: Invalid), ResolvedRefs (False: NotFound) and Programmed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NamespaceUsage is what one namespace has of a quota.
type NamespaceUsage struct {
	// namespace that has the addresses.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// used is how many of its addresses count for each limit.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Used []int32 `json:"used"`
}

// AddressQuotaList is a list of quotas.
//
// +kubebuilder:object:root=true
type AddressQuotaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressQuota `json:"items"`
}
