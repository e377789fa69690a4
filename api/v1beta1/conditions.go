package v1beta1

// Conditions of a configuration object: IPAddressPool, L2Advertisement,
// BGPAdvertisement, BGPPeer, BFDProfile, Community, AddressReservation, AddressQuota. Their
// grammar is Gateway API's.
const (
	// ConditionAccepted is True if the object by itself, and beside the others of its
	// kind, is good. While it is False the object, or the part of it that the message
	// names, is not used; everything else is.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs is True if every object is there, and usable, that this one
	// names. Advertisements and BGPPeers have it.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed is True if all that the object asks for is in force. It is the
	// one to wait for. Of a BGPPeer it takes one session that is up.
	ConditionProgrammed = "Programmed"
	// ConditionEstablished of a BGPPeer is True while the session of every node that
	// should hold one is up. Its message counts those that are not, and tells why
	// most of them are not.
	ConditionEstablished = "Established"
	// ConditionIPAMReady of an IPAddressPool with spec.source.external is True while its IPAM
	// answers. While it is False no Service gets a new address of the pool; each keeps what it has.
	ConditionIPAMReady = "IPAMReady"
	// ConditionPrefixKnown of an IPAddressPool with spec.source.prefix is True while the source has a
	// prefix that can be used. While it is False the pool goes on with the last one, if there was one.
	ConditionPrefixKnown = "PrefixKnown"
)

// Conditions of a Service.
const (
	// ConditionAllocated is True while the Service has what it asks for: its message
	// names addresses and pools.
	ConditionAllocated = Group + "/Allocated"
	// ConditionServiceAnnounced is True while every address of the Service is announced by
	// some node, False while one is not, or while a foreign host has it too, and Unknown
	// while that is not known. The controller writes it by what the speakers report, and
	// False only if that has been so for 3 seconds, or at once with a new address that no
	// advertisement covers.
	ConditionServiceAnnounced = Group + "/Announced"
	// ConditionSharing is True on a Service that may share its address. Its message is a
	// fingerprint of the sharing key, ports, traffic policy and selector that the
	// address was granted for.
	ConditionSharing = Group + "/Sharing"
	// ConditionContested is True while another client overwrites the addresses in the
	// Service's status again and again; else the Service does not have it. Its message
	// names the field manager.
	ConditionContested = Group + "/Contested"
)

// Conditions of an L2Claim.
const (
	// ConditionAnnounced is True while the claim's node answers for the address. The
	// controller writes Unknown while it does not hear of that node's speaker, and False if the
	// speaker has stopped or the Node is deleted, unless another node takes the address over.
	ConditionAnnounced = "Announced"
	// ConditionConflict is True while a foreign host also answers for the address; else
	// the L2Claim does not have it.
	ConditionConflict = "Conflict"
)

// Conditions of a Speaker.
const (
	// ConditionReady is True while the node's speaker runs. The controller writes Unknown
	// when the speaker's Lease has expired; the speaker's own report replaces that.
	ConditionReady = "Ready"
	// ConditionIsolated is True while the node hears neither another speaker nor a
	// gateway, and so answers for nothing on the local network; else the Speaker does
	// not have it.
	ConditionIsolated = "Isolated"
	// ConditionKernelAnswers is True while the node's kernel answers ARP for every
	// Service's address, also for those that other nodes own; else the Speaker does not have it.
	ConditionKernelAnswers = "KernelAnswers"
	// ConditionNotForwarding is True while a speaker waits for kube-proxy on its node
	// (--ready-check): the node takes no address that another node can have; else the Speaker does
	// not have it.
	ConditionNotForwarding = "NotForwarding"
	// ConditionRestarting is True while the node keeps its addresses for a speaker that
	// restarts; else the Speaker does not have it.
	ConditionRestarting = "Restarting"
)
