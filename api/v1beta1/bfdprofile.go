package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BFDProfile holds the parameters with which nodes monitor routers by BFD (RFC 5880).
// BGPPeers refer to it by name. A change or deletion of the profile ends no BGP session
// from the node's side; but some routers (FRR 8, BIRD 2.0) end it when the node ends
// BFD.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Transmit",type=integer,JSONPath=`.spec.transmitInterval`
// +kubebuilder:printcolumn:name="Receive",type=integer,JSONPath=`.spec.receiveInterval`
// +kubebuilder:printcolumn:name="Multiplier",type=integer,JSONPath=`.spec.detectMultiplier`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type BFDProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec BFDProfileSpec `json:"spec,omitempty"`
	// +optional
	Status BFDProfileStatus `json:"status,omitempty"`
}

// HopMode says how far away a router may be for BFD.
//
// +kubebuilder:validation:Enum=auto;single;multi
type HopMode string

// The values of HopMode.
const (
	HopModeAuto   HopMode = "auto"
	HopModeSingle HopMode = "single" // RFC 5881, UDP port 3784
	HopModeMulti  HopMode = "multi"  // RFC 5883, UDP port 4784
)

// BFDProfileSpec gives the timers. Times are in milliseconds.
type BFDProfileSpec struct {
	// receiveInterval is the shortest interval, in milliseconds, at which the node
	// accepts packets.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	ReceiveInterval int32 `json:"receiveInterval,omitempty"`
	// transmitInterval is the shortest interval, in milliseconds, at which the node sends
	// packets.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	TransmitInterval int32 `json:"transmitInterval,omitempty"`
	// detectMultiplier is the number of missed packets after which the BFD session is
	// down.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	DetectMultiplier int32 `json:"detectMultiplier,omitempty"`
	// passiveMode true has the node send nothing before the router's first packet.
	// +optional
	PassiveMode bool `json:"passiveMode,omitempty"`
	// hopMode is single (RFC 5881, port 3784), multi (RFC 5883, port 4784), or auto,
	// which chooses as FRR does: multi with ebgpMultiHop, with ttlSecurity, and for an
	// internal peer that is in no subnet of the node; else single. The router must
	// use the same. BIRD chooses otherwise: multi for every internal peer that is not
	// "direct", and single with ttlSecurity.
	// +optional
	// +kubebuilder:default=auto
	HopMode HopMode `json:"hopMode,omitempty"`
	// minimumTtl is the lowest TTL that is accepted in hopMode multi; hopMode single
	// requires 255.
	// +optional
	// +kubebuilder:default=254
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	MinimumTTL int32 `json:"minimumTtl,omitempty"`
	// echoMode has no effect: the echo function is not supported.
	// +optional
	EchoMode bool `json:"echoMode,omitempty"`
	// echoInterval has no effect: the echo function is not supported.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	EchoInterval int32 `json:"echoInterval,omitempty"`
	// authentication signs the packets of both sides (RFC 5880 section 6.7); unset: packets
	// are not signed, and signed ones are refused. FRR and some other routers have none.
	// +optional
	Authentication *BFDAuthentication `json:"authentication,omitempty"`
}

// BFDAuthentication is how packets are signed. Keys can be exchanged without a loss: let
// both sides have the new one as well, then change keyID on both, then remove the old one.
type BFDAuthentication struct {
	// type is KeyedSHA1 or MeticulousKeyedSHA1, where each packet has another sequence
	// number, so that none can be replayed. The router must have the same.
	// +optional
	// +kubebuilder:default=MeticulousKeyedSHA1
	Type BFDAuthenticationType `json:"type,omitempty"`
	// keySecret is the Secret with the keys: of type Opaque, in Steelyard's namespace. Each
	// of its keys is a key ID, 0 to 255, and the value a secret of 1 to 20 bytes. If it is
	// missing, or one of them is no such value, sessions are held without BFD, and the
	// condition ResolvedRefs says so.
	// +required
	KeySecret SecretName `json:"keySecret"`
	// keyID is the key that the nodes sign with. The router may sign with any in the Secret.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	KeyID *int32 `json:"keyID,omitempty"`
}

// BFDAuthenticationType is a type of authentication (RFC 5880 section 4.1).
//
// +kubebuilder:validation:Enum=KeyedSHA1;MeticulousKeyedSHA1
type BFDAuthenticationType string

// The values of BFDAuthenticationType.
const (
	BFDKeyedSHA1           BFDAuthenticationType = "KeyedSHA1"
	BFDMeticulousKeyedSHA1 BFDAuthenticationType = "MeticulousKeyedSHA1"
)

// SigningKeyID is the ID of the key that the nodes sign with.
func (a *BFDAuthentication) SigningKeyID() int32 {
	if a.KeyID == nil {
		return 1
	}
	return *a.KeyID
}

// BFDProfileStatus is the profile's health.
type BFDProfileStatus struct {
	// conditions: Accepted, ResolvedRefs (False: NotFound, InvalidSecret), and Programmed
	// (False: UnsupportedField).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BFDProfileList is a list of profiles.
//
// +kubebuilder:object:root=true
type BFDProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BFDProfile `json:"items"`
}
