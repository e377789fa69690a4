package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPAdvertisement announces addresses to BGP peers (RFC 4271), from every selected node
// at the same time.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpadv,categories=steelyard
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Communities",type=string,priority=1,JSONPath=`.spec.communities`
// +kubebuilder:printcolumn:name="Addresses",type=integer,priority=1,JSONPath=`.status.announced.addresses`
// +kubebuilder:printcolumn:name="Nodes",type=integer,priority=1,JSONPath=`.status.announced.nodes`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BGPAdvertisementSpec `json:"spec,omitempty"`
	// +optional
	Status AdvertisementStatus `json:"status,omitempty"`
}

// CommunityName is a BGP community: "a:b" (RFC 1997), "large:a:b:c" (RFC 8092),
// a well-known name (graceful-shutdown, no-export, no-advertise,
// no-export-subconfed, no-peer, blackhole, accept-own), or an alias that some
// Community object defines.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!self.contains(':') || self.matches('^[0-9]{1,5}:[0-9]{1,5}$') || self.matches('^large:[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$')",message="must be a:b with numbers up to 65535, large:a:b:c with numbers up to 4294967295, a well-known name, or an alias"
// +kubebuilder:validation:XValidation:rule="!self.matches('^[0-9]{1,5}:[0-9]{1,5}$') || self.split(':').all(n, int(n) <= 65535)",message="the numbers of a community go up to 65535"
// +kubebuilder:validation:XValidation:rule="!self.matches('^large:[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') || self.substring(6).split(':').all(n, int(n) <= 4294967295)",message="the numbers of a large community go up to 4294967295"
type CommunityName string

// BGPAdvertisementSpec says what is announced to whom, and with which path
// attributes. The empty spec announces every address to every peer. Where
// several announce one prefix to one peer, it has the communities of all; of
// localPref, med and asPathPrepend the value of the first by name that sets it.
type BGPAdvertisementSpec struct {
	Selection `json:",inline"`

	// aggregationLength is the length of IPv4 routes: an address is announced as the
	// prefix of this length that contains it. It is announced alone, as a /32, if that
	// prefix contains addresses from outside the pool, or if the Service's
	// externalTrafficPolicy is Local, because other nodes may serve other addresses of
	// the prefix.
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	AggregationLength *int32 `json:"aggregationLength,omitempty"`

	// aggregationLengthV6 is the same for IPv6.
	// +optional
	// +kubebuilder:default=128
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`

	// localPref is LOCAL_PREF (RFC 4271 section 5.1.5); 0: not sent. Only peers
	// of the same AS number see it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	LocalPref int64 `json:"localPref,omitempty"`

	// med is MULTI_EXIT_DISC (RFC 4271 section 5.1.4); absent: not sent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MED *int64 `json:"med,omitempty"`

	// asPathPrepend is how many further times the local AS number is prepended to
	// AS_PATH; 0: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	ASPathPrepend int32 `json:"asPathPrepend,omitempty"`

	// communities to send with the routes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=63
	Communities []CommunityName `json:"communities,omitempty"`

	// linkBandwidth has routers that know the link bandwidth extended community
	// (draft-ietf-idr-link-bandwidth) send each node a share of the connections that is
	// proportional to it; absent: not sent, and all nodes get the same. A router weighs only
	// if all paths of a prefix have it.
	// +optional
	LinkBandwidth *LinkBandwidth `json:"linkBandwidth,omitempty"`

	// peers to announce to, by the names of BGPPeer objects. With peerSelectors
	// empty too: all peers.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	Peers []string `json:"peers,omitempty"`

	// peerSelectors select further peers by the labels of BGPPeer objects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PeerSelectors []metav1.LabelSelector `json:"peerSelectors,omitempty"`

	// withdrawWithoutEndpoints withdraws the address of a Service with
	// externalTrafficPolicy Cluster while no endpoint of it serves. The address is announced again
	// when kube-proxy sends to an endpoint; one that came and went three times within 20
	// minutes must first have served for 10 s, after each further time for twice as long, up
	// to 80 s. If false, the address is announced also then, and clients are refused at once. A
	// Service with externalTrafficPolicy Local is never announced without endpoints.
	// +optional
	WithdrawWithoutEndpoints bool `json:"withdrawWithoutEndpoints,omitempty"`
}

// LinkBandwidth says which link bandwidth a node's routes have, in Mbit/s.
//
// +kubebuilder:validation:XValidation:rule="[has(self.perEndpoint), has(self.nodeLabel), has(self.fixed)].filter(x, x).size() == 1",message="exactly one of perEndpoint, nodeLabel and fixed must be set"
type LinkBandwidth struct {
	// perEndpoint is for each ready endpoint that the node has of the Service, if its
	// externalTrafficPolicy is Local. For other Services none is sent: each node serves them
	// with all endpoints.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30000
	PerEndpoint int32 `json:"perEndpoint,omitempty"`
	// nodeLabel is the key of the label of the Node with its number, from 1 to 30000. A node
	// without, or with another value, sends none.
	// +optional
	NodeLabel NodeKey `json:"nodeLabel,omitempty"`
	// fixed is the same number for all nodes that the advertisement selects.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30000
	Fixed int32 `json:"fixed,omitempty"`
}

// BGPAdvertisementList is a list of BGP advertisements.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPAdvertisement `json:"items"`
}
