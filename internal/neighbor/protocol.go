// Package neighbor reads and makes the frames of ARP (RFC 826, RFC 5227) and NDP (RFC
// 4861): requests, answers, probes and announcements, the kernel's filter for them,
// and the schedule on which they are sent. Every frame that Steelyard reads or sends
// in these two protocols is read or made here.
//
// It does not decide which frame is answered. It opens no socket and reads no clock:
// frames and times in, frames out.
//
// It does not parse NDP messages by mdlayher/ndp: ndp.ParseMessage refuses the whole
// message for one malformed option of another kind (a prefix or DNS option of the wrong
// length, say). RFC 4861 sections 7.1.1 and 7.1.2 have a node ignore the contents of such
// options; a node that refused them would leave its address unanswered.
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
	// Answer returns the answer to a request.
	Answer func(m Message, s Station) []byte
	// Announce returns the frames that announce addr to all neighbors.
	Announce func(addr netip.Addr, s Station) [][]byte
	// Ask returns a request for addr. from is an address of the link; unspecified: the
	// request is a probe.
	Ask func(addr, from netip.Addr, s Station) []byte
	// Probe returns a probe for addr (RFC 5227 section 2.1.1, RFC 4862 section 5.4).
	Probe func(addr netip.Addr, s Station) []byte
}

// Message is what a frame says. The zero Message says nothing.
type Message struct {
	Sender  net.HardwareAddr // the host that sends it; valid as long as the frame
	Asks    netip.Addr       // the address that it requests; invalid: none
	From    netip.Addr       // the address of the host that asks; unspecified: the message is a probe
	Unicast bool             // it is sent to one host alone
	Holds   netip.Addr       // the address that the sender claims; invalid: none
	Source  net.HardwareAddr // of the frame; valid as long as it
	Proof   []byte           // that the sender has the address; nil: the frame carries none
}

// IsProbe reports whether the message is a probe: its sender is about to take the address
// that it asks for (RFC 5227 section 2.1.1, RFC 4862 section 5.4).
func (m Message) IsProbe() bool { return m.Asks.IsValid() && m.From.IsUnspecified() }

// Station is this node as its neighbors on a link see it.
type Station struct {
	MAC    net.HardwareAddr // 6 bytes
	Router bool             // it forwards IPv6 packets that come in on this link
	Proof  []byte           // goes with announcements, made by Prove; nil: none does
}

// MaxFrame is the length of the longest frame to read, in bytes. Longer requests do
// not occur, and one that is cut short is not answered.
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

// unicastMAC reports whether mac can be the address of one host.
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
