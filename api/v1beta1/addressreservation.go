package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressReservation reserves addresses of pools for Services, also for some that do not exist
// yet: no other Service gets them. A Service that it names gets the first of them that is free
// before any other address. A Service that has one of them, and is not named, keeps it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=syres,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.namespace`
// +kubebuilder:printcolumn:name="Reserved",type=integer,JSONPath=`.status.addresses.reserved`
// +kubebuilder:printcolumn:name="Used",type=integer,JSONPath=`.status.addresses.used`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Chosen",type=string,JSONPath=`.status.chosen`
// +kubebuilder:printcolumn:name="Expires",type=date,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type AddressReservation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AddressReservationSpec `json:"spec"`
	// +optional
	Status AddressReservationStatus `json:"status,omitempty"`
}

// MaxReserved is how many addresses one AddressReservation may have.
const MaxReserved = 256

// AddressReservationSpec says which addresses are reserved, and for which Services.
// +kubebuilder:validation:XValidation:rule="has(self.addresses) != has(self.size)",message="set either addresses or size"
type AddressReservationSpec struct {
	// addresses that are reserved, in the order in which Services get them; at most 256. An
	// address that no pool holds is reserved as soon as one does. A host part of a pool with
	// source.prefix is the address that it has under the prefix of now.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Addresses []AddressRange `json:"addresses,omitempty"`

	// size reserves so many addresses of a pool in the place of addresses that are named. The
	// controller chooses them: those that Services have which the reservation names, then the
	// lowest that are free. They stay (status.chosen).
	// +optional
	Size *ReservationSize `json:"size,omitempty"`

	// namespace of the Services.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`

	// services are named. Without services and serviceSelector all Services of the
	// namespace are.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	Services []string `json:"services,omitempty"`

	// serviceSelector selects further Services of the namespace by their labels.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// alsoFor names Services of further namespaces, such as some that share an address with
	// those above.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	AlsoFor []ReservedFor `json:"alsoFor,omitempty"`

	// expires is when the reservation ends; absent: never. A Service that has one of the
	// addresses keeps it.
	// +optional
	Expires *metav1.Time `json:"expires,omitempty"`
}

// ReservationSize is how many addresses of a pool are reserved; of both families together at most 256.
// +kubebuilder:validation:XValidation:rule="has(self.ipv4) || has(self.ipv6)",message="set ipv4, ipv6 or both"
// +kubebuilder:validation:XValidation:rule="(has(self.ipv4) ? self.ipv4 : 0) + (has(self.ipv6) ? self.ipv6 : 0) <= 256",message="ipv4 and ipv6 are together at most 256: make several AddressReservations, or an IPAddressPool with serviceAllocation"
type ReservationSize struct {
	// pool is the IPAddressPool.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Pool string `json:"pool"`

	// ipv4 is how many IPv4 addresses.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	IPv4 int32 `json:"ipv4,omitempty"`

	// ipv6 is how many IPv6 addresses.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	IPv6 int32 `json:"ipv6,omitempty"`
}

// ReservedFor names Services of a namespace.
type ReservedFor struct {
	// namespace of the Services.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`

	// services are named. Without services and serviceSelector all Services of the
	// namespace are.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	Services []string `json:"services,omitempty"`

	// serviceSelector selects further Services of the namespace by their labels.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`
}

// For returns the Services that the reservation names.
func (s *AddressReservationSpec) For() []ReservedFor {
	return append([]ReservedFor{{Namespace: s.Namespace, Services: s.Services, ServiceSelector: s.ServiceSelector}}, s.AlsoFor...)
}

// AddressReservationStatus is what a reservation comes to.
type AddressReservationStatus struct {
	// addresses counts those of pools that the reservation has.
	// +optional
	Addresses *ReservationCount `json:"addresses,omitempty"`
	// chosen are the addresses that were chosen for spec.size.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=45
	Chosen []string `json:"chosen,omitempty"`
	// conditions: Accepted (False: Invalid, Overlaps, Expired, TooFewAddresses) and Programmed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ReservationCount counts the addresses of a reservation.
type ReservationCount struct {
	// reserved is how many addresses of pools it has.
	Reserved int32 `json:"reserved"`
	// used is how many of them named Services have.
	Used int32 `json:"used"`
}

// AddressReservationList is a list of reservations.
//
// +kubebuilder:object:root=true
type AddressReservationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressReservation `json:"items"`
}
