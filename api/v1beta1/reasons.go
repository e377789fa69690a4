package v1beta1

// Reasons of the condition Accepted of configuration objects. An event Conflicts on a
// BGPAdvertisement names a node on which it meets the other.
const (
	// ReasonAccepted: nothing is wrong with the object. Its message, if it has one, tells what else there is to know.
	ReasonAccepted = "Accepted"
	// ReasonInvalid: a field has a value that can't be used.
	//
	// Remedy: correct the field that the message names.
	ReasonInvalid = "Invalid"
	// ReasonOverlaps: another object has what this one asks for: a pool has some of its
	// addresses, or an older BGPPeer the sessions with its router.
	//
	// Remedy: take the addresses out of one of the two pools; delete one of the two
	// peers, or give them nodeSelectors that exclude each other.
	ReasonOverlaps = "Overlaps"
	// ReasonExpired: the AddressReservation has ended (spec.expires): any Service may get its addresses.
	//
	// Remedy: delete it, or set a later spec.expires.
	ReasonExpired = "Expired"
	// ReasonTooFewAddresses: the pool in spec.size of the AddressReservation has fewer free addresses than that. Those
	// that it has are reserved, and the next that are free will be.
	//
	// Remedy: add addresses to the pool that the message names, or reserve fewer.
	ReasonTooFewAddresses = "TooFewAddresses"
	// ReasonConflicts: another BGPAdvertisement announces the same prefixes to the same
	// peers with another localPref, med or asPathPrepend. That of the smaller name counts.
	//
	// Remedy: set the same in both, or let them select different pools or peers.
	ReasonConflicts = "Conflicts"
)

// Reasons of the condition ResolvedRefs of advertisements, BGPPeers and BFDProfiles, or of IPAMReady or PrefixKnown.
const (
	// ReasonResolvedRefs: everything that the object names is there.
	ReasonResolvedRefs = "ResolvedRefs"
	// ReasonNotFound: the object names another one that is not there. The message tells
	// what goes on without it, and what does not. Of PrefixKnown: its source has no prefix.
	//
	// Remedy: make the object that the message names, or take its name out.
	ReasonNotFound = "NotFound"
	// ReasonInvalidSecret: the Secret of passwordSecret is there, and holds no password of
	// a BGP session: no session is held. Or the keys of a BFDProfile's keySecret can't be
	// used: sessions are held without BFD. Or the Secret of a pool's spec.source.external.tls
	// holds no certificates: no Service gets a new address of the pool.
	//
	// Remedy: give the Secret of a password the type kubernetes.io/basic-auth, and 1 to 80
	// bytes in its key password; that of BFD the type Opaque, and 1 to 20 bytes in each key,
	// which is a number from 0 to 255; that of a pool what the message names.
	ReasonInvalidSecret = "InvalidSecret"
)

// Reasons of the condition Programmed of configuration objects.
const (
	// ReasonProgrammed: all that the object asks for is in force.
	ReasonProgrammed = "Programmed"
	// ReasonNotAccepted: the condition Accepted is False.
	//
	// Remedy: that of the reason there.
	ReasonNotAccepted = "NotAccepted"
	// ReasonRefsNotResolved: the condition ResolvedRefs is False.
	//
	// Remedy: that of the reason there.
	ReasonRefsNotResolved = "RefsNotResolved"
	// ReasonUnsupportedField: the object sets fields that are accepted, and do nothing in
	// this version. The rest of it is in force.
	//
	// Remedy: take the fields that the message names out, or live without them.
	ReasonUnsupportedField = "UnsupportedField"
	// ReasonNoNodeSelected: spec.nodeSelectors of the BGPPeer, or of the advertisement, select
	// no node. The condition Established of a BGPPeer has the same reason.
	//
	// Remedy: compare spec.nodeSelectors with kubectl get nodes --show-labels.
	ReasonNoNodeSelected = "NoNodeSelected"
	// ReasonNoSessions: no node that the BGPPeer selects holds a session to it. The condition
	// Established has the same reason.
	//
	// Remedy: see whether speakers run on these nodes: kubectl get speakers.steelyard.dev.
	ReasonNoSessions = "NoSessions"
	// ReasonNoSessionEstablished: no session to the BGPPeer is up. The condition Established
	// has the same reason; while some are up, and others are not, it has SessionsDown, and Programmed is True.
	//
	// Remedy: that of what the message tells; kubectl steelyard sessions has each of them.
	ReasonNoSessionEstablished = "NoSessionEstablished"
)

