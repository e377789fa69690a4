package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IPAddressPool is a set of addresses that the controller may assign to Services of type
// LoadBalancer.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sypool,categories=steelyard
// +kubebuilder:validation:XValidation:rule="!has(self.spec.replacedBy) || self.spec.replacedBy != self.metadata.name",message="spec.replacedBy must name another pool"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Auto",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="IPv4-Used",type=string,JSONPath=`.status.ipv4.assigned`
// +kubebuilder:printcolumn:name="IPv4-Free",type=string,JSONPath=`.status.ipv4.available`
// +kubebuilder:printcolumn:name="IPv6-Used",type=string,JSONPath=`.status.ipv6.assigned`
// +kubebuilder:printcolumn:name="IPv6-Free",type=string,JSONPath=`.status.ipv6.available`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Prefix",type=string,JSONPath=`.status.prefix.current`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.status=="False")].message`
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec IPAddressPoolSpec `json:"spec"`
	// +optional
	Status IPAddressPoolStatus `json:"status,omitempty"`
}

// AddressRange is a CIDR ("192.0.2.0/24"), a range ("192.0.2.10-192.0.2.20",
// both ends included) or one address ("192.0.2.10"), IPv4 or IPv6.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=90
// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self) || (self.split('-').size() == 2 && self.split('-').all(a, isIP(a.trim())))",messageExpression="'\"' + self + '\" is ' + (self.matches('^[0-9]+([.][0-9]+){3} *- *(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2}) *$') && isIP(self.split('-')[0].trim()) ? 'a short range: write \"' + self.split('-')[0].trim() + '-' + self.substring(0, self.lastIndexOf('.') + 1) + self.split('-')[1].trim() + '\"' : 'none of: a CIDR like 192.0.2.0/24, a range like 192.0.2.10-192.0.2.20, one address like 192.0.2.10')",message="is none of: a CIDR like 192.0.2.0/24, a range like 192.0.2.10-192.0.2.20, one address like 192.0.2.10"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self.substring(0, self.indexOf('/')) + (cidr(self).ip().family() == 4 ? '/32' : '/128')).containsIP(cidr(self).masked().ip())",messageExpression="'\"%s\" has host bits set: write \"%s\"'.format([self, string(cidr(self).masked())])",message="has host bits set"
// +kubebuilder:validation:XValidation:rule="!(self.split('-').size() == 2 && self.split('-').all(a, isIP(a.trim()))) || ip(self.split('-')[0].trim()).family() == ip(self.split('-')[1].trim()).family()",message="both ends of a range must be of one family"
type AddressRange string

