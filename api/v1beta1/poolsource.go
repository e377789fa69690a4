package v1beta1

// SourceType says who chooses the addresses of a pool.
type SourceType string

// Who chooses the addresses of a pool. The empty value is SourceStatic.
const (
	SourceStatic   SourceType = "Static"
	SourceExternal SourceType = "External"
)

// PoolSource says who chooses the addresses of a pool.
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'External') == has(self.external)",message="external belongs to the type External: set both, or neither"
type PoolSource struct {
	// type Static: the controller chooses. External: an IPAM does (an address management
	// program), which the controller asks by gRPC; spec.addresses then says which of its
	// answers are accepted.
	// +optional
	// +kubebuilder:default=Static
	// +kubebuilder:validation:Enum=Static;External
	Type SourceType `json:"type,omitempty"`

	// external says how the controller reaches the IPAM.
	// +optional
	External *ExternalSource `json:"external,omitempty"`
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
}

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
