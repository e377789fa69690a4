package neighbor

import (
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

const (
	arpLen      = 28 // for Ethernet and IPv4
	hwEthernet  = 1
	opRequest   = uint32(arp.OperationRequest)
	lenIPv4Addr = 4
)

// arpChecks are what a packet must meet, by RFC.
var arpChecks = []check[arp.Packet]{
	{"RFC 826", "hardware type is Ethernet", func(p *arp.Packet) bool { return p.HardwareType == hwEthernet }},
	{"RFC 826", "protocol type is IPv4", func(p *arp.Packet) bool { return p.ProtocolType == uint16(ethernet.EtherTypeIPv4) }},
	{"RFC 894 and IEEE 802", "sender is one station", func(p *arp.Packet) bool { return unicastMAC(p.SenderHardwareAddr) }},
}

// readARP reads a request or a reply (RFC 826). A request of 0.0.0.0 is a probe
// (RFC 5227 section 2.1.1): its sender has no address yet.
func readARP(b []byte) (Message, bool) {
	var f ethernet.Frame
	var p arp.Packet
	if f.UnmarshalBinary(b) != nil || f.EtherType != ethernet.EtherTypeARP || f.VLAN != nil || f.ServiceVLAN != nil ||
		len(f.Payload) < arpLen || f.Payload[4] != 6 || f.Payload[5] != lenIPv4Addr || p.UnmarshalBinary(f.Payload) != nil ||
		!passesAll(arpChecks, &p) {
		return Message{}, false
	}
	m := Message{Sender: p.SenderHardwareAddr, From: p.SenderIP, Unicast: unicastMAC(f.Destination), Source: f.Source}
	if padding := f.Payload[arpLen:]; len(padding) >= proofLen {
		m.Proof = padding[:proofLen]
	}
	if !p.SenderIP.IsUnspecified() {
		m.Holds = p.SenderIP
	}
	// A request for the sender's own address is an announcement (RFC 5227
	// section 3), and no question.
	if p.Operation == arp.OperationRequest && p.SenderIP != p.TargetIP {
		m.Asks = p.TargetIP
	}
	return m, true
}

// answerARP answers by a unicast reply. It answers probes too, so that no
// other host takes the address.
func answerARP(m Message, s Station) []byte {
	return arpFrame(m.Sender, arp.Packet{
		Operation:          arp.OperationReply,
		SenderHardwareAddr: s.MAC,
		SenderIP:           m.Asks,
		TargetHardwareAddr: m.Sender,
		TargetIP:           m.From,
	})
}

// askARP returns a request for addr (RFC 826), from an address of the link's own;
// 0.0.0.0: it is a probe.
func askARP(addr, from netip.Addr, s Station) []byte {
	return arpFrame(ethernet.Broadcast, arp.Packet{
		Operation:          arp.OperationRequest,
		SenderHardwareAddr: s.MAC,
		SenderIP:           from,
		TargetHardwareAddr: make(net.HardwareAddr, 6),
		TargetIP:           addr,
	})
}

// probeARP returns an ARP probe (RFC 5227 section 2.1.1).
func probeARP(addr netip.Addr, s Station) []byte { return askARP(addr, netip.IPv4Unspecified(), s) }

// announceARP returns the two forms of ARP announcement (RFC 5227 section
// 2.3 and 3): some hosts take only requests, some only replies. The reply
// names our own MAC as its target: with a broadcast address there, Linux takes
// it for unsolicited and does not update an entry that is younger than 1 s.
func announceARP(addr netip.Addr, s Station) [][]byte {
	request := arp.Packet{
		Operation:          arp.OperationRequest,
		SenderHardwareAddr: s.MAC,
		SenderIP:           addr,
		TargetHardwareAddr: make(net.HardwareAddr, 6),
		TargetIP:           addr,
	}
	reply := request
	reply.Operation = arp.OperationReply
	reply.TargetHardwareAddr = s.MAC
	frames := [][]byte{arpFrame(ethernet.Broadcast, request), arpFrame(ethernet.Broadcast, reply)}
	for _, f := range frames {
		copy(f[offPayload+arpLen:], s.Proof)
	}
	return frames
}

func arpFrame(dst net.HardwareAddr, p arp.Packet) []byte {
	p.HardwareType = hwEthernet
	p.ProtocolType = uint16(ethernet.EtherTypeIPv4)
	p.HardwareAddrLength = 6
	p.IPLength = lenIPv4Addr
	b, err := p.MarshalBinary()
	if err != nil {
		return nil // documented never to happen
	}
	return frame(dst, p.SenderHardwareAddr, b, ethernet.EtherTypeARP)
}
