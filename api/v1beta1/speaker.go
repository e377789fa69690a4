package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Speaker is the state of one node's speaker. The speaker writes it, on change only, and
// the controller its condition Ready while the speaker is dead; its
// name is the node's, and it is deleted with the Node.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=steelyard
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Links",type=string,JSONPath=`.status.links[?(@.up==true)].name`
// +kubebuilder:printcolumn:name="Addresses",type=integer,JSONPath=`.status.addresses`
// +kubebuilder:printcolumn:name="Established",type=integer,JSONPath=`.status.sessions.established`
// +kubebuilder:printcolumn:name="Sessions",type=integer,JSONPath=`.status.sessions.total`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Speaker struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status SpeakerStatus `json:"status,omitempty"`
}

// SpeakerStatus describes a speaker.
type SpeakerStatus struct {
	// links on which the speaker can use ARP and NDP; of more than 256 the first.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	Links []SpeakerLink `json:"links,omitempty"`
	// addresses is how many layer-2 addresses the node holds.
	// +optional
	Addresses int32 `json:"addresses"`
	// sessions counts the node's BGP sessions.
	// +optional
	Sessions *SessionCount `json:"sessions,omitempty"`
	// version of the program.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Version string `json:"version,omitempty"`
	// since is when this process started.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// host is what the speaker found out about its node; it checks every 10 s.
	// +optional
	Host *SpeakerHost `json:"host,omitempty"`
	// conditions: Ready, Isolated, Restarting, KernelAnswers, NotForwarding.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Which program forwards packets for Services on a node (status.host.forwarder).
const (
	ForwarderReadyCheck = "ReadyCheck"
	ForwarderCilium     = "Cilium"
	ForwarderCalico     = "Calico"
	ForwarderKubeRouter = "KubeRouter"
	ForwarderNone       = "None"
)

// SpeakerHost is what matters of a node to those who reach Services there, and
// can only be seen on it.
type SpeakerHost struct {
	// kernel is the kernel's release, as uname -r prints it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Kernel string `json:"kernel,omitempty"`
	// proxyMode is kube-proxy's mode, as it reports on the node: iptables, ipvs,
	// nftables; empty: no answer.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	ProxyMode string `json:"proxyMode,omitempty"`
	// forwarder is the program that forwards packets for Services on the node: ReadyCheck, what
	// answers at the speaker's --ready-check, by default kube-proxy. Where nothing listens there,
	// for a minute if something did before: Cilium, Calico or KubeRouter, by the port at which it
	// says that it is well; None: none of these. Empty: not known yet, or there is no check.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Forwarder string `json:"forwarder,omitempty"`
	// proxyError is why the forwarder does not confirm that the node forwards; empty: it
	// does, or there is no check.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	ProxyError string `json:"proxyError,omitempty"`
	// nullRouteError is why the speaker can't prevent routing loops, between the node and
	// its router, of packets that no Service takes; empty: it can, or --null-route-table
	// is 0.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	NullRouteError string `json:"nullRouteError,omitempty"`
	// tokenError is why the API server can't confine the speaker to objects with its
	// node's name (ValidatingAdmissionPolicy steelyard-speaker); empty: it can.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	TokenError string `json:"tokenError,omitempty"`
	// strictReversePath are the links on which the kernel drops packets from an address
	// that it would reach by another link (rp_filter 1, RFC 3704 section 2.2; on an unnumbered
	// link also 2); of more than 1024 the first by name.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=15
	// +listType=set
	StrictReversePath []string `json:"strictReversePath,omitempty"`
	// addresses are the node's own addresses, on which links they are; of more than 64 the
	// first. No pool chooses one of them for a Service.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=address
	Addresses []HostAddress `json:"addresses,omitempty"`
	// gateways are the gateways of the node's default routes; of more than 16 the first. No
	// pool chooses one of them for a Service.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=45
	// +listType=set
	Gateways []string `json:"gateways,omitempty"`
	// portsTaken are the ports that the speaker wants and another program has, each with that
	// program if it can be seen. The speaker goes on without the part that needs the port, until
	// it is restarted.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	PortsTaken []string `json:"portsTaken,omitempty"`
	// bgpPrograms are the other programs of the node that speak BGP (TCP 179): those that
	// listen, and those with a session. Of more than 16 the first by router. They are looked
	// for every 30 s.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	BGPPrograms []BGPProgram `json:"bgpPrograms,omitempty"`
	// unreachableSpeakers are the nodes whose speakers renew their Leases, and that this
	// speaker has never reached on the wire; of more than 256 the first by name.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	UnreachableSpeakers []string `json:"unreachableSpeakers,omitempty"`
	// sessionsDown are the nodes with whose speakers a BFD session was not Up at the last
	// two checks: the node's name; for a session on a further subnet followed by that, as
	// in "node2 on 198.51.100.0/24". Of more than 256 the first by name.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=320
	// +listType=set
	SessionsDown []string `json:"sessionsDown,omitempty"`
}

// BGPProgram is another program of a node that speaks BGP.
type BGPProgram struct {
	// program is its name and process, or whose it is where it can't be seen.
	// +kubebuilder:validation:MaxLength=256
	Program string `json:"program"`
	// router that it has a session with; empty: it listens for sessions.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	Router string `json:"router,omitempty"`
	// address of the node in that session.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address,omitempty"`
}

// HostAddress is an address of a node.
type HostAddress struct {
	// address is an IPv4 or IPv6 address.
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// link is the interface that has it.
	// +kubebuilder:validation:MaxLength=15
	Link string `json:"link"`
}

// SpeakerLink is a network interface of a node.
type SpeakerLink struct {
	// name of the interface.
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name"`
	// mac is the link-layer address.
	// +kubebuilder:validation:MaxLength=59
	MAC string `json:"mac"`
	// up is true if the link is set up, has carrier, and reaches other members. The last
	// applies only to a subnet besides that of the node's address in which other nodes
	// also have a link: some of them, or a gateway, must be reachable there.
	Up bool `json:"up"`
	// prefixes are the link's subnets; of more than 32 the first.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=set
	Prefixes []string `json:"prefixes,omitempty"`
	// deprecated are those of prefixes in which the link has no address to begin connections from:
	// each is deprecated (RFC 4862 section 5.5.4), as when a router advertises another prefix, or not
	// checked yet. A pool does not take its prefix from these. Of more than 8 the first.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=43
	// +listType=set
	Deprecated []string `json:"deprecated,omitempty"`
	// unnumbered is true if the link has no address of its own. Only L2Advertisements with
	// its exact name in interfaces announce on it.
	// +optional
	Unnumbered bool `json:"unnumbered,omitempty"`
}

// SpeakerList is a list of speakers.
//
// +kubebuilder:object:root=true
type SpeakerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Speaker `json:"items"`
}
