package socket

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// fromServer turns a message to servers into one from a server: only the ports differ.
func fromServer(b []byte, header int) []byte {
	b = bytes.Clone(b)
	from, to := binary.BigEndian.Uint16(b[header:]), binary.BigEndian.Uint16(b[header+2:])
	binary.BigEndian.PutUint16(b[header:], to)
	binary.BigEndian.PutUint16(b[header+2:], from)
	return b
}

func TestDatagrams(t *testing.T) {
	source := netip.MustParseAddr("fe80::1")
	for _, payload := range [][]byte{[]byte("a message"), []byte("even")} {
		four, six := datagram4(payload), datagram6(source, payload)
		if sum(four[:header4]) != 0xffff {
			t.Error("the checksum of the IPv4 header is wrong")
		}
		for _, x := range []struct {
			b      []byte
			header int
			filter []bpf.Instruction
			from   netip.Addr
			pseudo []byte // source and target
		}{
			{four, header4, filter4(), netip.IPv4Unspecified(), four[12:20]},
			{six, header6, filter6(), source, six[8:40]},
		} {
			length := x.b[x.header+4 : x.header+6]
			if got := sum(bytes.Join([][]byte{x.pseudo, {0, protocolUDP}, length, x.b[x.header:]}, nil)); got != 0xffff {
				t.Errorf("the checksum of UDP is wrong by %#x", got)
			}
			vm, err := bpf.NewVM(x.filter)
			if err != nil {
				t.Fatal(err)
			}
			passes := func(b []byte) bool {
				n, err := vm.Run(b)
				return err == nil && n > 0
			}
			back := fromServer(x.b, x.header)
			if passes(x.b) || !passes(back) {
				t.Errorf("the filter passes what goes to servers: %v; what comes from one: %v", passes(x.b), passes(back))
			}
			got, from, ok := read(append(back, "padding of the frame"...))
			if !ok || !bytes.Equal(got, payload) || from != x.from {
				t.Errorf("%q from %s, %v", got, from, ok)
			}
			for n := range len(back) { // a packet that is cut off
				if got, _, ok := read(back[:n]); ok && !bytes.HasPrefix(payload, got) {
					t.Errorf("of %d bytes it reads %q", n, got)
				}
			}
		}
		fragment := fromServer(four, header4)
		fragment[6] = 0x20
		if vm, err := bpf.NewVM(filter4()); err != nil {
			t.Fatal(err)
		} else if n, err := vm.Run(fragment); err != nil || n > 0 {
			t.Errorf("a fragment passes: %d, %v", n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(datagram4([]byte("x")))
	f.Add(datagram6(netip.MustParseAddr("fe80::1"), []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if payload, from, ok := read(b); ok && (len(payload) == 0 || !from.IsValid()) {
			t.Errorf("%q from %s", payload, from)
		}
	})
}
