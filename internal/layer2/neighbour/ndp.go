package neighbour

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

const (
	ipv6HeaderLen     = 40
	protoICMPv6       = 58
	hopLimit          = ndp.HopLimit
	typeSolicitation  = 135
	typeAdvertisement = 136
	messageLen        = 24 // of either, without options: RFC 4861 sections 4.3 and 4.4
	flagSolicited     = 0x40
	optionSourceMAC   = 1 // RFC 4861 section 4.6.1
	optionTargetMAC   = 2
)

// neighbour is where an advertisement goes.
type neighbour struct {
	addr netip.Addr
	mac  net.HardwareAddr
}

func everybody() neighbour {
	all := netip.IPv6LinkLocalAllNodes()
	return neighbour{addr: all, mac: multicastMAC(all)}
}

// answerNDP answers a neighbour solicitation as RFC 4861 section 7.2.4 says: to
// the sender, or, if that has no address yet (duplicate address detection, RFC
// 4862 section 5.4.3), to all nodes. Override is set, for one node alone claims
// the address.
func answerNDP(m Message, s Station) []byte {
	if m.From.IsUnspecified() {
		return advertise(m.Asks, s, everybody())
	}
	return advertise(m.Asks, s, neighbour{addr: m.From, mac: m.Sender})
}

// announceNDP returns an unsolicited advertisement (RFC 4861 section 7.2.6).
// RFC 9131 lets routers learn from it before anybody has asked.
func announceNDP(addr netip.Addr, s Station) [][]byte {
	return [][]byte{advertise(addr, s, everybody())}
}

// probeNDP returns a solicitation of duplicate address detection (RFC 4862
// section 5.4.2).
func probeNDP(addr netip.Addr, s Station) []byte {
	group := SolicitedNode(addr)
	to := neighbour{addr: group, mac: multicastMAC(group)}
	return icmpFrame(&ndp.NeighborSolicitation{TargetAddress: addr}, netip.IPv6Unspecified(), s.MAC, to)
}

// advertise returns the advertisement of target; it counts as solicited unless
// it goes to a multicast address (RFC 4861 section 4.4). It comes from the
// address itself: that is this node's for as long as it is claimed, and a link
// may have no other.
func advertise(target netip.Addr, s Station, to neighbour) []byte {
	return icmpFrame(&ndp.NeighborAdvertisement{
		Router:        s.Router,
		Solicited:     !to.addr.IsMulticast(),
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: s.MAC}},
	}, target, s.MAC, to)
}

func icmpFrame(message ndp.Message, from netip.Addr, mac net.HardwareAddr, to neighbour) []byte {
	m, err := ndp.MarshalMessageChecksum(message, from, to.addr)
	if err != nil {
		return nil // only for a target that is no IPv6 address, and nobody can ask for one
	}
	p := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(m))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(m)))
	p[6], p[7] = protoICMPv6, hopLimit
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.addr.AsSlice())
	return frame(to.mac, mac, append(p, m...), ethernet.EtherTypeIPv6)
}

// readNDP reads a solicitation or an advertisement that passes all of RFC 4861
// section 7.1.
func readNDP(b []byte) (Message, bool) {
	var f ethernet.Frame
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeIPv6 || f.VLAN != nil || f.ServiceVLAN != nil ||
		len(f.Payload) < ipv6HeaderLen+messageLen {
		return Message{}, false
	}
	p := f.Payload
	m := p[ipv6HeaderLen:]
	size := int(binary.BigEndian.Uint16(p[4:]))
	if p[0]>>4 != 6 || p[6] != protoICMPv6 || p[7] != hopLimit || size < messageLen || size > len(m) {
		return Message{}, false
	}
	m = m[:size] // the rest is padding
	src, dst, target := addr16(p[8:]), addr16(p[24:]), addr16(m[8:])
	if m[1] != 0 || !checksumOK(src, dst, m) || target.IsMulticast() || src.IsMulticast() {
		return Message{}, false
	}
	switch m[0] {
	case typeSolicitation:
		option, ok := optionMAC(m[messageLen:], optionSourceMAC)
		if !ok || src.IsUnspecified() && (option != nil || dst != SolicitedNode(target)) {
			return Message{}, false
		}
		out := Message{Sender: orMAC(option, f.Source), Asks: target, From: src, Unicast: unicastMAC(f.Destination)}
		return out, unicastMAC(out.Sender)
	case typeAdvertisement:
		option, ok := optionMAC(m[messageLen:], optionTargetMAC)
		if !ok || dst.IsMulticast() && m[4]&flagSolicited != 0 {
			return Message{}, false
		}
		out := Message{Sender: orMAC(option, f.Source), Holds: target}
		return out, unicastMAC(out.Sender)
	}
	return Message{}, false
}

func orMAC(option, source net.HardwareAddr) net.HardwareAddr {
	if option != nil {
		return option
	}
	return source
}

// optionMAC returns the link-layer address in an option of that type, if there
// is one, and whether the options are well formed: none of length 0, none cut
// short.
func optionMAC(options []byte, kind byte) (net.HardwareAddr, bool) {
	var mac net.HardwareAddr
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return nil, false
		}
		if options[0] == kind && options[1] == 1 {
			mac = options[2:8]
		}
		options = options[int(options[1])*8:]
	}
	return mac, true
}

// checksumOK verifies the ICMPv6 checksum (RFC 8200 section 8.1): with the
// pseudo-header and the checksum itself, the sum is all ones.
func checksumOK(src, dst netip.Addr, m []byte) bool {
	sum := uint32(len(m)) + protoICMPv6
	for _, b := range [][]byte{src.AsSlice(), dst.AsSlice(), m} {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

// addr16 reads an IPv6 address from the first 16 bytes.
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

// SolicitedNode returns the group that an IPv6 address's owner listens to (RFC 4291
// section 2.7.1): ff02::1:ff00:0/104 and the address's last 24 bits.
func SolicitedNode(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// multicastMAC returns the Ethernet address of an IPv6 group (RFC 2464 section 7).
func multicastMAC(group netip.Addr) net.HardwareAddr {
	a := group.As16()
	return net.HardwareAddr{0x33, 0x33, a[12], a[13], a[14], a[15]}
}
