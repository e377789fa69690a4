package neighbour

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
	src, dst := netip.MustParseAddr("2001:db8::1"), SolicitedNode(target)
	m, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: target, Options: []ndp.Option{option}}, src, dst)
	if err != nil {
		panic(err)
	}
	h := append([]byte{6 << 4, 0, 0, 0, 0, byte(len(m)), protoICMPv6, hopLimit}, append(src.AsSlice(), dst.AsSlice()...)...)
	return frame(multicastMAC(dst), askerMAC, append(h, m...), ethernet.EtherTypeIPv6)
}

func TestMulticastIsNobody(t *testing.T) {
	everything := Station{MAC: testMAC, Claims: func(netip.Addr) bool { return true }}
	unicast := seedNDP(addr6, ndp.NewNonce())
	if answerNDP(unicast, everything) == nil {
		t.Error("an ordinary solicitation is not answered, so the others prove nothing")
	}
	if reply := answerNDP(seedNDP(netip.MustParseAddr("ff02::100"), ndp.NewNonce()), everything); reply != nil {
		t.Errorf("RFC 4861 7.1.1: a multicast target was answered by %x", reply)
	}
	// The source's first bytes become a multicast one, and the checksum fits again.
	from := bytes.Clone(unicast)
	from[22], from[23] = 0xff, 0x02
	sum := int(unicast[56])<<8 + int(unicast[57]) + 0x2001 - 0xff02
	if sum <= 0 {
		sum += 0xffff
	}
	from[56], from[57] = byte(sum>>8), byte(sum)
	if reply := answerNDP(from, everything); reply != nil {
		t.Errorf("a multicast source was answered by %x", reply)
	}
}

// FuzzAnswer: whatever arrives, no protocol panics, or answers for what is not
// claimed, or answers what its own kernel filter would have dropped.
func FuzzAnswer(f *testing.F) {
	for _, target := range []string{"192.0.2.100", "192.0.2.101"} {
		f.Add(seedARP(netip.MustParseAddr(target)))
	}
	for _, target := range []string{"2001:db8::100", "2001:db8::101"} {
		f.Add(seedNDP(netip.MustParseAddr(target), &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: askerMAC}))
		f.Add(seedNDP(netip.MustParseAddr(target), ndp.NewNonce()))
	}
	f.Add([]byte{})
	f.Add(make([]byte, MaxFrame))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []Protocol{ARP(), NDP()} {
			asked := map[netip.Addr]bool{}
			s := Station{MAC: testMAC, Claims: func(a netip.Addr) bool {
				asked[a] = true
				return a == addr4 || a == addr6
			}}
			before := bytes.Clone(b)
			reply := p.Answer(b, s)
			if !bytes.Equal(before, b) {
				t.Errorf("%s changed the frame %x into %x", p.Name, before, b)
			}
			if reply == nil {
				continue
			}
			if !asked[addr4] && !asked[addr6] {
				t.Errorf("%s answered %x without a claim", p.Name, b)
			}
			if !passes(t, p, b) {
				t.Errorf("%s answered %x, which its filter drops", p.Name, b)
			}
			if !bytes.Equal(reply[6:12], testMAC) || bytes.Equal(reply[:6], testMAC) {
				t.Errorf("%s answered %x by %x, from or to the wrong station", p.Name, b, reply)
			}
			if again := p.Answer(reply, s); again != nil {
				t.Errorf("%s answered its own answer %x by %x", p.Name, reply, again)
			}
		}
	})
}

// passes runs the filter but its first two conditions, which ask the kernel
// about more than the frame.
func passes(t *testing.T, p Protocol, b []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(p.Filter[6:])
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestFilterDropsWhatNobodyAnswers(t *testing.T) {
	reply := seedARP(addr4)
	reply[21] = 2
	routed := seedNDP(addr6, ndp.NewNonce())
	routed[21] = 254
	advertisement := announceNDP(addr6, askerMAC)[0]
	cases := []struct {
		name  string
		p     Protocol
		frame []byte
		want  bool
	}{
		{"ARP sees requests", ARP(), seedARP(addr4), true},
		{"ARP doesn't see replies", ARP(), reply, false},
		{"ARP doesn't see IPv6", ARP(), advertisement, false},
		{"NDP sees solicitations", NDP(), seedNDP(addr6, ndp.NewNonce()), true},
		{"NDP doesn't see what came through a router", NDP(), routed, false},
		{"NDP doesn't see advertisements", NDP(), advertisement, false},
		{"NDP doesn't see ARP", NDP(), seedARP(addr4), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := passes(t, c.p, c.frame); got != c.want {
				t.Errorf("passes = %t, want %t", got, c.want)
			}
		})
	}
}
