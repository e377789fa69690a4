// Package source decides what an IPAM, a program that chooses the addresses of a pool, is asked,
// and what follows from its answers. State is what is known of all IPAMs: the planner has it
// tell what they hand out, and what there is to ask now. The package does no I/O, reads no clock
// and does not decide which Service gets an address (package ipam does).
//
// An IPAM is not believed: what it hands out is an offer, which package ipam checks. Nothing is
// remembered beyond a leader's term: a new one begins with List.
package source

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Target is the IPAM of a pool.
type Target struct {
	Pool       string
	Endpoint   string // host:port, [IPv6]:port or unix:///path
	ServerName string // in its certificate; "": the host of the endpoint
	CA         []byte // PEM: certificates that its own must be signed by; nil: the connection is not encrypted
	Cert, Key  []byte // PEM: what is shown to it; nil: nothing is
	Timeout    time.Duration
	Grace      time.Duration // how long an address of a Service that is gone is kept
	// MovesLost: a Service whose address the IPAM refuses to it gets another one.
	MovesLost bool
	Fault     string // why it can't be asked, as a sentence; "": it can
	// FaultReason is a reason of the API for Fault.
	FaultReason string
	// Revision tells apart all that is said above.
	Revision string
}

// Key is what an IPAM hands out one address for, of whatever pool. The UID is that of a Service.
type Key struct {
	UID    string
	Family ipam.Family
}

// Claim is an address that a Service has of a pool whose IPAM chooses, or needs.
type Claim struct {
	Key
	Pool    string
	Service ipam.Key
	Addr    netip.Addr // that it has, or asks for; zero: any
	Held    bool       // it has the address, and keeps it whatever the IPAM says
	Refused netip.Addr // what the IPAM handed out, and it can't have; zero: nothing
	Cause   string     // that it can't have it, as a clause
}

// Kind is what a Call is.
type Kind uint8

// The kinds of calls. The zero Kind is none.
const (
	List Kind = iota + 1
	Allocate
	Release
)

func (k Kind) String() string {
	return map[Kind]string{List: "List", Allocate: "Allocate", Release: "Release"}[k]
}

// Call is to be made. Its Answer goes to State.Done.
type Call struct {
	Kind     Kind
	To       *Target
	Cluster  string
	Claim           // of Release: its Key and Addr count; of Allocate its Service as well
	Replaces string // of Allocate
	number   uint64
}

// Failure is what became of a call that was not done.
type Failure uint8

// The failures. The zero Failure is none.
const (
	Unavailable Failure = iota + 1 // the IPAM can't be reached
	Slow                           // no answer came in time: the call may have been done
	Exhausted                      // no address is free
	Taken                          // the address that was asked for is another's
	Refused                        // anything else that it said
	Unsent                         // the term is over
)

// Answer is what became of a call.
type Answer struct {
	Call
	Failure Failure
	Text    string       // what it said, as a clause: "says: no"; safe to show
	Given   netip.Addr   // of Allocate, if it did not fail
	Of      string       // the pool that it is of
	Held    []Allocation // of List
}

// Allocation is what an IPAM holds.
type Allocation struct {
	Key
	Pool string // that it was asked for
	Addr netip.Addr
}