// Reasons of the condition Established of a BGPPeer.
const (
	// ReasonEstablished: the session of every node is up.
	ReasonEstablished = "Established"
	// ReasonSessionsDown: sessions of some nodes are not up. The message tells how many, and
	// what most of them suffer from.
	//
	// Remedy: that of what the message tells; kubectl steelyard sessions has each of them.
	ReasonSessionsDown = "SessionsDown"
)

// Reasons of the condition Allocated of a Service, and of the events beside it. All but
// Assigned come with status False.
const (
	// ReasonAssigned: the Service has its addresses.
	ReasonAssigned = "Assigned"
	// ReasonPoolDeleted: the IPAddressPool is deleted that an address of the Service is from. The
	// Service keeps the address for the pool's graceTime. Only an event and the page have this
	// reason; the condition is True, Assigned, and says until when.
	//
	// Remedy: create the pool again, or another one with the address; else the Service gets
	// an address of another pool then, or none.
	ReasonPoolDeleted = "PoolDeleted"
	// ReasonUnknownAnnotation: an annotation of the Service means nothing, and looks like one of
	// Steelyard's. Only an event and the page have this reason; the message of the condition,
	// whatever its reason, names the annotation.
	//
	// Remedy: correct the annotation, or take it off; the message names the one that is most likely meant.
	ReasonUnknownAnnotation = "UnknownAnnotation"
	// ReasonNoPool: no pool serves this Service without being asked.
	//
	// Remedy: make an IPAddressPool, or have one serve this namespace and these labels
	// (serviceAllocation) without being asked (autoAssign).
	ReasonNoPool = "NoPool"
	// ReasonPoolNotFound: the pool that the Service asks for is not there.
	//
	// Remedy: make it, or correct the annotation steelyard.dev/address-pool.
	ReasonPoolNotFound = "PoolNotFound"
	// ReasonPoolNotAllowed: the pool that the Service asks for, or that holds the address
	// it asks for, does not serve this Service, or is not accepted.
	//
	// Remedy: see the pool's serviceAllocation and conditions, or ask for another one.
	ReasonPoolNotAllowed = "PoolNotAllowed"
	// ReasonPoolExhausted: every address of every pool that fits is taken, or kept for a Service that was deleted.
	//
	// Remedy: add addresses to a pool, or delete Services; the first that waits gets what is freed.
	ReasonPoolExhausted = "PoolExhausted"
	// ReasonWaitingForIPAM: the IPAM that chooses the pool's addresses (spec.source) has not
	// handed out one for this Service. The message has what it said.
	//
	// Remedy: wait, or that of what the IPAM says; see the condition IPAMReady of the pool.
	ReasonWaitingForIPAM = "WaitingForIPAM"
	// ReasonIPAMAddressRefused: the IPAM handed out an address that the Service can't have: outside
	// of the pool, of the other family, another Service's, or occupied. It is asked again.
	//
	// Remedy: have the IPAM hand out the addresses that spec.addresses of the pool lists, each once.
	ReasonIPAMAddressRefused = "IPAMAddressRefused"
	// ReasonAddressOutsidePools: no pool holds the address.
	//
	// Remedy: ask for an address of a pool, or add this one to a pool.
	ReasonAddressOutsidePools = "AddressOutsidePools"
	// ReasonAddressInUse: another Service has the address that this one asks for, or had
	// it and may be made again until the time that the message names.
	//
	// Remedy: ask for another address, or have both Services share this one (annotation
	// steelyard.dev/allow-shared-ip with the same key on both).
	ReasonAddressInUse = "AddressInUse"
	// ReasonAddressOccupied: the address that the Service asks for belongs to a router, to
	// the cluster itself, to a subnet as a whole, or to a Service that another load balancer
	// serves. The message names which.
	//
	// Remedy: ask for another address, and exclude this one from the pool.
	ReasonAddressOccupied = "AddressOccupied"
	// ReasonAddressReserved: an AddressReservation has the address that the Service asks for,
	// and does not name the Service. The message tells which.
	//
	// Remedy: ask for another address, or have the AddressReservation name this Service.
	ReasonAddressReserved = "AddressReserved"
	// ReasonQuotaExceeded: with another address the namespace of the Service would have more than
	// an AddressQuota allows. The message tells which, and the numbers.
	//
	// Remedy: delete a Service of the namespace that has an address, share one (annotation
	// steelyard.dev/allow-shared-ip), or have spec.hard of the AddressQuota raised. The Service
	// gets an address as soon as there is room.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonSharingRefused: a Service has the address that may not share it with this one.
	//
	// Remedy: give both the same key in steelyard.dev/allow-shared-ip, different ports,
	// and the traffic policy Cluster, the same selector, or a node with endpoints of each; see the pool's sharing for
	// Services of other namespaces.
	ReasonSharingRefused = "SharingRefused"
	// ReasonFamilyUnavailable: no pool that fits holds addresses of a family that the Service needs.
	//
	// Remedy: add such addresses to a pool, or ask for one family (ipFamilyPolicy, ipFamilies).
	ReasonFamilyUnavailable = "FamilyUnavailable"
	// ReasonRequestConflict: two requests of the Service contradict each other.
	//
	// Remedy: take one of the two out that the message names.
	ReasonRequestConflict = "RequestConflict"
	// ReasonInvalidRequest: a request of the Service can't be read.
	//
	// Remedy: correct the annotation or field that the message names.
	ReasonInvalidRequest = "InvalidRequest"
)

