package neighbor

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
	optionSourceMAC   = 1  // RFC 4861 section 4.6.1
	optionTargetMAC   = 2
)

// destination is where an advertisement goes.
type destination struct {
	addr netip.Addr
	mac  net.HardwareAddr
}

func allNodes() destination {
	all := netip.IPv6LinkLocalAllNodes()
	return destination{addr: all, mac: multicastMAC(all)}
}

// answerNDP answers a neighbor solicitation as RFC 4861 section 7.2.4 says: to
// the sender, or, if that has no address yet (duplicate address detection, RFC
// 4862 section 5.4.3), to all nodes. Override is set, for one node alone claims
// the address.
func answerNDP(m Message, s Station) []byte {
	if m.From.IsUnspecified() {
		return advertise(m.Asks, s, allNodes())
	}
	return advertise(m.Asks, s, destination{addr: m.From, mac: m.Sender})
}

// announceNDP returns an unsolicited advertisement (RFC 4861 section 7.2.6).
// RFC 9131 lets routers learn from it before any host has asked.
func announceNDP(addr netip.Addr, s Station) [][]byte {
	return [][]byte{advertise(addr, s, allNodes())}
}

// probeNDP returns a solicitation of duplicate address detection (RFC 4862
// section 5.4.2).
func probeNDP(addr netip.Addr, s Station) []byte { return askNDP(addr, netip.IPv6Unspecified(), s) }

// askNDP returns a solicitation for addr (RFC 4861 section 7.2.2), from an address of
// the link's own; unspecified: the answer goes to all nodes.
func askNDP(addr, from netip.Addr, s Station) []byte {
	group := SolicitedNode(addr)
	question := &ndp.NeighborSolicitation{TargetAddress: addr}
	if !from.IsUnspecified() {
		question.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: s.MAC}}
	}
	return icmpFrame(question, from, s.MAC, destination{addr: group, mac: multicastMAC(group)})
}

// advertise returns the advertisement of target; it counts as solicited unless
// it goes to a multicast address (RFC 4861 section 4.4). It comes from the
// address itself: that is this node's for as long as it is claimed, and a link
// may have no other.
func advertise(target netip.Addr, s Station, to destination) []byte {
	options := []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: s.MAC}}
	if s.Proof != nil {
		value := make([]byte, 8*optionProofUnits-2)
		copy(value, s.Proof)
		options = append(options, &ndp.RawOption{Type: optionProof, Length: optionProofUnits, Value: value})
	}
	return icmpFrame(&ndp.NeighborAdvertisement{
		Router:        s.Router,
		Solicited:     !to.addr.IsMulticast(),
		Override:      true,
		TargetAddress: target,
		Options:       options,
	}, target, s.MAC, to)
}

func icmpFrame(message ndp.Message, from netip.Addr, mac net.HardwareAddr, to destination) []byte {
	m, err := ndp.MarshalMessageChecksum(message, from, to.addr)
	if err != nil {
		return nil // only for a target that is no IPv6 address, and a solicitation has none
	}
	p := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(m))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(m)))
	p[6], p[7] = protoICMPv6, hopLimit
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.addr.AsSlice())
	return frame(to.mac, mac, append(p, m...), ethernet.EtherTypeIPv6)
}

// received is an NDP message as it came.
type received struct {
	frame    ethernet.Frame
	header   []byte // of IPv6
	src, dst netip.Addr
	icmp     []byte // without padding
	target   netip.Addr
	// solicits: it is a solicitation, else an advertisement.
	solicits, solicited bool
	mac                 net.HardwareAddr // in the option that such a message may have; nil: it has none
	options             bool             // they can be read
}