// IPAddressPoolSpec is what people ask of a pool.
// +kubebuilder:validation:XValidation:rule="!has(self.source) || !has(self.source.prefix) || self.addresses.all(a, a.contains(':'))",message="with source.prefix each of addresses must be an IPv6 host part, such as ::1:0/112"
type IPAddressPoolSpec struct {
	// addresses of the pool; both families may mix. The API server refuses a CIDR with
	// host bits set, a range of two families, and addresses at which no Service can be
	// reached (unspecified, loopback, link-local, multicast, 240.0.0.0/4). A range whose
	// end is before its start, or with such addresses in it, is not accepted (condition
	// Accepted).
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:XValidation:rule="!self.matches('(^|-) *((0|127|169[.]254|22[4-9]|2[3-5][0-9])[.]|([fF][fF][0-9a-fA-F]{2}|[fF][eE][89abAB][0-9a-fA-F]):|[0:]*:0*1?( |-|$))') && (!isIP(self) || ip(self).isGlobalUnicast()) && !(isCIDR(self) && ['0.0.0.0', '127.0.0.0', '169.254.0.0', '224.0.0.0', '240.0.0.0', '::', '::1', 'fe80::', 'ff00::'].exists(a, cidr(self).containsIP(a)))",messageExpression="'\"' + self + '\" holds unspecified, loopback, link-local, multicast or reserved addresses, where no Service can be reached: take them out'",message="holds unspecified, loopback, link-local, multicast or reserved addresses, where no Service can be reached: take them out"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self).prefixLength() > 95 || !cidr(self).containsIP('::fffe:0:0')",messageExpression="'\"' + self + '\" holds ::ffff:0:0/96, IPv4 addresses in the form of IPv6, where no Service can be reached: take them out'",message="holds ::ffff:0:0/96, IPv4 addresses in the form of IPv6, where no Service can be reached: take them out"
	Addresses []AddressRange `json:"addresses"`

	// exclude lists addresses in spec.addresses that are never assigned. A Service that
	// has one gets another address.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	Exclude []AddressRange `json:"exclude,omitempty"`

	// autoAssign false reserves the pool for Services that request it, or an address from
	// it. Services keep their addresses when this changes.
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// avoidBuggyIPs true never assigns an IPv4 address that ends in .0 or .255, not even
	// on request: some old equipment drops traffic to these.
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// sharing is the scope of a sharing key. Namespace: Services of one namespace may
	// share an address of the pool. Cluster: Services of any namespaces may, so a user
	// who may create Services can join an address whose key he guesses. Services that
	// share an address keep it when this changes.
	// +optional
	// +kubebuilder:default=Namespace
	// +kubebuilder:validation:Enum=Namespace;Cluster
	Sharing Sharing `json:"sharing,omitempty"`

	// announceExternalIPs true has addresses of the pool announced that Services of any type
	// have in spec.externalIPs: by the same advertisements as other addresses of the pool,
	// for Services that it serves (serviceAllocation), unless a node, a router or another
	// Service has the address. A user who may edit a Service in a namespace that the pool
	// serves can then draw traffic for a free address of the pool to it. status.externalIPs
	// tells what is announced. Otherwise such addresses are not announced, and in either case
	// not assigned.
	// +optional
	AnnounceExternalIPs bool `json:"announceExternalIPs,omitempty"`

	// graceTime is how long the address of a deleted Service, or of one that is no longer
	// a load balancer, is kept: if the Service is created again under its name it gets
	// the address back. Other Services get other addresses meanwhile, or wait. graceTime
	// is also how long Services keep their addresses after the pool is deleted, so that a
	// pool that is replaced or renamed moves none. 0s: a free address goes to the next
	// Service at once. At most 24h.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('24h')",message="graceTime must be a length of time up to 24h, such as 5m; 0s keeps nothing"
	GraceTime Duration `json:"graceTime,omitempty"`

	// serviceAllocation restricts which Services the pool serves, and sets the order in
	// which pools are tried. Without it the pool serves all Services, and is tried last.
	// +optional
	ServiceAllocation *ServiceAllocation `json:"serviceAllocation,omitempty"`

	// source says who chooses addresses of the pool for Services, and whether they lie under a
	// prefix that changes. Without it the controller chooses. Services keep the addresses that the
	// pool still holds when this changes.
	// +optional
	Source *PoolSource `json:"source,omitempty"`

	// replacedBy names the pool that Services are to move to. By itself it changes nothing:
	// spec.renumbering says how far that is, and kubectl steelyard renumber writes both.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ReplacedBy string `json:"replacedBy,omitempty"`

	// renumbering says how far Services have moved to the pool in replacedBy. Without it none has.
	// +optional
	Renumbering *Renumbering `json:"renumbering,omitempty"`
}

