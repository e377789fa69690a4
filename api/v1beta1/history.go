package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

const (
	// MaxHistory is how many changes of who has its addresses the status of a pool holds.
	MaxHistory = 32
	// MaxHistoryOfAddress is how many of them are of one address.
	MaxHistoryOfAddress = 8
	// MaxFormerOwners is how many former owners the status of an L2Claim holds.
	MaxFormerOwners = 8
)

// What an AddressChange is.
const (
	// ChangeGranted: the Service got the address.
	ChangeGranted = "Granted"
	// ChangeReleased: it lost it.
	ChangeReleased = "Released"
)

// AddressChange is that a Service got an address of a pool, or lost it.
type AddressChange struct {
	// at is when the controller decided it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z$`
	At metav1.MicroTime `json:"at"`
	// address that the Service got or lost.
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// service, as namespace/name.
	// +kubebuilder:validation:MaxLength=127
	Service string `json:"service"`
	// change is Granted or Released.
	// +kubebuilder:validation:Enum=Granted;Released
	Change string `json:"change"`
	// node that answered for the address on the local network when it was released, by its
	// L2Claim; absent: none did.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// reason why: Assigned if it was granted; ServiceGone, Moved, or that of the condition
	// Allocated if it was released.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
}

// FormerOwner is a node that answered for an address until another one did.
type FormerOwner struct {
	// node that answered.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
	// since when it was the owner; absent: that is not known.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// until is when the next owner took its place.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z$`
	Until metav1.MicroTime `json:"until"`
	// reason why the next owner did: NodeNotLive, Handover or OwnerNamed.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
}
