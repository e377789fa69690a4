package neighbor

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

// spoilt returns a frame after do has changed its payload. The ICMPv6 checksum fits
// again if it is one.
func spoilt(b []byte, fits bool, do func(payload []byte)) []byte {
	out := bytes.Clone(b)
	p := out[offPayload:]
	if do(p); !fits {
		return out
	}
	src, dst, icmp := addr16(p[8:]), addr16(p[24:]), p[ipv6HeaderLen:ipv6HeaderLen+int(p[5])]
	for sum := range 1 << 16 {
		if icmp[2], icmp[3] = byte(sum>>8), byte(sum); checksumOK(src, dst, icmp) {
			break
		}
	}
	return out
}

// Each check refuses what meets all others.
func TestEachCheckRefusesSomething(t *testing.T) {
	source := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: askerMAC}
	question := seedNDP(addr6, source)
	answer := answerNDP(Message{Sender: askerMAC, Asks: addr6, From: netip.MustParseAddr("2001:db8::1")}, Station{MAC: testMAC})
	probe := probeNDP(addr6, Station{MAC: testMAC})
	group := SolicitedNode(addr6)
	nowhere := destination{addr: group, mac: multicastMAC(group)}
	broken := map[string][]byte{
		"hop limit 255":                  spoilt(question, true, func(p []byte) { p[7] = 254 }),
		"checksum":                       spoilt(question, false, func(p []byte) { p[ipv6HeaderLen+2] ^= 1 }),
		"code 0":                         spoilt(question, true, func(p []byte) { p[ipv6HeaderLen+1] = 1 }),
		"target is no multicast address": seedNDP(netip.MustParseAddr("ff02::100"), source),
		"options have a length, and end with the message":                  spoilt(question, true, func(p []byte) { p[ipv6HeaderLen+messageLen+1] = 0 }),
		"from the unspecified address only to the solicited-node group":    icmpFrame(&ndp.NeighborSolicitation{TargetAddress: addr6}, netip.IPv6Unspecified(), askerMAC, allNodes()),
		"from the unspecified address without a source link-layer address": icmpFrame(&ndp.NeighborSolicitation{TargetAddress: addr6, Options: []ndp.Option{source}}, netip.IPv6Unspecified(), askerMAC, nowhere),
		"to a group only unsolicited":                                      icmpFrame(&ndp.NeighborAdvertisement{TargetAddress: addr6, Solicited: true}, addr6, testMAC, allNodes()),
		"source is no multicast address":                                   spoilt(question, true, func(p []byte) { p[8], p[9] = 0xff, 0x02 }),
		"link-layer address is one station's":                              seedNDP(addr6, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{1, 0, 0, 0, 0, 1}}),
	}
	for _, good := range [][]byte{question, answer, probe} {
		var r received
		if _, ok := readNDP(good); !ok || !r.parse(good) {
			t.Fatalf("%x is refused, so the others prove nothing", good)
		}
	}
	for i, c := range ndpChecks {
		var r received
		b, ok := broken[c.condition]
		if !ok || !r.parse(b) {
			t.Errorf("there is no message that breaks %s %q", c.section, c.condition)
			continue
		}
		for j, other := range ndpChecks {
			if other.holds(&r) != (i != j) {
				t.Errorf("what breaks %q: %q holds is %t", c.condition, other.condition, i == j)
			}
		}
		if m, ok := readNDP(b); ok {
			t.Errorf("what breaks %q is read as %+v", c.condition, m)
		}
	}
	request := seedARP(addr4)
	brokenARP := map[string][]byte{
		"hardware type is Ethernet": spoilt(request, false, func(p []byte) { p[1] = 6 }),
		"protocol type is IPv4":     spoilt(request, false, func(p []byte) { p[2] = 0x86 }),
		"sender is one station":     spoilt(request, false, func(p []byte) { p[8] |= 1 }),
	}
	for i, c := range arpChecks {
		var f ethernet.Frame
		var p arp.Packet
		b, there := brokenARP[c.condition]
		if !there || f.UnmarshalBinary(b) != nil || p.UnmarshalBinary(f.Payload) != nil {
			t.Errorf("there is no packet that breaks %q", c.condition)
			continue
		}
		for j, other := range arpChecks {
			if other.holds(&p) != (i != j) {
				t.Errorf("what breaks %q: %q holds is %t", c.condition, other.condition, i == j)
			}
		}
		if m, ok := readARP(b); ok {
			t.Errorf("what breaks %q is read as %+v", c.condition, m)
		}
	}
}

// An option that a solicitation may not have is ignored, whatever it says (RFC 4861
// section 7.1.1).
func TestAForeignOptionIsIgnored(t *testing.T) {
	const mtu = 5
	foreign := &ndp.RawOption{Type: mtu, Length: 3, Value: make([]byte, 22)} // an MTU has a length of 1
	if m, ok := readNDP(seedNDP(addr6, foreign)); !ok || m.Asks != addr6 || !bytes.Equal(m.Sender, askerMAC) {
		t.Errorf("it is read as %+v, %t", m, ok)
	}
}

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name  string
		frame []byte
		read  func([]byte) (Message, bool)
	}{
		{"ARP", seedARP(addr4), readARP},
		{"NDP", seedNDP(addr6, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: askerMAC}), readNDP},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := c.read(c.frame); !ok {
					b.Fatal("it is refused")
				}
			}
		})
	}
}
