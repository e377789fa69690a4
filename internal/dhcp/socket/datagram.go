package socket

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

// The ports of UDP: RFC 2131 section 4.1, RFC 8415 section 7.2.
const (
	client4, server4 = 68, 67
	client6, server6 = 546, 547
)

const (
	header4, header6 = 20, 40 // bytes of an IP header without options
	headerUDP        = 8
	protocolUDP      = 17
	hops             = 64
)

// servers6 is All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
func servers6() netip.Addr { return netip.MustParseAddr("ff02::1:2") }

// datagram4 returns the IPv4 packet of a message to all servers, from a host without an address.
func datagram4(payload []byte) []byte {
	source, target := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	b := make([]byte, header4, header4+headerUDP+len(payload))
	b[0], b[8], b[9] = 4<<4|header4/4, hops, protocolUDP
	binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
	copy(b[12:], source.AsSlice())
	copy(b[16:], target.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return append(b, udp(source, target, client4, server4, payload)...)
}

// datagram6 returns the IPv6 packet of a message to all servers, from a link-local address.
func datagram6(source netip.Addr, payload []byte) []byte {
	b := make([]byte, header6, header6+headerUDP+len(payload))
	b[0], b[6], b[7] = 6<<4, protocolUDP, hops
	binary.BigEndian.PutUint16(b[4:], uint16(headerUDP+len(payload)))
	copy(b[8:], source.AsSlice())
	copy(b[24:], servers6().AsSlice())
	return append(b, udp(source, servers6(), client6, server6, payload)...)
}

// udp returns a UDP datagram.
func udp(source, target netip.Addr, from, to uint16, payload []byte) []byte {
	b := make([]byte, headerUDP, headerUDP+len(payload))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint16(b[4:], uint16(cap(b)))
	b = append(b, payload...)
	pseudo := append(append(source.AsSlice(), target.AsSlice()...), 0, protocolUDP, b[4], b[5]) // RFC 768; RFC 8200 section 8.1 has the same sum
	check := ^sum(append(pseudo, b...))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], check)
	return b
}

// sum is the sum of the Internet checksum (RFC 1071).
func sum(b []byte) uint16 {
	var total uint32
	for ; len(b) > 1; b = b[2:] {
		total += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint32(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// filter4 passes what DHCP servers send to clients.
func filter4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipFalse: 8},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 6}, // a fragment
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 0, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: server4, SkipFalse: 3},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: client4, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{},
	}
}

// filter6 likewise.
func filter6() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipFalse: 3},
		bpf.LoadAbsolute{Off: header6 + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: client6, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{},
	}
}

// read returns the payload of a packet that a filter has passed, and its source. Checksums are not
// looked at: a packet that did not leave the machine has none yet.
func read(b []byte) (payload []byte, from netip.Addr, ok bool) {
	var source []byte
	switch {
	case len(b) >= header4 && b[0]>>4 == 4:
		source = b[12:16]
		b = within(b, int(binary.BigEndian.Uint16(b[2:])))
		b = after(b, int(b[0]&0xf)*4)
	case len(b) >= header6 && b[0]>>4 == 6:
		source = b[8:24]
		b = after(within(b, header6+int(binary.BigEndian.Uint16(b[4:]))), header6)
	}
	if len(b) < headerUDP || source == nil {
		return nil, from, false
	}
	b = within(b, int(binary.BigEndian.Uint16(b[4:])))
	from, ok = netip.AddrFromSlice(source)
	return after(b, headerUDP), from, ok && len(b) > headerUDP
}

// within cuts what comes after n bytes: Ethernet pads short frames.
func within(b []byte, n int) []byte { return b[:min(n, len(b))] }

// after cuts n bytes off.
func after(b []byte, n int) []byte { return b[min(n, len(b)):] }
