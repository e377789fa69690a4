package v1beta1

// Reasons of the condition IPAMReady of an IPAddressPool.
const (
	// ReasonIPAMReady: the IPAM answers.
	ReasonIPAMReady = "IPAMReady"
	// ReasonIPAMPending: the IPAM has not answered yet.
	//
	// Remedy: wait; if it lasts, see whether the IPAM runs.
	ReasonIPAMPending = "IPAMPending"
	// ReasonIPAMUnavailable: the IPAM can't be reached, or does not list what it holds.
	//
	// Remedy: that of what the message tells; see whether the IPAM runs, and spec.source.external.
	ReasonIPAMUnavailable = "IPAMUnavailable"
)

// Reasons of the condition PrefixKnown of an IPAddressPool, which also has NotFound, Invalid, Overlaps
// and NoNodeSelected, and of the event beside it. The pool goes on with the last prefix, if there was one.
const (
	// ReasonPrefixKnown: the source has a prefix, and the pool's addresses lie under it.
	ReasonPrefixKnown = "PrefixKnown"
	// ReasonPrefixChanged: the pool has another prefix. Services get the addresses with the same host
	// parts, and keep the old ones beside them for spec.source.prefix.overlap. Only an event tells it.
	ReasonPrefixChanged = "PrefixChanged"
)
