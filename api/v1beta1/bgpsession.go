package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPSession is the state of one node's session to one BGPPeer. The node's
// speaker writes it, and the controller while the speaker is dead; it is deleted with the Node, or when the node should no
// longer hold the session.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Peer",type=string,JSONPath=`.status.peer`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="BFD",type=string,JSONPath=`.status.bfd`
// +kubebuilder:printcolumn:name="Advertised",type=integer,JSONPath=`.status.prefixes.advertised`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Last-Error",type=string,JSONPath=`.status.lastError`
// +kubebuilder:selectablefield:JSONPath=`.status.node`
// +kubebuilder:selectablefield:JSONPath=`.status.peer`
// +kubebuilder:selectablefield:JSONPath=`.status.state`
type BGPSession struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status BGPSessionStatus `json:"status,omitempty"`
}

// BGPSessionStatus is the state of the session.
type BGPSessionStatus struct {
	// node that holds the session.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// peer is the name of the BGPPeer.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Peer string `json:"peer,omitempty"`
	// state by the names of RFC 4271 section 8.2.2: Idle, Connect, Active,
	// OpenSent, OpenConfirm, Established. Unknown: the node's speaker is not heard of, as
	// the controller finds by its Lease, or has stopped; the other fields are its last report.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	State string `json:"state,omitempty"`
	// since is when the session was established, or lost.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// prefixes counts routes.
	// +optional
	Prefixes *PrefixCount `json:"prefixes,omitempty"`
	// bfd is the state of the BFD session, if one is configured (Up, Down, Init or
	// AdminDown, RFC 5880 section 4.1), and what keeps it from coming up.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	BFD string `json:"bfd,omitempty"`
	// duplicateOf is the older BGPPeer for the same router: the node holds the session
	// for that one, and none for this.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DuplicateOf string `json:"duplicateOf,omitempty"`
	// peerRevision is which version of the BGPPeer is in force: its generation, and the version
	// of the Secret with its password.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PeerRevision string `json:"peerRevision,omitempty"`
	// pending are changes of the BGPPeer that are not in force yet.
	// +optional
	Pending *PendingChanges `json:"pending,omitempty"`
	// lastError is why the session is not up, or why it last went down.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	LastError string `json:"lastError,omitempty"`
}

// PendingChanges are changes of a BGPPeer that are not in force yet on a node.
type PendingChanges struct {
	// fields that have changed.
	// +kubebuilder:validation:MaxLength=256
	Fields string `json:"fields"`
	// until: NextSession where the session goes on with the old values, which the next one
	// will not have; OtherNodes where it restarts when other nodes' sessions have.
	// +kubebuilder:validation:Enum=NextSession;OtherNodes
	Until PendingUntil `json:"until"`
}

// PendingUntil is what pending changes wait for.
type PendingUntil string

// The values of PendingUntil.
const (
	UntilNextSession PendingUntil = "NextSession"
	UntilOtherNodes  PendingUntil = "OtherNodes"
)

// SessionUnknown is the state of a session whose speaker is dead.
const SessionUnknown = "Unknown"

// PrefixCount counts the routes of a session.
type PrefixCount struct {
	// advertised to the peer.
	Advertised int32 `json:"advertised"`
}

// BGPSessionList is a list of sessions.
//
// +kubebuilder:object:root=true
type BGPSessionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPSession `json:"items"`
}
