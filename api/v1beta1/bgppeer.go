package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer is a router to which every selected node holds a BGP session.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="MyASN",type=integer,JSONPath=`.spec.myASN`
// +kubebuilder:printcolumn:name="PeerASN",type=integer,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="Established",type=integer,JSONPath=`.status.sessions.established`
// +kubebuilder:printcolumn:name="Sessions",type=integer,JSONPath=`.status.sessions.total`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec BGPPeerSpec `json:"spec"`
	// +optional
	Status BGPPeerStatus `json:"status,omitempty"`
}

// Duration is a length of time such as "90s", "1m30s" or "300ms". Each field
// has a rule for the form and the bounds in one, so that a wrong value gets one message.
//
// +kubebuilder:validation:MaxLength=32
type Duration string

// IPAddress is one IPv4 or IPv6 address.
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression="'\"' + self + '\" is not an IP address'",message="is not an IP address"
type IPAddress string

// BGPPeerSpec says where the router is and how the session is held.
//
// +kubebuilder:validation:XValidation:rule="[has(self.peerASN), has(self.dynamicASN), has(self.peerASNFrom)].filter(x, x).size() == 1",message="exactly one of peerASN, dynamicASN and peerASNFrom must be set"
// +kubebuilder:validation:XValidation:rule="has(self.peerAddress) && has(self.interface) ? !isIP(self.peerAddress) || ip(self.peerAddress).isLinkLocalUnicast() && !has(self.peerAddressFrom) : [has(self.peerAddress), has(self.interface), has(self.peerAddressFrom)].filter(x, x).size() == 1",message="exactly one of peerAddress, peerAddressFrom and interface must be set; a link-local peerAddress and its interface together"
// +kubebuilder:validation:XValidation:rule="!(has(self.localASN) && has(self.localASNFrom))",message="at most one of localASN and localASNFrom may be set"
// +kubebuilder:validation:XValidation:rule="!(has(self.routerID) && has(self.routerIDFrom))",message="at most one of routerID and routerIDFrom may be set"
// +kubebuilder:validation:XValidation:rule="[has(self.sourceAddress), has(self.sourceAddressFrom), has(self.sourceInterface) || has(self.sourcePrefix)].filter(x, x).size() <= 1",message="sourceAddress, sourceAddressFrom and sourceInterface with sourcePrefix exclude each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.password) && has(self.passwordSecret))",message="at most one of password and passwordSecret may be set"
// +kubebuilder:validation:XValidation:rule="!has(self.keepaliveTime) || [self.keepaliveTime, has(self.holdTime) ? self.holdTime : '90s'].exists(d, !d.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$')) || duration(self.keepaliveTime) <= duration(has(self.holdTime) ? self.holdTime : '90s')",message="keepaliveTime must not be longer than holdTime (90s unless set)"
// +kubebuilder:validation:XValidation:rule="!(has(self.ttlSecurity) && has(self.ebgpMultiHop) && self.ebgpMultiHop)",message="ttlSecurity and ebgpMultiHop exclude each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.ebgpMultiHop) && self.ebgpMultiHop) || ((!has(self.peerASN) || self.peerASN != (has(self.localASN) ? self.localASN : self.myASN)) && (!has(self.dynamicASN) || self.dynamicASN != 'internal'))",message="ebgpMultiHop is for a peer of another AS number; internal sessions cross several hops without it"
// +kubebuilder:validation:XValidation:rule="!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) || ip(self.sourceAddress).family() == ip(self.peerAddress).family()",message="sourceAddress and peerAddress must be of one family"
// +kubebuilder:validation:XValidation:rule="!has(self.interface) || !(has(self.password) || has(self.passwordSecret))",message="interface excludes password and passwordSecret: TCP MD5 signatures do not work with link-local addresses"
// +kubebuilder:validation:XValidation:rule="!has(self.interface) || !(has(self.sourceAddress) || has(self.sourceAddressFrom) || has(self.sourceInterface) || has(self.sourcePrefix) || has(self.vrf) || (has(self.ebgpMultiHop) && self.ebgpMultiHop))",message="interface excludes sourceAddress, sourceAddressFrom, sourceInterface, sourcePrefix, vrf and ebgpMultiHop: the session is with the router on that link"
type BGPPeerSpec struct {
	// myASN is the AS number of the nodes.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	MyASN int64 `json:"myASN"`

	// localASN is the AS number that this peer sees instead of myASN.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	LocalASN int64 `json:"localASN,omitempty"`

	// localASNFrom is where each node finds its localASN.
	// +optional
	LocalASNFrom *NodeSource `json:"localASNFrom,omitempty"`

	// peerASN is the AS number of the router.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	PeerASN int64 `json:"peerASN,omitempty"`

	// peerASNFrom is where each node finds the AS number of its router.
	// +optional
	PeerASNFrom *NodeSource `json:"peerASNFrom,omitempty"`

	// dynamicASN accepts any AS number of a kind: internal means the nodes' own, external
	// means any other.
	// +optional
	// +kubebuilder:validation:Enum=internal;external
	DynamicASN string `json:"dynamicASN,omitempty"`

	// peerAddress is the router's address. A link-local one of IPv6 needs interface too.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || (ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()) && !self.matches('^(0|2[45][0-9])[.]')",messageExpression="'\"' + self + '\" is unspecified, loopback, multicast or reserved: no host on a network has it'",message="is unspecified, loopback, multicast or reserved: no host on a network has it"
	PeerAddress IPAddress `json:"peerAddress,omitempty"`

	// peerAddressFrom is where each node finds its router's address. So one BGPPeer serves
	// racks that each have a router. A node that does not find it holds no session, and its
	// BGPSession says so.
	// +optional
	PeerAddressFrom *RouterSource `json:"peerAddressFrom,omitempty"`

	// interface is the link on which to discover the router, by its router advertisements
	// (unnumbered BGP, RFC 4861). The node also sends router advertisements, so that the
	// router can discover it. The session carries both families (RFC 8950). A node
	// without the link holds no session.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`

	// peerPort is the router's TCP port.
	// +optional
	// +kubebuilder:default=179
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	PeerPort int32 `json:"peerPort,omitempty"`

	// sourceAddress is the local address of the session; absent: the kernel chooses. A
	// node without this address holds no session, and its BGPSession says so.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || (ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()) && !self.matches('^(0|2[45][0-9])[.]')",messageExpression="'\"' + self + '\" is unspecified, loopback, multicast or reserved: no host on a network has it'",message="is unspecified, loopback, multicast or reserved: no host on a network has it"
	SourceAddress IPAddress `json:"sourceAddress,omitempty"`

	// sourceAddressFrom is where each node finds its sourceAddress.
	// +optional
	SourceAddressFrom *NodeSource `json:"sourceAddressFrom,omitempty"`

	// sourceInterface is the link whose first address, of the router's family, is the local
	// address of the session; with sourcePrefix, the first in that.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	SourceInterface string `json:"sourceInterface,omitempty"`

	// sourcePrefix is the subnet in which the node's first address is the local address of
	// the session.
	// +optional
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self.substring(0, self.indexOf('/')) + (cidr(self).ip().family() == 4 ? '/32' : '/128')).containsIP(cidr(self).masked().ip())",message="sourcePrefix must be a subnet, such as 192.0.2.0/24"
	SourcePrefix string `json:"sourcePrefix,omitempty"`

	// holdTime after which a session without messages ends; at least 3s. A change of timers
	// alone is for the next session, or with enableGracefulRestart restarts this one without a
	// loss of routes.
	// +optional
	// +kubebuilder:default="90s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('3s') && duration(self) <= duration('65535s')",message="holdTime must be a length of time from 3s to 65535s, such as 90s or 1m30s (RFC 4271 section 4.2)"
	HoldTime Duration `json:"holdTime,omitempty"`

	// keepaliveTime is the time between KEEPALIVE messages; absent: a third of holdTime.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s')",message="keepaliveTime must be a length of time of at least 1s, such as 30s"
	KeepaliveTime Duration `json:"keepaliveTime,omitempty"`

	// connectTime is the longest time between two attempts to connect; absent: 2s. If
	// attempts keep failing the time grows up to 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('65535s')",message="connectTime must be a length of time from 1s to 65535s, such as 2s or 1m"
	ConnectTime Duration `json:"connectTime,omitempty"`

	// routerID is the BGP identifier, in the form of an IPv4 address; absent:
	// the node's InternalIP of IPv4, else the IPv4 source address, else a hash of its name.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4 && self != '0.0.0.0'",message="routerID must have the form of an IPv4 address, and not be 0.0.0.0 (RFC 6286 section 2.1)"
	RouterID string `json:"routerID,omitempty"`

	// routerIDFrom is where each node finds its routerID.
	// +optional
	RouterIDFrom *NodeSource `json:"routerIDFrom,omitempty"`

	// nextHop is the next hop of IPv4 routes; absent: the session's own address, or in a session
	// of IPv6 the Node's address on its link.
	// +optional
	NextHop IPAddress `json:"nextHop,omitempty"`

	// nextHopV6 is the next hop of IPv6 routes; absent: the session's own address, or in a
	// session of IPv4 the Node's address on its link.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip(self).family() == 6",message="nextHopV6 must be an IPv6 address"
	NextHopV6 IPAddress `json:"nextHopV6,omitempty"`

	// nodeSelectors select the nodes that hold a session; empty: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// password of the TCP MD5 signature (RFC 2385). Prefer passwordSecret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	Password string `json:"password,omitempty"`

	// passwordSecret is the Secret with the password: of type kubernetes.io/basic-auth,
	// key password, in Steelyard's namespace. If it is missing or of another type, no
	// session is held, and the condition ResolvedRefs says so.
	// +optional
	PasswordSecret *SecretName `json:"passwordSecret,omitempty"`

	// bfdProfile is the name of the BFDProfile with which to monitor the router; empty:
	// no BFD. When BFD detects a broken path, the BGP session ends at once. A BFD session
	// that has never been up does not affect the BGP session.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BFDProfile string `json:"bfdProfile,omitempty"`

	// ebgpMultiHop allows an external router more than one hop away.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`

	// ttlSecurity accepts packets only from routers at most this many hops away
	// (GTSM, RFC 5082). The router must do the same.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	TTLSecurity int32 `json:"ttlSecurity,omitempty"`

	// enableGracefulRestart asks the router to keep the routes for restartTime
	// while a speaker restarts (RFC 4724). A speaker that stops then sends no
	// NOTIFICATION: to withdraw a node's routes, delete the peer or exclude the node.
	// +optional
	EnableGracefulRestart bool `json:"enableGracefulRestart,omitempty"`

	// vrf is the Linux VRF device in which the session runs. Another interface is also
	// possible: the session then uses only that one. A node without the device holds no
	// session, and its BGPSession says so.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	VRF string `json:"vrf,omitempty"`

	// restartTime is how long the router keeps the routes of a speaker that restarts, with
	// enableGracefulRestart; in whole seconds.
	// +optional
	// +kubebuilder:default="120s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('4095s')",message="restartTime must be a length of time from 1s to 4095s, such as 120s (RFC 4724 section 3)"
	RestartTime Duration `json:"restartTime,omitempty"`

	// dualStackAddressFamily announces IPv4 and IPv6 routes in this one session
	// (RFC 4760); otherwise a session carries the family of its own addresses.
	// +optional
	DualStackAddressFamily bool `json:"dualStackAddressFamily,omitempty"`
}

