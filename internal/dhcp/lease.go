package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// phase is what a lease is about: the states of RFC 2131 section 4.4 that remain.
type phase uint8

// The phases. The zero phase is none.
const (
	discovering phase = iota + 1 // asks who offers an address (SELECTING)
	requesting                   // asks for the address that was offered (REQUESTING)
	bound                        // has it
	renewing                     // has it, and asks for more time
	rebinding                    // likewise, of any server
	releasing                    // gives it back; the server has not confirmed that
	failed                       // no address; why is kept for the next call
)

// key is what a lease is for: a Service has at most one of each family.
type key struct {
	cluster, uid string
	family       ipam.Family
}

// exchange identifies the messages of one exchange.
type exchange struct {
	family ipam.Family
	xid    uint32
}

// lease is a lease, or what may become one.
type lease struct {
	ledger.Allocation // its Addr: what is leased; zero: nothing yet
	key               key
	id                identity
	link              string
	want              netip.Addr // it must be this one; zero: any
	asked             time.Time  // when a call has last asked for it

	phase phase
	xid   uint32    // of the exchange
	begun time.Time // when the exchange began
	sent  time.Time // the last message
	tries int       // messages that were sent in this phase
	secs  uint16    // of the last message that asks who offers an address, as DHCPv4 has it
	next  time.Time // when the next message is due, or the next phase begins

	offered netip.Addr
	server  []byte // its identifier: that of who has offered the address, or leased it
	from    string // the server, to be shown
	refused error  // what a server has answered in place of what does; nil: nothing
	again   int    // how often it asks again who offers an address, since one was refused that was offered

	t1, t2, expires time.Time // zero: never
}

func (l *lease) exchange() exchange { return exchange{l.key.family, l.xid} }

// has reports whether the address is leased.
func (l *lease) has() bool { return l.phase == bound || l.phase == renewing || l.phase == rebinding }

// pause is the time to the next message after tries of them, without what is random.
func (l *lease) pause(now time.Time) time.Duration {
	doubled := func(first, longest time.Duration) time.Duration {
		return min(first<<min(max(l.tries-1, 0), 10), longest)
	}
	six := l.key.family == ipam.IPv6
	switch {
	case l.has() && six: // RFC 8415 section 7.6: REN and REB
		return doubled(10*time.Second, 600*time.Second)
	case l.phase == renewing: // RFC 2131 section 4.4.5: half of what is left, and not too often
		return max(l.t2.Sub(now)/2, l.least())
	case l.phase == rebinding:
		return max(l.expires.Sub(now)/2, l.least())
	case six: // SOL, REQ and REL, but none waits for an hour
		return doubled(time.Second, 64*time.Second)
	}
	return doubled(4*time.Second, 64*time.Second) // RFC 2131 section 4.1
}

// least is the least pause between renewals: a minute, for short leases less.
func (l *lease) least() time.Duration {
	return min(time.Minute, max(l.expires.Sub(l.t1)/8, time.Second))
}

// state says what a call waits for.
func (l *lease) state() string {
	if l.phase == requesting {
		return fmt.Sprintf("the %s server %s offers %s, and has not confirmed it yet", name(l.key.family), l.from, l.offered)
	}
	return fmt.Sprintf("no %s server has offered an address on %s yet", name(l.key.family), printable.Word(l.link))
}