// Renumbering is how Services move from one pool to another.
type Renumbering struct {
	// phase is how far they are. Planned: nothing changes. Started: each Service has, beside each
	// address of this pool, one of the other pool, with the same host part where it can; this pool
	// gives no new addresses. Switched: the new addresses come first in the status of the Services.
	// Finished: the addresses of this pool are withdrawn, where Services have new ones and do not
	// ask for the old ones. Back from Started to Planned, and from Switched to Started, nothing is
	// lost. A Service with the annotation steelyard.dev/renumbering: Switch has its old address
	// alone until Switched, and then the new one alone.
	// +optional
	// +kubebuilder:default=Planned
	// +kubebuilder:validation:Enum=Planned;Started;Switched;Finished
	Phase RenumberingPhase `json:"phase,omitempty"`

	// ttl is how long clients may use an address that they have looked up, such as the TTL of DNS
	// records. kubectl steelyard renumber finish waits for so long before the next phase. The
	// controller does not. At most 168h.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('168h')",message="ttl must be a length of time up to 168h, such as 5m"
	TTL Duration `json:"ttl,omitempty"`
}

// RenumberingSwitch is the value of the annotation AnnotationRenumbering.
const RenumberingSwitch = "Switch"

// DefaultTTL is the ttl of a Renumbering that names none.
const DefaultTTL Duration = "5m"

// RenumberingPhase is how far Services have moved from one pool to another.
type RenumberingPhase string

// How far Services have moved. The empty value is RenumberingPlanned.
const (
	RenumberingPlanned  RenumberingPhase = "Planned"
	RenumberingStarted  RenumberingPhase = "Started"
	RenumberingSwitched RenumberingPhase = "Switched"
	RenumberingFinished RenumberingPhase = "Finished"
)

// Sharing is how far a sharing key reaches.
type Sharing string

// How far a sharing key reaches. The empty value is SharingNamespace.
const (
	SharingNamespace Sharing = "Namespace"
	SharingCluster   Sharing = "Cluster"
)