// Reasons of the condition Announced of a Service, and of the events beside it. It has
// those of an L2Claim as well, AddressOutsidePools, and SessionsDown; if nodes have
// several, that of the nodes that came furthest.
const (
	// ReasonNotAllocated: the Service has no address. No event tells it beside that of the condition Allocated.
	//
	// Remedy: that of the reason of the condition Allocated.
	ReasonNotAllocated = "NotAllocated"
	// ReasonPending: a node may announce the address, and none has said yet that it does.
	// The status is Unknown. It is so for a moment after the Service got the address.
	//
	// Remedy: if it stays so, see the log of the nodes' speakers; kubectl steelyard explain names the node.
	ReasonPending = "Pending"
	// ReasonNoEndpointsForPort: no endpoint has a port of the Service, while there are
	// endpoints: clients are refused at that port. The status is True while a node announces
	// the address, and False if externalTrafficPolicy is Local and no endpoint has any port.
	//
	// Remedy: let targetPort name a port of the Pods' containers, or be its number; give an
	// EndpointSlice that is made by hand the name and protocol of the Service's port.
	ReasonNoEndpointsForPort = "NoEndpointsForPort"
	// ReasonNotCarried: nodes offer the address to BGP peers none of whose sessions
	// carries its family.
	//
	// Remedy: set dualStackAddressFamily of the BGPPeer, or make one of that family.
	ReasonNotCarried = "NotCarried"
)

// Reasons of the other conditions of a Service, and of the events beside them.
const (
	// ReasonGranted: the condition Sharing says what the address was granted for.
	ReasonGranted = "Granted"
	// ReasonStatusRefused: the API server, or a policy of its administrator, does not let
	// the controller write the Service's status. Only an event tells it; it is tried again.
	//
	// Remedy: see the message for who refuses; allow the controller to patch
	// services/status.
	ReasonStatusRefused = "StatusRefused"
	// ReasonStatusOverwritten: another client overwrites the addresses in the Service's
	// status again and again (condition Contested).
	//
	// Remedy: find the program by the field manager that the message names, and have it
	// leave this Service alone: most often it is another load balancer.
	ReasonStatusOverwritten = "StatusOverwritten"
)