// NodeSource is a place on the Node object where a node finds a value of its own.
//
// +kubebuilder:validation:XValidation:rule="has(self.label) != has(self.annotation)",message="exactly one of label and annotation must be set"
type NodeSource struct {
	// label is the key of a label of the Node. (No label's value has a colon: an IPv6
	// address has to be an annotation.)
	// +optional
	Label NodeKey `json:"label,omitempty"`
	// annotation is the key of an annotation of the Node.
	// +optional
	Annotation NodeKey `json:"annotation,omitempty"`
}

// NodeKey is the key of a label or an annotation.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=317
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",messageExpression="'\"' + self + '\" is no key of a label or an annotation, such as example.com/router'",message="is no key of a label or an annotation, such as example.com/router"
type NodeKey string

// RouterSource is where a node finds the address of its router.
//
// +kubebuilder:validation:XValidation:rule="[has(self.label), has(self.annotation), has(self.gateway)].filter(x, x).size() == 1",message="exactly one of label, annotation and gateway must be set"
type RouterSource struct {
	// label is the key of a label of the Node.
	// +optional
	Label NodeKey `json:"label,omitempty"`
	// annotation is the key of an annotation of the Node.
	// +optional
	Annotation NodeKey `json:"annotation,omitempty"`
	// gateway takes the gateway of the node's default route.
	// +optional
	Gateway *Gateway `json:"gateway,omitempty"`
}

// Gateway is which default route counts. Of several the one with the least metric does.
type Gateway struct {
	// interface is the link of the route; empty: any.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`
	// ipFamily is the family of the route.
	// +optional
	// +kubebuilder:default=IPv4
	// +kubebuilder:validation:Enum=IPv4;IPv6
	IPFamily corev1.IPFamily `json:"ipFamily,omitempty"`
}

// SecretName names a Secret in Steelyard's own namespace.
type SecretName struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// BGPPeerStatus is the peer's health.
type BGPPeerStatus struct {
	// sessions counts the nodes' sessions to this peer.
	// +optional
	Sessions *SessionCount `json:"sessions,omitempty"`
	// conditions: Accepted (False: Invalid, Overlaps), ResolvedRefs (False: NotFound,
	// InvalidSecret), Programmed, and Established: True while every session is.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SessionCount counts BGP sessions.
type SessionCount struct {
	// established is how many are up.
	Established int32 `json:"established"`
	// total is how many should be.
	Total int32 `json:"total"`
}

// BGPPeerList is a list of peers.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPPeer `json:"items"`
}