// ServiceAllocation ties a pool to Services. A pool with any selector is
// preferred, for the Services that it selects, to a pool without.
type ServiceAllocation struct {
	// priority is the order in which pools are tried: the lowest number first, 0 last.
	// Pools with equal numbers are tried by name. Pools that select Services (by any
	// selector below) come before all others, whatever their numbers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`

	// namespaces that the pool serves, by name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelectors select further namespaces that the pool serves, by labels. A
	// namespace that matches any of them is selected.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// serviceSelectors restrict the pool to Services with these labels. A Service that
	// matches any of them is selected.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// DefaultGraceTime is the graceTime of a pool that names none.
const DefaultGraceTime Duration = "5m"

// MaxAddresses is how many addresses of one family a Service may have.
const MaxAddresses = 8

// MaxKept is how many kept addresses a status holds. Of a namespace that has more than
// others those that end first are left out.
const MaxKept = 512

// MaxAccepted is how many ranges of accepted addresses a status holds.
const MaxAccepted = 512

// MaxConflicts is how many addresses of foreign hosts a status holds.
const MaxConflicts = 64

// MaxExternalIPs is how many addresses of spec.externalIPs a status holds.
const MaxExternalIPs = 512

// IPAddressPoolStatus is the pool's use and health.
type IPAddressPoolStatus struct {
	// ipv4 counts the pool's IPv4 addresses.
	// +optional
	IPv4 *PoolUsage `json:"ipv4,omitempty"`
	// ipv6 counts the pool's IPv6 addresses.
	// +optional
	IPv6 *PoolUsage `json:"ipv6,omitempty"`
	// accepted are the addresses that the pool may assign: spec.addresses without
	// spec.exclude. They stay this pool's when another pool is edited or created to
	// overlap: that one is not accepted, and assigns only the addresses that it had
	// before.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MaxLength=90
	Accepted []string `json:"accepted,omitempty"`
	// kept are the addresses that are kept for Services that had them, in case these are
	// created again (spec.graceTime). Those with the longest time left come first, at
	// most 512.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Kept []KeptAddress `json:"kept,omitempty"`
	// conflicts are addresses that machines outside the cluster have, as speakers found out
	// before they announced them. They are not chosen for a Service until the time that each
	// says; at most 64.
	// +optional
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=64
	Conflicts []AddressConflict `json:"conflicts,omitempty"`
	// externalIPs are addresses of the pool in spec.externalIPs of Services, if
	// spec.announceExternalIPs is set. Speakers announce those that are not refused. Those come
	// first; at most 512.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	ExternalIPs []ExternalIP `json:"externalIPs,omitempty"`
	// renumbering tells how far the Services have moved to the pool in spec.replacedBy; absent: it
	// has not started.
	// +optional
	Renumbering *RenumberingStatus `json:"renumbering,omitempty"`
	// prefix is the prefix under which the pool's addresses lie, with spec.source.prefix; absent: it
	// is not known yet.
	// +optional
	Prefix *PrefixStatus `json:"prefix,omitempty"`
	// history tells which Services got or lost addresses of the pool, newest first: at most 32
	// changes, and 8 of one address. kubectl steelyard history reads it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	History []AddressChange `json:"history,omitempty"`
	// conditions: Accepted (False: Invalid, Overlaps), Programmed and, with spec.source.external,
	// IPAMReady, with spec.source.prefix PrefixKnown. While a pool is not Accepted its Services keep their addresses and no Service gets a new one from it.
	// Exception: a pool that overlaps still assigns the addresses that it had before.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RenumberingStatus tells how far the Services of a pool have moved to another one.
type RenumberingStatus struct {
	// phase that this tells of.
	Phase RenumberingPhase `json:"phase"`
	// services is how many Services have addresses of the pool.
	Services int32 `json:"services"`
	// moved is how many of them have new addresses as well.
	Moved int32 `json:"moved"`
	// since when every Service shows what the phase gives it; absent: some do not yet.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// PoolUsage counts addresses of one family as decimal strings, because an IPv6
// pool may hold more than any integer type does.
type PoolUsage struct {
	// capacity is how many addresses the pool can assign in total.
	Capacity string `json:"capacity"`
	// assigned is how many of them Services have.
	Assigned string `json:"assigned"`
	// kept is how many are kept for Services that had them (spec.graceTime); absent:
	// none.
	// +optional
	Kept string `json:"kept,omitempty"`
	// unusable is how many are never chosen for a Service, and none has: they are addresses
	// of nodes, routers, other hosts or the cluster, as the condition Accepted tells; absent: none.
	// +optional
	Unusable string `json:"unusable,omitempty"`
	// reserved is how many AddressReservations have, and no Service; absent: none.
	// +optional
	Reserved string `json:"reserved,omitempty"`
	// available is capacity minus assigned minus kept minus unusable minus reserved.
	Available string `json:"available"`
}

// KeptAddress is an address that waits for a Service that had it.
type KeptAddress struct {
	// address that is kept.
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// service that it is kept for, as namespace/name.
	// +kubebuilder:validation:MaxLength=127
	Service string `json:"service"`
	// until when it is kept.
	Until metav1.Time `json:"until"`
	// wanted is the greatest number of addresses that the Services of the namespace
	// requested at one time. At most twice that number is unavailable to others,
	// including what they request now.
	Wanted int32 `json:"wanted"`
}

// ExternalIP is an address in spec.externalIPs of a Service.
type ExternalIP struct {
	// address in spec.externalIPs.
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// service that has it there, as namespace/name.
	// +kubebuilder:validation:MaxLength=127
	Service string `json:"service"`
	// refused says why no node announces it; absent: nodes may.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Refused string `json:"refused,omitempty"`
}

// AddressConflict is an address that a machine outside the cluster has.
type AddressConflict struct {
	// address that it has.
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// mac is the machine's link-layer address.
	// +kubebuilder:validation:MaxLength=59
	MAC string `json:"mac"`
	// link that it was seen on, of node.
	// +kubebuilder:validation:MaxLength=15
	Link string `json:"link"`
	// node whose speaker has seen it.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
	// since when it is known.
	Since metav1.Time `json:"since"`
	// until when the address is not chosen. The first time that is an hour; each time that
	// the machine is found again it is as long again as it is known, at most 24h.
	Until metav1.Time `json:"until"`
}

// IPAddressPoolList is a list of pools.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPAddressPool `json:"items"`
}
