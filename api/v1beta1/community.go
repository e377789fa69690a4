package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Community defines names for BGP communities.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Names",type=string,JSONPath=`.spec.communities[*].name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type Community struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec CommunitySpec `json:"spec"`
	// +optional
	Status CommunityStatus `json:"status,omitempty"`
}

// CommunitySpec lists aliases.
type CommunitySpec struct {
	// communities to name.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Communities []CommunityAlias `json:"communities"`
}

// CommunityAlias is one name.
type CommunityAlias struct {
	// name to use in a BGPAdvertisement; without colon.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!self.contains(':')",message="a name must not contain a colon"
	Name string `json:"name"`
	// value that the name stands for: a:b or large:a:b:c.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.contains(':')",message="must be a:b or large:a:b:c"
	Value CommunityName `json:"value"`
}

// CommunityStatus is the object's health.
type CommunityStatus struct {
	// conditions: Accepted (False: Invalid) and Programmed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CommunityList is a list of communities.
//
// +kubebuilder:object:root=true
type CommunityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Community `json:"items"`
}
