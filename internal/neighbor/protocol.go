// Package neighbor knows what a station says to its neighbors in ARP (RFC
// 826, RFC 5227) and NDP (RFC 4861): the answer to a frame, the announcements
// of an address, and when to send them. All that Steelyard reads or sends in these
// two protocols is made here.
//
// Package mdlayher/ndp reads NDP messages, but not their options: ndp.ParseMessage refuses
// the whole message for one option of a foreign kind that is malformed (a prefix or DNS
// option of the wrong length, say). RFC 4861 sections 7.1.1 and 7.1.2 have a node ignore the
// contents of such options, and a node that did not would leave its address unanswered, so
// this package finds the link-layer address itself.
//
// It opens no socket and reads no clock: frames and times in, frames out.
package neighbor

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

// Protocol is what differs between ARP and NDP. Its functions are pure.
type Protocol struct {
	Name      string
	EtherType ethernet.EtherType

	// Gaps are the pauses between the announcements of an address that is new
	// on a link; after the last one it is announced every Refresh.
	Gaps []time.Duration

	// Filter passes frames about these addresses that came in by the interface of
	// that index, and drops others in the kernel; see FullFilter for the limit.
	Filter func(index int, addrs []netip.Addr, limit int) []bpf.Instruction
	// Read returns what a frame says; false: it is malformed.
	Read func(frame []byte) (Message, bool)
	// Answer returns the frame that answers a message's question.
	Answer func(m Message, s Station) []byte
	// Announce returns the frames that tell all neighbors where addr is.
	Announce func(addr netip.Addr, s Station) [][]byte
	// Ask returns the frame that asks who has addr. It comes from an address of the
	// link's own; unspecified: it is a probe.
	Ask func(addr, from netip.Addr, s Station) []byte
	// Probe returns the frame that asks whether somebody has addr already.
	Probe func(addr netip.Addr, s Station) []byte
}

// Message is what a frame says. The zero Message says nothing.
type Message struct {
	Sender  net.HardwareAddr // the station that says it; valid as long as the frame
	Asks    netip.Addr       // whose owner it asks for; invalid: nobody's
	From    netip.Addr       // the asking station's own address; unspecified: it wants the address for itself
	Unicast bool             // it asks one station alone
	Holds   netip.Addr       // the address that it says it has; invalid: none
	Source  net.HardwareAddr // of the frame; valid as long as it
	Proof   []byte           // that the sender has the address; nil: the frame bears none
}

// Wants says whether the sender is about to take the address that it asks for.
func (m Message) Wants() bool { return m.Asks.IsValid() && m.From.IsUnspecified() }

// Station is a node as a link sees it.
type Station struct {
	MAC    net.HardwareAddr // 6 bytes
	Router bool             // it forwards IPv6 packets that come in on this link
	Proof  []byte           // goes with announcements, made by Prove; nil: none does
}

// MaxFrame is the length of the longest frame to read, in bytes. Longer
// questions don't occur, and one that is cut short is not answered.
const MaxFrame = 1514

const ms = time.Millisecond

// ARP returns the protocol for IPv4.
func ARP() Protocol {
	return Protocol{
		Name:      "ARP",
		EtherType: ethernet.EtherTypeARP,
		// At 0, 0.1, 0.5, 1, 2 and 4 s: the early ones make up for a lost
		// frame, the late ones for a switch port that starts to forward late.
		Gaps:     []time.Duration{100 * ms, 400 * ms, 500 * ms, 1000 * ms, 2000 * ms},
		Filter:   filterARP,
		Read:     readARP,
		Answer:   answerARP,
		Announce: announceARP,
		Ask:      askARP,
		Probe:    probeARP,
	}
}

// NDP returns the protocol for IPv6.
func NDP() Protocol {
	return Protocol{
		Name:      "NDP",
		EtherType: ethernet.EtherTypeIPv6,
		// At 0, 1 and 2 s. RFC 4861 section 7.2.6: at most
		// MAX_NEIGHBOR_ADVERTISEMENT (3) of them, RetransTimer (1 s) apart.
		Gaps:     []time.Duration{1000 * ms, 1000 * ms},
		Filter:   filterNDP,
		Read:     readNDP,
		Answer:   answerNDP,
		Announce: announceNDP,
		Ask:      askNDP,
		Probe:    probeNDP,
	}
}

// unicastMAC says whether mac can be one station's address.
func unicastMAC(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

// check is a condition that a message must meet before it is believed.
type check[T any] struct {
	section   string // of the RFC that demands it; of RFC 4861 unless another is named
	condition string
	holds     func(*T) bool
}

// passesAll reports whether m meets all conditions.
func passesAll[T any](checks []check[T], m *T) bool {
	return !slices.ContainsFunc(checks, func(c check[T]) bool { return !c.holds(m) })
}

// frame puts a payload into an Ethernet frame, padded to the least length.
func frame(dst, src net.HardwareAddr, payload []byte, t ethernet.EtherType) []byte {
	f := ethernet.Frame{Destination: dst, Source: src, EtherType: t, Payload: payload}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil // only bad VLAN tags do that, and there are none
	}
	return b
}

// Offsets in an untagged Ethernet frame.
const (
	offEtherType = 12
	offPayload   = 14
)
