package neighbour

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

const (
	ipv6HeaderLen    = 40
	protoICMPv6      = 58
	hopLimit         = ndp.HopLimit
	typeSolicitation = 135
	solicitationLen  = 24 // RFC 4861 section 4.3, without options
	optionSourceMAC  = 1  // RFC 4861 section 4.6.1
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

// answerNDP answers a neighbour solicitation for a claimed address as RFC 4861
// section 7.2.4 says: to the sender, or, if that has no address yet (duplicate
// address detection, RFC 4862 section 5.4.3), to all nodes. Override is set,
// for one node alone claims the address. Router is not: we are nobody's
// gateway by claiming.
func answerNDP(request []byte, s Station) []byte {
	from, target, ok := parseSolicitation(request)
	if !ok || bytes.Equal(from.mac, s.MAC) || !s.Claims(target) {
		return nil
	}
	if from.addr.IsUnspecified() {
		from = everybody()
	}
	return advertise(target, s.MAC, from)
}

// announceNDP returns an unsolicited advertisement (RFC 4861 section 7.2.6).
// RFC 9131 lets routers learn from it before anybody has asked.
func announceNDP(addr netip.Addr, mac net.HardwareAddr) [][]byte {
	return [][]byte{advertise(addr, mac, everybody())}
}

// advertise returns the advertisement of target; it counts as solicited unless
// it goes to a multicast address (RFC 4861 section 4.4).
func advertise(target netip.Addr, mac net.HardwareAddr, to neighbour) []byte {
	m, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Solicited:     !to.addr.IsMulticast(),
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, target, to.addr)
	if err != nil {
		return nil // only for a target that is no IPv6 address, and nobody can ask for one
	}
	p := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(m))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(m)))
	p[6], p[7] = protoICMPv6, hopLimit
	// From the address itself: it is this node's for as long as it is claimed,
	// and a link may have no other.
	copy(p[8:], target.AsSlice())
	copy(p[24:], to.addr.AsSlice())
	return frame(to.mac, mac, append(p, m...), ethernet.EtherTypeIPv6)
}

// parseSolicitation returns who asks for which address, if the frame holds a
// solicitation that passes all of RFC 4861 section 7.1.1.
func parseSolicitation(b []byte) (from neighbour, target netip.Addr, ok bool) {
	var f ethernet.Frame
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeIPv6 || f.VLAN != nil || f.ServiceVLAN != nil ||
		len(f.Payload) < ipv6HeaderLen+solicitationLen {
		return neighbour{}, netip.Addr{}, false
	}
	p := f.Payload
	m := p[ipv6HeaderLen:]
	size := int(binary.BigEndian.Uint16(p[4:]))
	if p[0]>>4 != 6 || p[6] != protoICMPv6 || p[7] != hopLimit || size < solicitationLen || size > len(m) {
		return neighbour{}, netip.Addr{}, false
	}
	m = m[:size] // the rest is padding
	src, dst, target := addr16(p[8:]), addr16(p[24:]), addr16(m[8:])
	option, ok := sourceMAC(m[solicitationLen:])
	switch {
	case !ok, m[0] != typeSolicitation, m[1] != 0, !checksumOK(src, dst, m):
		return neighbour{}, netip.Addr{}, false
	case target.IsMulticast(), src.IsMulticast():
		return neighbour{}, netip.Addr{}, false
	case src.IsUnspecified() && (option != nil || dst != SolicitedNode(target)):
		return neighbour{}, netip.Addr{}, false
	}
	mac := f.Source
	if option != nil {
		mac = option
	}
	return neighbour{addr: src, mac: mac}, target, unicastMAC(mac)
}

// sourceMAC returns the Source Link-Layer Address option, if there is one, and
// whether the options are well formed: none of length 0, none cut short.
func sourceMAC(options []byte) (net.HardwareAddr, bool) {
	var mac net.HardwareAddr
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return nil, false
		}
		if options[0] == optionSourceMAC && options[1] == 1 {
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
