// Package dhcp leases addresses for Services from DHCP servers: DHCPv4 (RFC 2131) and IA_NA of
// DHCPv6 (RFC 8415). One State is a client for each Service: it decides what is sent when, and what
// follows from the answers. It does no I/O and reads no clock: messages are handed out by Pass, and
// come in by Receive.
//
// All messages are broadcast, or multicast, and so are the answers of DHCPv4. So a lease does not depend on
// which node has the address, nor on which machine asks. In DHCPv4 a renewal therefore has the form
// of INIT-REBOOT: the answer to a renewal by RFC 2131 section 4.3.2 would be sent to the address.
//
// The DHCP server is the only memory. A State that begins knows nothing: Services that have an
// address ask for that one, and the server knows them by an identity that follows from their names.
package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

const (
	// mostLeases is how many leases a State has at most.
	mostLeases = 4096
	// mostSent is how many messages one Pass returns, and sendRest the pause before the next.
	mostSent = 64
	sendRest = 50 * time.Millisecond
	// unasked is how long an exchange goes on that no call asks for.
	unasked = 2 * time.Minute
	// settleTime is how long other servers may answer after one has answered what does not do.
	settleTime = time.Second
	// longestName is how long a name or UID may be.
	longestName = 253
	// shortest is the shortest lease that is accepted.
	shortest = 10 * time.Second
	// mostRequests and mostReleases are how often a message is sent that is not answered.
	mostRequests = 4
	mostReleases = 5
)

// Config is what a State needs. All fields are required.
type Config struct {
	Links  map[string]string     // the network interface of each pool
	Own    func(netip.Addr) bool // whether this machine has an address
	Random func() uint32         // for identifiers of exchanges: others on the link must not guess them
}

// Message goes out on a link, or has come in.
type Message struct {
	Link    string
	Family  ipam.Family
	From    netip.Addr // of one that has come in: the source
	Payload []byte     // of UDP
}

// Event is something that has happened to a lease.
type Event struct {
	Kind EventKind
	ledger.Allocation
	Link   string
	Client []byte    // the client identifier (DHCPv4) or DUID (DHCPv6)
	Server string    // that has leased it; safe to show
	Until  time.Time // zero: for good
	Text   string    // of Lost: why; safe to show
}

// EventKind is what has happened.
type EventKind uint8

// The kinds of events. The zero EventKind is none.
const (
	Leased   EventKind = iota + 1
	Lost               // the server does not renew it, or has not answered in time
	Released           // given back
)

func (k EventKind) String() string {
	return map[EventKind]string{Leased: "leased", Lost: "lost", Released: "released"}[k]
}

// PendingError tells that a call has no answer yet.
type PendingError struct {
	Text  string // what it waits for
	Begun bool   // by this call: a Pass is due
}

func (e *PendingError) Error() string { return e.Text }

// name is a protocol's name for messages.
func name(f ipam.Family) string {
	if f == ipam.IPv6 {
		return "DHCPv6"
	}
	return "DHCPv4"
}

// refusal returns an error that says what a server has answered in place of an address.
func refusal(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}
