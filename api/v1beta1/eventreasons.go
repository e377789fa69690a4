package v1beta1

// Reasons of events on a BGPPeer; each is about the session of one node.
const (
	// ReasonSessionUp: the session is established.
	ReasonSessionUp = "SessionUp"
	// ReasonSessionDown: the session was lost; the event says why.
	//
	// Remedy: see the router's log for the other side of it.
	ReasonSessionDown = "SessionDown"
	// ReasonSessionFailed: the session does not come up, or not for all routes; the event
	// says why.
	//
	// Remedy: compare what the event names (AS number, password, address family, TTL) with
	// the router's configuration.
	ReasonSessionFailed = "SessionFailed"
	// ReasonSessionReset: fields of the BGPPeer have changed that need a new session.
	ReasonSessionReset = "SessionReset"
	// ReasonSessionSkipped: an older BGPPeer is for the same router, and has the session.
	//
	// Remedy: delete one of the two, or give them nodeSelectors that exclude each other.
	ReasonSessionSkipped = "SessionSkipped"
	// ReasonBFDFailed: the BFD session beside it does not come up as things are
	// configured; the event says why.
	//
	// Remedy: compare the BFDProfile's hopMode and minimumTtl with the router's.
	ReasonBFDFailed = "BFDFailed"
)

// Reasons of events on a Node.
const (
	// ReasonNotForwarding: the node's speaker waits with BGP routes until kube-proxy is
	// ready on the node.
	//
	// Remedy: see that kube-proxy runs there; where another program forwards, set the
	// speaker's --ready-check.
	ReasonNotForwarding = "NotForwarding"
	// ReasonForwarding: kube-proxy is ready, and the speaker no longer waits.
	ReasonForwarding = "Forwarding"
	// ReasonForwardingUnknown: the speaker has stopped waiting, although kube-proxy has not reported
	// that it is ready.
	//
	// Remedy: as for NotForwarding.
	ReasonForwardingUnknown = "ForwardingUnknown"
)

// Reasons why an address changed hands: in status.history of an IPAddressPool, in status.formerOwners
// of an L2Claim, in the log and in kubectl steelyard history. An address that is taken from a Service may
// also have the reason of its condition Allocated; NodeNotLive says that the former owner was.
const (
	// ReasonReleased: a Service lost an address of the pool. Only an event on the IPAddressPool has this reason; its
	// message names the Service, and why.
	ReasonReleased = "Released"
	// ReasonServiceGone: the Service was deleted, or is no load balancer of Steelyard's any more.
	ReasonServiceGone = "ServiceGone"
	// ReasonMoved: the Service has another address in its place. An event on the Service says why.
	ReasonMoved = "Moved"
	// ReasonHandover: the former owner is alive, and gave the address up to the new one: it was drained, lost its
	// link or its endpoints, or another node is preferred.
	ReasonHandover = "Handover"
	// ReasonOwnerNamed: an administrator named the new owner in spec.node of the L2Claim, as kubectl
	// steelyard move does.
	ReasonOwnerNamed = "OwnerNamed"
)
