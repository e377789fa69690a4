package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L2Claim is the ownership of one address on the local network. The speakers write it;
// its name is the address, with - in the place of each colon. Edit spec.node to move the
// address to another node that may have it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Announced",type=string,JSONPath=`.status.conditions[?(@.type=="Announced")].status`
// +kubebuilder:printcolumn:name="Links",type=string,JSONPath=`.status.links[*].name`
// +kubebuilder:printcolumn:name="Services",type=string,JSONPath=`.status.services`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.message!="")].message`
// +kubebuilder:selectablefield:JSONPath=`.spec.node`
// +kubebuilder:selectablefield:JSONPath=`.status.node`
// +kubebuilder:selectablefield:JSONPath=`.status.pool`
// +kubebuilder:selectablefield:JSONPath=`.status.service`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == (self.spec.address.startsWith(':') ? (self.spec.address.endsWith(':') ? '0' + self.spec.address.replace(':', '-') + '0' : '0' + self.spec.address.replace(':', '-')) : (self.spec.address.endsWith(':') ? self.spec.address.replace(':', '-') + '0' : self.spec.address.replace(':', '-')))",message="the name must be the address, with - in the place of each colon, and 0 before or after a - at either end"
type L2Claim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec L2ClaimSpec `json:"spec"`
	// +optional
	Status L2ClaimStatus `json:"status,omitempty"`
}

// L2ClaimSpec names the owner.
type L2ClaimSpec struct {
	// address that is claimed; it never changes.
	// +required
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip.isCanonical(self)",message="the address must be written in its shortest form (RFC 5952)"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="address never changes; delete the claim instead"
	Address IPAddress `json:"address"`
	// node that owns the address as long as it is a candidate.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
}

// L2ClaimStatus is what the owner reports.
type L2ClaimStatus struct {
	// node that reports this.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// links that the address is announced on; of more than 256 the first.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	Links []ClaimLink `json:"links,omitempty"`
	// pool is the IPAddressPool that the address is from.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Pool string `json:"pool,omitempty"`
	// service is the first of services, for field selectors, which read no lists.
	// +optional
	// +kubebuilder:validation:MaxLength=127
	Service string `json:"service,omitempty"`
	// services that use the address, as namespace/name; of more than 256 the first
	// by name.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=127
	// +listType=set
	Services []string `json:"services,omitempty"`
	// since is when the node became the owner.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// formerOwners are the nodes that answered before, newest first; at most 8. Each owner
	// writes down the one before it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	FormerOwners []FormerOwner `json:"formerOwners,omitempty"`
	// conditions: Announced, Conflict.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClaimLink is a link that an address is announced on.
type ClaimLink struct {
	// name of the network interface.
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name"`
	// mac is the link-layer address in the answers.
	// +kubebuilder:validation:MaxLength=59
	MAC string `json:"mac"`
}

// L2ClaimList is a list of claims.
//
// +kubebuilder:object:root=true
type L2ClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []L2Claim `json:"items"`
}
