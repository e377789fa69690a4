package udp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// shortest and longest are the lengths of BFD packets, and authenticated that of
	// one with Meticulous Keyed SHA1 (RFC 5880 §4.4).
	shortest, longest, authenticated = 24, 255, 52
	// maxSources is how many peers a filter distinguishes: the kernel limits a filter's length.
	maxSources = 256
	// offPacket is the packet's offset for a filter of a UDP socket.
	offPacket = 8
	// offNetwork is the IP header's offset for a filter: SKF_NET_OFF.
	offNetwork uint32 = 0xfff00000
)

// filter returns a program with which the kernel drops datagrams that cannot be packets
// of these peers, by length, version, authentication bit and source address, so that they
// wake no goroutine. The reader checks all of this again.
func filter(peers []netip.Addr, auth bool) []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	pass := bpf.RetConstant{Val: 1 << 16}
	f := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: offPacket + shortest, SkipTrue: 1}, drop,
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: offPacket + longest, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: offPacket, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 5},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1, SkipTrue: 1}, drop,
	}
	if auth {
		const bit = 1 << 2
		f = append(f,
			bpf.LoadAbsolute{Off: offPacket + 1, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: bit, SkipTrue: 1}, drop,
			bpf.LoadAbsolute{Off: offPacket + 3, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: authenticated, SkipTrue: 1}, drop)
	}
	if len(peers) > maxSources {
		return append(f, pass)
	}
	for _, peer := range peers {
		f = append(f, from(peer)...)
		f = append(f, pass)
	}
	return append(f, drop)
}

// from returns instructions that continue behind themselves with a packet of the peer,
// and skip one instruction with any other.
func from(peer netip.Addr) []bpf.Instruction {
	bytes, off := peer.AsSlice(), offNetwork+12
	if peer.Is6() {
		off = offNetwork + 8
	}
	var f []bpf.Instruction
	for i := 0; i < len(bytes); i += 4 {
		left := (len(bytes)-i)/4 - 1 // words
		f = append(f,
			bpf.LoadAbsolute{Off: off + uint32(i), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(bytes[i:]), SkipFalse: uint8(2*left + 1)})
	}
	return f
}

// setFilter has the socket receive only what may come from peers. A peer may be listed
// several times.
func setFilter(raw syscall.RawConn, peers []netip.Addr, auth bool) error {
	peers = slices.Clone(peers)
	for i := range peers {
		peers[i] = peers[i].WithZone("")
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	program, err := bpf.Assemble(filter(slices.Compact(peers), auth))
	if err != nil {
		return err
	}
	out := make([]unix.SockFilter, len(program))
	for i, in := range program {
		out[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return control(raw, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(out)), Filter: unsafe.SliceData(out)})
	})
}
