// Package neighbour knows what a station says to its neighbours in ARP (RFC
// 826, RFC 5227) and NDP (RFC 4861): the answer to a frame, the announcements
// of an address, and when to send them.
//
// It opens no socket and reads no clock: frames and times in, frames out.
package neighbour

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

// Protocol is what differs between ARP and NDP. Its functions are pure.
type Protocol struct {
	Name      string
	EtherType ethernet.EtherType
	Filter    []bpf.Instruction // passes what Answer may want, drops the rest in the kernel

	// Gaps are the pauses between the announcements of an address that is new
	// on a link; after the last one it is announced every Refresh.
	Gaps []time.Duration

	// Answer returns the frame to send for a received one, nil for silence.
	Answer func(frame []byte, s Station) []byte
	// Announce returns the frames that tell all neighbours where addr is.
	Announce func(addr netip.Addr, mac net.HardwareAddr) [][]byte
}

// Station is a node as a link sees it.
type Station struct {
	MAC    net.HardwareAddr // 6 bytes
	Claims func(netip.Addr) bool
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
		Filter:    arpFilter(),
		// At 0, 0.1, 0.5, 1, 2 and 4 s: the early ones make up for a lost
		// frame, the late ones for a switch port that starts to forward late.
		Gaps:     []time.Duration{100 * ms, 400 * ms, 500 * ms, 1000 * ms, 2000 * ms},
		Answer:   answerARP,
		Announce: announceARP,
	}
}

// NDP returns the protocol for IPv6.
func NDP() Protocol {
	return Protocol{
		Name:      "NDP",
		EtherType: ethernet.EtherTypeIPv6,
		Filter:    ndpFilter(),
		// At 0, 1 and 2 s. RFC 4861 section 7.2.6: at most
		// MAX_NEIGHBOR_ADVERTISEMENT (3) of them, RetransTimer (1 s) apart.
		Gaps:     []time.Duration{1000 * ms, 1000 * ms},
		Answer:   answerNDP,
		Announce: announceNDP,
	}
}

// unicastMAC says whether mac can be one station's address.
func unicastMAC(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
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

// arpFilter passes Ethernet/IPv4 requests (RFC 826).
func arpFilter() []bpf.Instruction {
	return filterOf([]match{
		{offEtherType, 2, uint32(ethernet.EtherTypeARP)},
		{offPayload, 4, 0x0001_0800},     // hardware type, protocol type
		{offPayload + 4, 4, 0x0604_0001}, // the addresses' lengths, request
	})
}

// ndpFilter passes neighbour solicitations that came from this very link
// (RFC 4861 section 7.1.1).
func ndpFilter() []bpf.Instruction {
	return filterOf([]match{
		{offEtherType, 2, uint32(ethernet.EtherTypeIPv6)},
		{offPayload + 6, 2, protoICMPv6<<8 | hopLimit},
		{offPayload + ipv6HeaderLen, 2, typeSolicitation << 8}, // and code 0
	})
}

// match is one condition: size bytes at an offset have a value.
type match struct {
	off   uint32
	size  int
	value uint32
}

// filterOf passes what meets all conditions, was sent to this host or to many
// (not by it, nor seen in passing), and carries no VLAN tag: tagged frames
// belong to another link, though this link's sockets see them too.
func filterOf(matches []match) []bpf.Instruction {
	const lastForUs = 2 // PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST
	f := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: lastForUs, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	for _, m := range matches {
		f = append(f,
			bpf.LoadAbsolute{Off: m.off, Size: m.size},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: m.value, SkipTrue: 1},
			bpf.RetConstant{Val: 0})
	}
	return append(f, bpf.RetConstant{Val: MaxFrame})
}