// Reasons of the conditions of an L2Claim, and of the events on the Services that have
// the address. All but Announced come with status False: they tell why the node that
// the claim names announces nothing, while no other can. kubectl steelyard explain
// gives them for each node.
const (
	// ReasonAnnounced: the node answers for the address.
	ReasonAnnounced = "Announced"
	// ReasonAddressConflict: a machine that is no node of the cluster answers for the
	// address (RFC 5227). If it had the address first, the address is not announced.
	//
	// Remedy: find the machine by the MAC in the message, and take the address from it or
	// out of the pool (spec.exclude); where a router answers for every address, set
	// spec.conflictPolicy of the L2Advertisement to Ignore.
	ReasonAddressConflict = "AddressConflict"
	// ReasonNotAdvertised: no advertisement covers the address.
	//
	// Remedy: make an L2Advertisement or a BGPAdvertisement that selects the pool and the
	// Service.
	ReasonNotAdvertised = "NotAdvertised"
	// ReasonNoEndpoints: no endpoint of the Service serves, and the advertisements withdraw its
	// addresses then (withdrawWithoutEndpoints).
	//
	// Remedy: see why no Pod of the Service is ready.
	ReasonNoEndpoints = "NoEndpoints"
	// ReasonEndpointsUnstable: endpoints of the Service came and went several times lately, and
	// the advertisements withdraw its addresses without endpoints. The message says for how long one
	// must have served.
	//
	// Remedy: see why its Pods crash, or are ready for moments only.
	ReasonEndpointsUnstable = "EndpointsUnstable"
	// ReasonNodeNotLive: the node's speaker does not run, or is not heard of.
	//
	// Remedy: see its Pod; kubectl steelyard status tells since when.
	ReasonNodeNotLive = "NodeNotLive"
	// ReasonNodeExcluded: the node must not announce: by the label
	// node.kubernetes.io/exclude-from-external-load-balancers, the taint
	// node.kubernetes.io/out-of-service, its condition NetworkUnavailable, or since it
	// shuts down.
	//
	// Remedy: kubectl label node NODE
	// node.kubernetes.io/exclude-from-external-load-balancers- for the label.
	ReasonNodeExcluded = "NodeExcluded"
	// ReasonAddressOfNode: the Service asked for an address that was a node's own. That node
	// alone announces it, since another one that did would cut it off the network.
	//
	// Remedy: see why that node does not announce it, or ask for another address.
	ReasonAddressOfNode = "AddressOfNode"
	// ReasonNodeUnschedulable: the node is unschedulable, the speakers have
	// --unschedulable=drain, and another node offers the route.
	//
	// Remedy: kubectl uncordon NODE, if its maintenance is over.
	ReasonNodeUnschedulable = "NodeUnschedulable"
	// ReasonNodeNotSelected: no advertisement that covers the address selects the node.
	//
	// Remedy: see nodeSelectors of the advertisements.
	ReasonNodeNotSelected = "NodeNotSelected"
	// ReasonNoLinkUp: no link is up that the advertisements select. If some link that they
	// select is in the address's subnet, on any node, only such links count.
	//
	// Remedy: see interfaces and excludeInterfaces of the L2Advertisement, and the links
	// in kubectl get speakers.steelyard.dev. A link without an address of its own must be
	// in interfaces by its exact name.
	ReasonNoLinkUp = "NoLinkUp"
	// ReasonNoLocalEndpoints: the Service's externalTrafficPolicy is Local, and no
	// endpoint of it is ready on the node. An endpoint that names no node counts for the
	// node whose own address it has, or whose podCIDRs hold its address.
	//
	// Remedy: see why no Pod of the Service is ready, name the nodes in an EndpointSlice
	// that is made by hand (nodeName), or set the policy Cluster.
	ReasonNoLocalEndpoints = "NoLocalEndpoints"
	// ReasonNotOwner: another node answers for the address. No condition has this reason.
	ReasonNotOwner = "NotOwner"
	// ReasonNoPeer: the node holds no session to a BGPPeer that the advertisements select.
	// No L2Claim has this reason.
	//
	// Remedy: see peers and peerSelectors of the BGPAdvertisement, and nodeSelectors of
	// the BGPPeer.
	ReasonNoPeer = "NoPeer"
)

// Reasons of the conditions of a Speaker.
const (
	// ReasonRunning: the speaker runs.
	ReasonRunning = "Running"
	// ReasonStopped: the speaker has stopped, and said so.
	//
	// Remedy: none is needed while its Pod is replaced; else see the DaemonSet.
	ReasonStopped = "Stopped"
	// ReasonLeaseExpired: the speaker does not renew its Lease. It may announce still, if it
	// has lost the API server only. The status is Unknown; the speaker's BGPSessions and
	// L2Claims show the same.
	//
	// Remedy: see the speaker's Pod on the node, and whether the node runs and reaches the
	// API server.
	ReasonLeaseExpired = "LeaseExpired"
	// ReasonRestarting: the speaker restarts, and its node keeps its addresses meanwhile.
	ReasonRestarting = "Restarting"
	// ReasonIsolated: the node hears neither another speaker nor a gateway on the network
	// of its address.
	//
	// Remedy: see its cable and switch port, and whether UDP 7480 passes between the nodes.
	ReasonIsolated = "Isolated"
	// ReasonNoStrictARP: kube-proxy runs in mode ipvs without strictARP, so that the
	// kernel of every node answers for every Service's address.
	//
	// Remedy: set ipvs.strictARP to true in kube-proxy's configuration, and restart it.
	ReasonNoStrictARP = "NoStrictARP"
)
