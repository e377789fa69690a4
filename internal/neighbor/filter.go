package neighbor

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

// A filter is a program in the kernel that drops frames about other addresses, so
// that they do not wake the speaker. Up to FullFilter scattered addresses it is exact
// (a run of consecutive addresses counts as two). Beyond that, or with a lower limit,
// it also passes frames about addresses between these; the reader drops those. It
// never drops a frame about one of the addresses.

// FullFilter is the highest limit: the kernel takes no more than 4,096
// instructions.
const FullFilter = 2000

// senderShare is the part of the limit that the second search in a filter
// gets, the one for the senders of ARP.
const senderShare = 3

// filterARP passes requests for the addresses, and packets whose sender is one of
// them (RFC 826, Ethernet and IPv4 only).
func filterARP(index int, addrs []netip.Addr, limit int) []bpf.Instruction {
	keys := make([]uint32, len(addrs))
	for i, addr := range addrs {
		a := addr.As4()
		keys[i] = binary.BigEndian.Uint32(a[:])
	}
	f := preamble(index,
		match{offEtherType, 2, uint32(ethernet.EtherTypeARP)},
		match{offPayload, 4, 0x0001_0800}, // hardware type, protocol type
		match{offPayload + 4, 2, 0x06_04}, // the addresses' lengths
	)
	target := append([]bpf.Instruction{bpf.LoadAbsolute{Off: offPayload + 24, Size: 4}}, search(keys, limit)...)
	f = append(f,
		bpf.LoadAbsolute{Off: offPayload + 6, Size: 2}, // operation
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: opRequest, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(target))})
	f = append(f, target...)
	f = append(f, bpf.LoadAbsolute{Off: offPayload + 14, Size: 4})
	return append(append(f, search(keys, limit/senderShare)...), bpf.RetConstant{Val: 0})
}

// filterNDP passes solicitations and advertisements that came from this very
// link (RFC 4861 section 7.1) about addresses that end like these.
func filterNDP(index int, addrs []netip.Addr, limit int) []bpf.Instruction {
	keys := make([]uint32, len(addrs))
	for i, addr := range addrs {
		a := addr.As16()
		keys[i] = binary.BigEndian.Uint32(a[12:])
	}
	const offMessage = offPayload + ipv6HeaderLen
	f := preamble(index,
		match{offEtherType, 2, uint32(ethernet.EtherTypeIPv6)},
		match{offPayload + 6, 2, protoICMPv6<<8 | hopLimit},
	)
	f = append(f,
		bpf.LoadAbsolute{Off: offMessage, Size: 2}, // type and code
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation << 8, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeAdvertisement << 8, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: offMessage + 20, Size: 4}) // the target's end
	return append(append(f, search(keys, limit)...), bpf.RetConstant{Val: 0})
}

// match is one condition: size bytes at an offset have a value.
type match struct {
	off   uint32
	size  int
	value uint32
}

// PreambleLen is the length of the part of a filter that asks the kernel about
// more than the frame.
const PreambleLen = 9

// preamble drops (1) frames that do not meet all conditions, (2) frames that this host
// sent, or that are for another host, (3) frames of another link that this link's
// sockets see as well: frames with a VLAN tag, and those whose tag the kernel has
// removed before it gave them to the interface of the VLAN. The same holds for an
// interface that is a port of a bridge or bond, or has macvlans.
func preamble(index int, matches ...match) []bpf.Instruction {
	const lastForUs = 2 // PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST
	f := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: lastForUs, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	f = append(f,
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: 0})
	for _, m := range matches {
		f = append(f,
			bpf.LoadAbsolute{Off: m.off, Size: m.size},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: m.value, SkipTrue: 1},
			bpf.RetConstant{Val: 0})
	}
	return f
}

// span is a range of keys, both ends included.
type span struct{ first, last uint32 }

// search returns a binary search for the loaded value: it passes the frame if
// the value is one of the keys, else it goes on behind the search.
func search(keys []uint32, limit int) []bpf.Instruction {
	spans := spansOf(keys, limit)
	if len(spans) == 0 {
		return nil
	}
	// Leaves that miss must get to the end, which is further than a
	// conditional jump reaches: they fall through to one of their own.
	tree := branch(spans)
	for i, in := range tree {
		if _, ok := in.(miss); ok {
			tree[i] = bpf.Jump{Skip: uint32(len(tree) - i - 1)}
		}
	}
	return tree
}

// miss stands for the jump behind the search, in an unfinished tree.
type miss struct{ bpf.Instruction }

// leafSpans is how many spans are tried one after the other: a leaf must stay
// shorter than 255 instructions, which is as far as conditional jumps reach.
const leafSpans = 16

func branch(spans []span) []bpf.Instruction {
	if len(spans) <= leafSpans {
		return leaf(spans)
	}
	half := len(spans) / 2
	low, high := branch(spans[:half]), branch(spans[half:])
	return slices.Concat([]bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: spans[half].first, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(low))},
	}, low, high)
}

// leaf passes what lies in one of the spans, which are sorted.
func leaf(spans []span) []bpf.Instruction {
	size := 2 // the two ends
	for _, s := range spans {
		size += s.cost()
	}
	var f []bpf.Instruction
	for _, s := range spans {
		if s.first != s.last {
			// Below a span, and not in those before: a miss.
			f = append(f, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: s.first, SkipTrue: uint8(size - 2 - len(f) - 1)})
		}
		cond := bpf.JumpLessOrEqual
		if s.first == s.last {
			cond = bpf.JumpEqual
		}
		f = append(f, bpf.JumpIf{Cond: cond, Val: s.last, SkipTrue: uint8(size - 1 - len(f) - 1)})
	}
	return append(f, miss{}, bpf.RetConstant{Val: MaxFrame})
}

// cost is how many instructions a span needs.
func (s span) cost() int {
	if s.first == s.last {
		return 1
	}
	return 2
}

// spansOf covers the keys by sorted spans whose cost is within the limit (or by
// one). If that cannot be exact, it keeps the widest gaps between spans.
func spansOf(keys []uint32, limit int) []span {
	var spans []span
	cost := 0
	for _, k := range slices.Sorted(slices.Values(keys)) {
		if n := len(spans); n > 0 && k-spans[n-1].last <= 1 {
			cost -= spans[n-1].cost()
			spans[n-1].last = k
		} else {
			spans = append(spans, span{k, k})
		}
		cost += spans[len(spans)-1].cost()
	}
	if cost <= limit {
		return spans
	}
	gaps := make([]int, len(spans)-1) // gap i is in front of span i+1
	for i := range gaps {
		gaps[i] = i
	}
	width := func(i int) uint32 { return spans[i+1].first - spans[i].last }
	slices.SortStableFunc(gaps, func(i, j int) int { return cmp.Compare(width(j), width(i)) })
	open := slices.Sorted(slices.Values(gaps[:min(len(gaps), max(limit/2-1, 0))]))
	wide := []span{spans[0]}
	for _, i := range open {
		wide[len(wide)-1].last = spans[i].last
		wide = append(wide, spans[i+1])
	}
	wide[len(wide)-1].last = spans[len(spans)-1].last
	return wide
}
