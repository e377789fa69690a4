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
	// maxSources is how many peers a filter tells apart: the kernel takes no longer ones.
	maxSources = 256
	// offPacket is where the packet begins for a filter of a UDP socket.
	offPacket = 8
	// offNetwork is where a filter finds the IP header: SKF_NET_OFF.
	offNetwork uint32 = 0xfff00000
)

// filter drops in the kernel, which wakes nobody for it, what can be no packet of
// these peers: by its length, version, authentication bit and source address. All is
// checked again by who reads it.
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

// from goes on behind itself with a packet of the peer, and one instruction further
// with any other.
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

// setFilter has the socket take what may come from the peers, each of which may be
// there several times.
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
