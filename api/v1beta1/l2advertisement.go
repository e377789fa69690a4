package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L2Advertisement announces addresses on the local network: by ARP (RFC 826) for IPv4
// and NDP (RFC 4861) for IPv6. One node at a time answers for an address.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=l2adv,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.spec.interfaces`
// +kubebuilder:printcolumn:name="Addresses",type=integer,priority=1,JSONPath=`.status.announced.addresses`
// +kubebuilder:printcolumn:name="Nodes",type=integer,priority=1,JSONPath=`.status.announced.nodes`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec L2AdvertisementSpec `json:"spec,omitempty"`
	// +optional
	Status AdvertisementStatus `json:"status,omitempty"`
}

// InterfacePattern is the name of a network interface, or a glob that matches
// names: * any characters, ? one, [a-z] one of these.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!self.contains('/') && !self.contains(' ')",message="an interface name has no slash and no space"
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([^\[\]\\]|\[\^?([^\[\]\\^-](-[^\[\]\\^-])?)+\])*$')`,message="not a pattern: write * for any characters, ? for one, [a-z] for one of these, and close each bracket"
type InterfacePattern string

// L2AdvertisementSpec says what is announced where. The empty spec announces
// every address on every link of every node.
type L2AdvertisementSpec struct {
	Selection `json:",inline"`

	// interfaces to announce on, by name or glob; empty: all that support ARP and NDP. A node
	// with no such interface up is no candidate. An interface without an address of its own
	// counts only if its exact name is here. If some of the interfaces are in the address's
	// subnet, on any node, the others do not announce it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Interfaces []InterfacePattern `json:"interfaces,omitempty"`

	// excludeInterfaces are the interfaces not to announce on, by name or glob; they take
	// precedence over interfaces.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	ExcludeInterfaces []InterfacePattern `json:"excludeInterfaces,omitempty"`

	// conflictPolicy is what becomes of an address at which another machine answers when it is
	// about to be announced. Wait: it is not announced until that machine has gone; a
	// Service that did not ask for that very address gets another one. Ignore: it is
	// announced, and the machine is not reported. Ignore is for networks with a router that
	// answers for every address (proxy ARP); elsewhere it lets two machines have one address.
	// On a link that several advertisements of an address select, Ignore wins.
	// +optional
	// +kubebuilder:default=Wait
	// +kubebuilder:validation:Enum=Wait;Ignore
	ConflictPolicy ConflictPolicy `json:"conflictPolicy,omitempty"`

	// preferredNodeSelectors give nodes weights. Of the candidates the one with the
	// greatest sum of weights announces the address.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PreferredNodeSelectors []PreferredNodes `json:"preferredNodeSelectors,omitempty"`

	// withdrawWithoutEndpoints withdraws the address of a Service with
	// externalTrafficPolicy Cluster while no endpoint of it serves. The address is announced again
	// when kube-proxy sends to an endpoint; one that came and went three times within 20
	// minutes must first have served for 10 s, after each further time for twice as long, up
	// to 80 s. If false, the address is announced also then, and clients are refused at once. A
	// Service with externalTrafficPolicy Local is never announced without endpoints.
	// +optional
	WithdrawWithoutEndpoints bool `json:"withdrawWithoutEndpoints,omitempty"`
}

// ConflictPolicy is what becomes of an address at which another machine answers.
type ConflictPolicy string

// The policies. The empty value is ConflictWait.
const (
	ConflictWait   ConflictPolicy = "Wait"
	ConflictIgnore ConflictPolicy = "Ignore"
)

// PreferredNodes prefers some nodes to others.
type PreferredNodes struct {
	// weight is added to a node that the preference selects.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`
	// preference selects nodes by labels.
	// +required
	Preference metav1.LabelSelector `json:"preference"`
}

// L2AdvertisementList is a list of layer-2 advertisements.
//
// +kubebuilder:object:root=true
type L2AdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []L2Advertisement `json:"items"`
}
