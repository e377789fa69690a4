package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SourceType says who chooses the addresses of a pool.
type SourceType string

// Who chooses the addresses of a pool. The empty value is SourceStatic.
const (
	SourceStatic   SourceType = "Static"
	SourceExternal SourceType = "External"
	SourcePrefix   SourceType = "Prefix"
)

// PoolSource says who chooses the addresses of a pool.
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'External') == has(self.external)",message="external belongs to the type External: set both, or neither"
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'Prefix') == has(self.prefix)",message="prefix belongs to the type Prefix: set both, or neither"
type PoolSource struct {
	// type Static: the controller chooses. External: an IPAM does (an address management
	// program), which the controller asks by gRPC; spec.addresses then says which of its
	// answers are accepted. Prefix: the controller chooses, under an IPv6 prefix that changes;
	// spec.addresses and spec.exclude then list host parts, such as ::1:0/112.
	// +optional
	// +kubebuilder:default=Static
	// +kubebuilder:validation:Enum=Static;External;Prefix
	Type SourceType `json:"type,omitempty"`

	// external says how the controller reaches the IPAM.
	// +optional
	External *ExternalSource `json:"external,omitempty"`

	// prefix says where the prefix stands under which the pool's addresses lie.
	// +optional
	Prefix *PrefixSource `json:"prefix,omitempty"`
}

// PrefixSource is where the prefix of a pool is read: in a ConfigMap, or on a link of nodes. When it
// changes, each Service gets the address with the same host part under the new prefix.
// +kubebuilder:validation:XValidation:rule="has(self.configMap) != has(self.link)",message="exactly one of configMap and link must be set"
type PrefixSource struct {
	// configMap in Steelyard's namespace that has the prefix, such as 2001:db8:1::/56: for a
	// DHCPv6 client, or a hook of a router, to write.
	// +optional
	ConfigMap *PrefixConfigMap `json:"configMap,omitempty"`

	// link of nodes whose subnet is the prefix, as a router advertises it there.
	// +optional
	Link *PrefixLink `json:"link,omitempty"`

	// overlap is how long Services keep their addresses of the prefix before, and nodes announce
	// them, beside the new ones; 0s: not at all. A Service with the annotation
	// steelyard.dev/renumbering: Switch has the new address alone at once. At most 168h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('168h')",message="overlap must be a length of time up to 168h, such as 1h; 0s keeps no address of the prefix before"
	Overlap Duration `json:"overlap,omitempty"`
}

// DefaultOverlap is the overlap of a PrefixSource that names none.
const DefaultOverlap Duration = "1h"

// PrefixConfigMap is an entry of a ConfigMap in Steelyard's namespace.
type PrefixConfigMap struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// key of the entry.
	// +optional
	// +kubebuilder:default=prefix
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// DefaultPrefixKey is the key of a PrefixConfigMap that names none.
const DefaultPrefixKey = "prefix"

// DefaultWithin is the within of a PrefixLink that names none: IPv6's global unicast (RFC 4291
// section 2.4, as IANA assigns it).
const DefaultWithin = "2000::/3"

// PrefixLink is a link that some nodes have.
type PrefixLink struct {
	// interface is the link's name. Of its IPv6 subnets those count that lie within and are not
	// deprecated: the one that most nodes have; of several the one that is the pool's prefix
	// already, else the lowest. Only nodes count whose speakers run.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/ ]+$')",message="interface must be the name of a link, such as eth0"
	Interface string `json:"interface"`

	// within is the prefix in which subnets count: that of one of several providers, or fd00::/8
	// for unique local addresses. By default all global unicast addresses.
	// +optional
	// +kubebuilder:default="2000::/3"
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && self.contains(':')",message="within must be an IPv6 prefix, such as 2001:db8::/32"
	Within string `json:"within,omitempty"`

	// nodeSelectors restrict the nodes that count. A node that matches any of them counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
}

// ExternalSource is an IPAM that speaks steelyard.ipam.v1 (api/ipam/v1/ipam.proto).
// +kubebuilder:validation:XValidation:rule="has(self.tls) || self.endpoint.matches('^(unix:///.*|(localhost|127([.][0-9]{1,3}){3}|[[]::1[]]):[0-9]+)$')",message="without tls the endpoint must be a Unix socket (unix:///path) or on this machine (127.0.0.1:9000)"
type ExternalSource struct {
	// endpoint of the IPAM as the controller's Pod reaches it: host:port, [IPv6]:port or
	// unix:///path.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^(unix:///[!-~]+|[A-Za-z0-9._-]+:[0-9]{1,5}|[[][0-9A-Fa-f:.]+[]]:[0-9]{1,5})$')",message="endpoint must be host:port, [IPv6]:port or unix:///path, such as ipam.example.org:9000"
	Endpoint string `json:"endpoint"`

	// timeout of one request to the IPAM: after that it is repeated, with growing pauses. At
	// most 1m.
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="timeout must be a length of time from 100ms to 1m, such as 5s"
	Timeout Duration `json:"timeout,omitempty"`

	// tls encrypts the connection. Without it the endpoint must be a Unix socket or loopback.
	// +optional
	TLS *ExternalTLS `json:"tls,omitempty"`

	// whenLost says what becomes of an address that a Service has and that is another's, as the
	// IPAM says (ALREADY_EXISTS): a DHCP server has ended the lease, say. Keep: the Service keeps it, and its condition
	// Allocated tells. Move: the IPAM is asked for another one, which the Service gets in its
	// place; until there is one it keeps what it has. What a Service asks for by address stays.
	// +optional
	// +kubebuilder:default=Keep
	// +kubebuilder:validation:Enum=Keep;Move
	WhenLost WhenLost `json:"whenLost,omitempty"`
}

// WhenLost says what becomes of an address that the IPAM refuses to the Service that has it.
type WhenLost string

// What becomes of such an address. The empty value is LostKeep.
const (
	LostKeep WhenLost = "Keep"
	LostMove WhenLost = "Move"
)

// ExternalTLS says by which certificates controller and IPAM know each other.
type ExternalTLS struct {
	// secret in Steelyard's namespace: ca.crt has the certificates that the IPAM's must be
	// signed by; tls.crt and tls.key, if they are there, are the controller's own, which it
	// shows to the IPAM. If the Secret is missing or of no use, no Service gets a new address
	// of the pool, and the condition IPAMReady says so.
	// +required
	Secret SecretName `json:"secret"`

	// serverName is the name in the IPAM's certificate; empty: the host of the endpoint.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
}

// MaxPreviousPrefixes is how many previous prefixes a status holds.
const MaxPreviousPrefixes = 4

// PrefixStatus is the prefix of a pool, and those before it.
type PrefixStatus struct {
	// current prefix, as a CIDR. It stays while its source has none, or one that can't be used.
	// +kubebuilder:validation:MaxLength=43
	Current string `json:"current"`
	// since when it is the current one.
	Since metav1.Time `json:"since"`
	// previous are the prefixes before, whose addresses Services keep beside the new ones until
	// the time that each says. The latest comes first; of more than 4 the first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	Previous []PreviousPrefix `json:"previous,omitempty"`
}

// PreviousPrefix is a prefix that another one has replaced.
type PreviousPrefix struct {
	// prefix, as a CIDR.
	// +kubebuilder:validation:MaxLength=43
	Prefix string `json:"prefix"`
	// until when Services keep its addresses.
	Until metav1.Time `json:"until"`
}