// ndpChecks are what RFC 4861 has a node check, by section, before it believes a
// message.
var ndpChecks = []check[received]{
	{"7.1.1, 7.1.2", "hop limit 255", func(r *received) bool { return r.header[7] == hopLimit }},
	{"7.1.1, 7.1.2", "checksum", func(r *received) bool { return checksumOK(r.src, r.dst, r.icmp) }},
	{"7.1.1, 7.1.2", "code 0", func(r *received) bool { return r.icmp[1] == 0 }},
	{"7.1.1, 7.1.2", "target is no multicast address", func(r *received) bool { return !r.target.IsMulticast() }},
	{"7.1.1, 7.1.2", "options have a length, and end with the message", func(r *received) bool { return r.options }},
	{"7.1.1", "from the unspecified address only to the solicited-node group", func(r *received) bool {
		return !r.solicits || !r.src.IsUnspecified() || r.dst == SolicitedNode(r.target)
	}},
	{"7.1.1", "from the unspecified address without a source link-layer address", func(r *received) bool {
		return !r.solicits || !r.src.IsUnspecified() || r.mac == nil
	}},
	{"7.1.2", "to a group only unsolicited", func(r *received) bool { return r.solicits || !r.dst.IsMulticast() || !r.solicited }},
	{"RFC 4291 2.7", "source is no multicast address", func(r *received) bool { return !r.src.IsMulticast() }},
	{"RFC 894 and IEEE 802", "link-layer address is one station's", func(r *received) bool { return unicastMAC(r.sender()) }},
}

// sender returns the link-layer address that the message tells.
func (r *received) sender() net.HardwareAddr {
	if r.mac != nil {
		return r.mac
	}
	return r.frame.Source
}

// readNDP reads a solicitation or an advertisement that passes all checks.
func readNDP(b []byte) (Message, bool) {
	var r received
	if !r.parse(b) || !passesAll(ndpChecks, &r) {
		return Message{}, false
	}
	if r.solicits {
		return Message{Sender: r.sender(), Asks: r.target, From: r.src, Unicast: unicastMAC(r.frame.Destination), Source: r.frame.Source}, true
	}
	m := Message{Sender: r.sender(), Holds: r.target, Source: r.frame.Source}
	if proof, _ := option(r.icmp[messageLen:], optionProof, optionProofUnits); proof != nil {
		m.Proof = proof[:proofLen]
	}
	return m, true
}

// parse takes a frame apart. It reports whether that is an NDP message of the two
// kinds, whatever it says.
//
// The library reads all but the options: it refuses a message for an option of
// another kind that is malformed, and RFC 4861 section 7.1.1 has us ignore those.
func (r *received) parse(b []byte) bool {
	f := &r.frame
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeIPv6 || f.VLAN != nil || f.ServiceVLAN != nil ||
		len(f.Payload) < ipv6HeaderLen+messageLen {
		return false
	}
	r.header, r.icmp = f.Payload[:ipv6HeaderLen], f.Payload[ipv6HeaderLen:]
	size := int(binary.BigEndian.Uint16(r.header[4:]))
	if r.header[0]>>4 != 6 || r.header[6] != protoICMPv6 || size < messageLen || size > len(r.icmp) {
		return false
	}
	r.icmp = r.icmp[:size] // the rest is padding
	r.src, r.dst = addr16(r.header[8:]), addr16(r.header[24:])
	message, err := ndp.ParseMessage(r.icmp[:messageLen])
	if err != nil {
		return false
	}
	switch m := message.(type) {
	case *ndp.NeighborSolicitation:
		r.solicits, r.target = true, m.TargetAddress
		r.mac, r.options = option(r.icmp[messageLen:], optionSourceMAC, 1)
	case *ndp.NeighborAdvertisement:
		r.target, r.solicited = m.TargetAddress, m.Solicited
		r.mac, r.options = option(r.icmp[messageLen:], optionTargetMAC, 1)
	default:
		return false
	}
	return true
}

// option returns what is in an option of that type and length, in units of eight
// octets, if there is one, and whether the options are well formed: none of length 0,
// none cut short.
func option(options []byte, kind, units byte) (value []byte, ok bool) {
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return nil, false
		}
		if options[0] == kind && options[1] == units {
			value = options[2 : 8*int(units)]
		}
		options = options[int(options[1])*8:]
	}
	return value, true
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
