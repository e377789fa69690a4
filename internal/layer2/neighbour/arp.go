package neighbour

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

const (
	arpLen      = 28 // for Ethernet and IPv4
	hwEthernet  = 1
	lenIPv4Addr = 4
)

// answerARP answers an ARP request (RFC 826), broadcast or unicast, for a
// claimed address by a unicast reply. It answers the probes of RFC 5227
// section 2.1.1 (sender 0.0.0.0) too, so that nobody else takes the address.
func answerARP(request []byte, s Station) []byte {
	var f ethernet.Frame
	var p arp.Packet
	if f.UnmarshalBinary(request) != nil || f.EtherType != ethernet.EtherTypeARP || f.VLAN != nil || f.ServiceVLAN != nil ||
		len(f.Payload) < arpLen || f.Payload[4] != 6 || f.Payload[5] != lenIPv4Addr || p.UnmarshalBinary(f.Payload) != nil {
		return nil
	}
	switch {
	case p.HardwareType != hwEthernet, p.ProtocolType != uint16(ethernet.EtherTypeIPv4), p.Operation != arp.OperationRequest:
		return nil
	case p.SenderIP == p.TargetIP:
		return nil // an announcement (RFC 5227 section 3), not a question
	case !unicastMAC(p.SenderHardwareAddr), bytes.Equal(p.SenderHardwareAddr, s.MAC):
		return nil // no station, or ourselves
	case !s.Claims(p.TargetIP):
		return nil
	}
	return arpFrame(p.SenderHardwareAddr, arp.Packet{
		Operation:          arp.OperationReply,
		SenderHardwareAddr: s.MAC,
		SenderIP:           p.TargetIP,
		TargetHardwareAddr: p.SenderHardwareAddr,
		TargetIP:           p.SenderIP,
	})
}

// announceARP returns the two forms of ARP announcement (RFC 5227 section
// 2.3 and 3): some hosts take only requests, some only replies. The reply
// names our own MAC as its target: with a broadcast address there, Linux takes
// it for unsolicited and does not update an entry that is younger than 1 s.
func announceARP(addr netip.Addr, mac net.HardwareAddr) [][]byte {
	request := arp.Packet{
		Operation:          arp.OperationRequest,
		SenderHardwareAddr: mac,
		SenderIP:           addr,
		TargetHardwareAddr: make(net.HardwareAddr, 6),
		TargetIP:           addr,
	}
	reply := request
	reply.Operation = arp.OperationReply
	reply.TargetHardwareAddr = mac
	return [][]byte{arpFrame(ethernet.Broadcast, request), arpFrame(ethernet.Broadcast, reply)}
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
