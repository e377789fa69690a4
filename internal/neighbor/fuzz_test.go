package neighbor

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

var (
	testMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}
	askerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	addr4    = netip.MustParseAddr("192.0.2.100")
	addr6    = netip.MustParseAddr("2001:db8::100")
)

func seedARP(target netip.Addr) []byte {
	return arpFrame(ethernet.Broadcast, arp.Packet{
		Operation: arp.OperationRequest, SenderHardwareAddr: askerMAC, SenderIP: netip.MustParseAddr("192.0.2.1"),
		TargetHardwareAddr: make(net.HardwareAddr, 6), TargetIP: target,
	})
}

func seedNDP(target netip.Addr, option ndp.Option) []byte {
	group := SolicitedNode(target)
	return icmpFrame(&ndp.NeighborSolicitation{TargetAddress: target, Options: []ndp.Option{option}},
		netip.MustParseAddr("2001:db8::1"), askerMAC, destination{addr: group, mac: multicastMAC(group)})
}

func TestMulticastIsNoHost(t *testing.T) {
	unicast := seedNDP(addr6, ndp.NewNonce())
	if _, ok := readNDP(unicast); !ok {
		t.Error("an ordinary solicitation is malformed, so the others prove nothing")
	}
	if m, ok := readNDP(seedNDP(netip.MustParseAddr("ff02::100"), ndp.NewNonce())); ok {
		t.Errorf("RFC 4861 7.1.1: a multicast target was read as %+v", m)
	}
	// The source's first bytes become a multicast one, and the checksum fits again.
	from := bytes.Clone(unicast)
	from[22], from[23] = 0xff, 0x02
	sum := int(unicast[56])<<8 + int(unicast[57]) + 0x2001 - 0xff02
	if sum <= 0 {
		sum += 0xffff
	}
	from[56], from[57] = byte(sum>>8), byte(sum)
	if m, ok := readNDP(from); ok {
		t.Errorf("a multicast source was read as %+v", m)
	}
}

// FuzzRead: whatever arrives, no protocol panics, changes the frame, or reads
// from it what its own filter would have dropped; what it answers goes from
// this station to the one that asked, and answers nothing in turn.
func FuzzRead(f *testing.F) {
	s := Station{MAC: testMAC}
	for _, target := range []string{"192.0.2.100", "192.0.2.101"} {
		f.Add(seedARP(netip.MustParseAddr(target)))
	}
	for _, target := range []string{"2001:db8::100", "2001:db8::101"} {
		f.Add(seedNDP(netip.MustParseAddr(target), &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: askerMAC}))
		f.Add(seedNDP(netip.MustParseAddr(target), ndp.NewNonce()))
	}
	for _, b := range append(announceARP(addr4, s), announceNDP(addr6, s)...) {
		f.Add(b)
	}
	f.Add(probeARP(addr4, s))
	f.Add(probeNDP(addr6, s))
	f.Add([]byte{})
	f.Add(make([]byte, MaxFrame))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []Protocol{ARP(), NDP()} {
			before := bytes.Clone(b)
			m, ok := p.Read(b)
			if !bytes.Equal(before, b) {
				t.Errorf("%s changed the frame %x into %x", p.Name, before, b)
			}
			if !ok {
				continue
			}
			for _, addr := range []netip.Addr{m.Asks, m.Holds} {
				if addr.IsValid() && !passes(t, p, []netip.Addr{addr}, b) {
					t.Errorf("%s read %+v from %x, which its filter drops", p.Name, m, b)
				}
			}
			if !m.Asks.IsValid() {
				continue
			}
			reply := p.Answer(m, s)
			if !bytes.Equal(reply[6:12], testMAC) {
				t.Errorf("%s answered %x by %x, from the wrong station", p.Name, b, reply)
			}
			if again, ok := p.Read(reply); !ok || again.Asks.IsValid() || again.Holds != m.Asks && m.Asks.IsValid() && !m.Asks.IsUnspecified() {
				t.Errorf("%s answered %x by %x, which is read as %+v", p.Name, b, reply, again)
			}
		}
	})
}

// passes runs the filter but its first conditions, which ask the kernel about
// more than the frame.
func passes(t *testing.T, p Protocol, addrs []netip.Addr, b []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(p.Filter(1, addrs, FullFilter)[PreambleLen:])
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}
