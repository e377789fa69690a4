package v1beta1

// Annotations on a Service. The first three are requests; the others are written
// by the controller.
const (
	// AnnotationLoadBalancerIPs asks for addresses: a comma-separated list, at
	// most one of each family.
	AnnotationLoadBalancerIPs = Group + "/loadBalancerIPs"
	// AnnotationAddressPool asks for addresses of that IPAddressPool and no other.
	AnnotationAddressPool = Group + "/address-pool"
	// AnnotationAllowSharedIP is a sharing key: Services with the same key and
	// disjoint ports may share an address.
	AnnotationAllowSharedIP = Group + "/allow-shared-ip"
	// AnnotationPool names the pool (or, comma-separated in the order of the
	// addresses, the pools) that the Service's addresses come from.
	AnnotationPool = Group + "/ip-allocated-from-pool"
	// AnnotationFinalizer says, by being there, that FinalizerCleanup on the
	// Service is the controller's own, which takes both away together.
	AnnotationFinalizer = Group + "/cleanup-finalizer"
)

// FinalizerCleanup on a Service makes its deletion wait until its load balancer
// has been taken away. It is a well-known finalizer of Kubernetes, and may be that of
// another load balancer.
const FinalizerCleanup = "service.kubernetes.io/load-balancer-cleanup"

// LabelExcludeNode on a Node keeps it from announcing anything. Its value does
// not matter. It is a well-known label of Kubernetes.
const LabelExcludeNode = "node.kubernetes.io/exclude-from-external-load-balancers"

// TaintOutOfService on a Node keeps it from announcing anything. It is a
// well-known taint of Kubernetes.
const TaintOutOfService = "node.kubernetes.io/out-of-service"

// Types of conditions.
const (
	// ConditionAllocated of a Service: True with reason Assigned, or False with
	// one of the reasons below.
	ConditionAllocated = Group + "/Allocated"
	// ConditionSharing of a Service that may share its address: True with reason
	// Granted. Its fingerprint says for which sharing key, ports, traffic policy and
	// selector the address was granted.
	ConditionSharing = Group + "/Sharing"
	// ConditionContested of a Service: True, with reason StatusOverwritten, while
	// somebody else overwrites the addresses in its status again and again.
	ConditionContested = Group + "/Contested"
	// ConditionReady of a configuration object: True with reason Accepted, or
	// False with Invalid, Overlaps, Conflicts or NotFound.
	ConditionReady = "Ready"
	// ConditionInEffect of a configuration object is False, with reason
	// NoEffectYet, while some of its fields are accepted but do nothing in this
	// version; its message names them.
	ConditionInEffect = "InEffect"
	// ConditionAnnounced of an L2Claim: True with reason Announced while its
	// node answers for the address.
	ConditionAnnounced = "Announced"
	// ConditionConflict of an L2Claim: True with reason AddressInUse when
	// another machine answers for the address.
	ConditionConflict = "Conflict"
	// ConditionIsolated of a Speaker: True when it cut itself off because it has
	// no carrier or hears no neighbor.
	ConditionIsolated = "Isolated"
	// ConditionKernelAnswers of a Speaker: True, with reason NoStrictARP, while its
	// node's kernel answers ARP for every Service's address, whoever owns it.
	ConditionKernelAnswers = "KernelAnswers"
	// ConditionRestarting of a Speaker: True while its node holds its addresses
	// for a restart.
	ConditionRestarting = "Restarting"
)

// Reasons of conditions of configuration objects.
const (
	ReasonAccepted    = "Accepted"
	ReasonInvalid     = "Invalid"   // a field has a value that can't be used
	ReasonOverlaps    = "Overlaps"  // another object has its addresses, or some of them
	ReasonConflicts   = "Conflicts" // what it asks for another object contradicts
	ReasonNotFound    = "NotFound"  // it names an object that is not there
	ReasonNoEffectYet = "NoEffectYet"
	ReasonAnnounced   = "Announced"
	ReasonRunning     = "Running"
	ReasonStopped     = "Stopped"
	ReasonRestarting  = "Restarting"
	ReasonCutOff      = "CutOff"      // neither another speaker nor a gateway is heard
	ReasonNoStrictARP = "NoStrictARP" // kube-proxy runs in mode ipvs without strictARP
)

// Reasons of the Allocated condition of a Service, and of the events beside it.
// All but the first come with status False; the message names the object to
// look at.
const (
	ReasonAssigned            = "Assigned"
	ReasonGranted             = "Granted"             // of the condition Sharing
	ReasonNoPool              = "NoPool"              // no pool serves this Service on its own accord
	ReasonPoolNotFound        = "PoolNotFound"        // the pool asked for is not there
	ReasonPoolNotAllowed      = "PoolNotAllowed"      // the pool asked for does not serve this Service
	ReasonPoolExhausted       = "PoolExhausted"       // every address of every fitting pool is taken
	ReasonAddressOutsidePools = "AddressOutsidePools" // no pool holds the address asked for
	ReasonAddressInUse        = "AddressInUse"        // another Service holds the address asked for
	ReasonSharingRefused      = "SharingRefused"      // it is held by a Service that may not share it with this one
	ReasonFamilyUnavailable   = "FamilyUnavailable"   // no fitting pool holds addresses of that family
	ReasonRequestConflict     = "RequestConflict"     // two requests of the Service contradict each other
	ReasonInvalidRequest      = "InvalidRequest"      // a request of the Service can't be read
)

// ReasonStatusRefused is the reason of an event on a Service whose status the
// API server, or a policy of its administrator, does not let us write.
const ReasonStatusRefused = "StatusRefused"

// ReasonStatusOverwritten is the reason of the Contested condition of a Service,
// and of the event beside it.
const ReasonStatusOverwritten = "StatusOverwritten"

// Reasons of events on a BGPPeer; each is about the session of one node.
const (
	ReasonSessionUp      = "SessionUp"
	ReasonSessionDown    = "SessionDown"    // it was lost; the note says why
	ReasonSessionFailed  = "SessionFailed"  // it does not come up, or not for all routes; the note says why
	ReasonSessionReset   = "SessionReset"   // fields of the peer have changed that it can't do without
	ReasonSessionSkipped = "SessionSkipped" // an older peer is for the same router
	ReasonBFDFailed      = "BFDFailed"      // the BFD session beside it does not come up as things are; the note says why
)

// Reasons of events on a Node.
const (
	ReasonNotForwarding     = "NotForwarding"     // its speaker waits with BGP routes until kube-proxy is ready
	ReasonForwarding        = "Forwarding"        // it no longer does
	ReasonForwardingUnknown = "ForwardingUnknown" // it waits no longer, though nobody has said that kube-proxy is ready
)
