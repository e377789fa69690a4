package layer2

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// The stations of all tests, pure or on a wire.
const (
	nodeMAC   = "02:00:00:00:00:0a"
	clientMAC = "02:00:00:00:00:01"
	ownerMAC  = "02:00:00:00:00:0b" // of a node that restarts
	vip4      = "192.0.2.100"
	vip6      = "2001:db8::100"
)

// exchangeClaims are what the node claims in the exchanges below.
func exchangeClaims() []announce.Claim {
	return []announce.Claim{
		{Addr: netip.MustParseAddr(vip4)},
		{Addr: netip.MustParseAddr(vip6), Links: announce.Links{Only: []string{"n*"}}},
		{Addr: netip.MustParseAddr("192.0.2.101"), Links: announce.Links{Only: []string{"other*"}}},
		{Addr: netip.MustParseAddr("2001:db8::101"), Links: announce.Links{Except: []string{"n?"}}},
		{Addr: netip.MustParseAddr("192.0.2.103"), ProxyReplies: []announce.ProxyReply{{Link: "n0", MAC: [6]byte(mac(ownerMAC))}}},
		{Addr: netip.MustParseAddr("2001:db8::103"), ProxyReplies: []announce.ProxyReply{{Link: "n0", MAC: [6]byte(mac(ownerMAC))}}},
		{Addr: netip.MustParseAddr("192.0.2.104"), ProxyReplies: []announce.ProxyReply{{Link: "other", MAC: [6]byte(mac(ownerMAC))}}},
	}
}

// exchange is a question and the answer that the RFC asks for, "" for none.
type exchange struct {
	name string
	send []byte
	want string
}

const (
	arpAnswer = "ARP reply to 02:00:00:00:00:01 from 02:00:00:00:00:0a: 192.0.2.100 is at 02:00:00:00:00:0a; for %s at 02:00:00:00:00:01"
	ndpAnswer = "NA to %s from 02:00:00:00:00:0a: 2001:db8::100 -> %s hops 255 router=false solicited=%t override=true target=2001:db8::100 mac=02:00:00:00:00:0a"
)

func arpExchanges() []exchange {
	answered := fmt.Sprintf(arpAnswer, "192.0.2.1")
	plain := question{}
	return []exchange{
		{"RFC 826: a broadcast request for a claimed address is answered to its sender alone", plain.arp(), answered},
		{"RFC 1122 2.3.2.1: a unicast request, which checks that we are still there, is answered", question{dst: nodeMAC}.arp(), answered},
		{"RFC 5227 2.1.1: a probe is answered, so that no other host takes the address", question{source: "0.0.0.0"}.arp(), fmt.Sprintf(arpAnswer, "0.0.0.0")},
		{"RFC 5227 3: an announcement by another host is no question", question{source: vip4}.arp(), ""},
		{"RFC 826: a reply is no question", question{edit: set(21, 2)}.arp(), ""},
		{"RFC 826: another hardware type is ignored", question{edit: set(15, 6)}.arp(), ""},
		{"RFC 826: another protocol type is ignored", question{edit: set(17, 1)}.arp(), ""},
		{"RFC 826: other address lengths are ignored", question{edit: set(18, 8)}.arp(), ""},
		{"a request in our own name is ignored", question{mac: nodeMAC}.arp(), ""},
		{"a request that names a group as its sender's MAC is ignored", question{mac: "ff:ff:ff:ff:ff:ff"}.arp(), ""},
		{"a request for an address that no host claims is left alone", question{target: "192.0.2.102"}.arp(), ""},
		{"a request for an address claimed on other links is left alone", question{target: "192.0.2.101"}.arp(), ""},
		{"for a node that restarts, with its MAC, in a frame from our own", question{target: "192.0.2.103"}.arp(),
			"ARP reply to 02:00:00:00:00:01 from 02:00:00:00:00:0a: 192.0.2.103 is at 02:00:00:00:00:0b; for 192.0.2.1 at 02:00:00:00:00:01"},
		{"on a link where we stand in for no host, silence", question{target: "192.0.2.104"}.arp(), ""},
	}
}

func ndpExchanges() []exchange {
	answered := fmt.Sprintf(ndpAnswer, clientMAC, "2001:db8::1", true)
	return []exchange{
		{"RFC 4861 7.2.4: a solicitation for a claimed address is answered to its sender alone", question{}.ndp(), answered},
		{"for a node that restarts, with its MAC, in a frame from our own", question{target: "2001:db8::103"}.ndp(),
			"NA to 02:00:00:00:00:01 from 02:00:00:00:00:0a: 2001:db8::103 -> 2001:db8::1 hops 255 router=false solicited=true override=true target=2001:db8::103 mac=02:00:00:00:00:0b"},
		{"RFC 4861 7.3.3: a unicast solicitation without options, which checks that we are still there, is answered",
			question{dst: nodeMAC, group: vip6, options: []ndp.Option{}}.ndp(), answered},
		{"RFC 4862 5.4.3: duplicate address detection is answered to all nodes, as unsolicited",
			question{source: "::", options: []ndp.Option{}}.ndp(), fmt.Sprintf(ndpAnswer, "33:33:00:00:00:01", "ff02::1", false)},
		{"RFC 7527: duplicate address detection with a nonce is answered too",
			question{source: "::", options: []ndp.Option{ndp.NewNonce()}}.ndp(), fmt.Sprintf(ndpAnswer, "33:33:00:00:00:01", "ff02::1", false)},
		{"RFC 4861 7.1.1: unknown options are ignored",
			question{options: []ndp.Option{sourceOption(clientMAC), &ndp.RawOption{Type: 200, Length: 1, Value: make([]byte, 6)}}}.ndp(), answered},
		{"RFC 4861 7.1.1: a hop limit below 255 came through a router and is refused", question{edit: set(21, 254)}.ndp(), ""},
		{"RFC 4861 7.1.1: a wrong checksum is refused", question{edit: flip(56)}.ndp(), ""},
		{"RFC 4861 7.1.1: a code other than 0 is refused", question{message: set(1, 1)}.ndp(), ""},
		{"RFC 4861 7.1.1: a message shorter than 24 bytes is refused", question{edit: set(19, 16)}.ndp(), ""},
		{"RFC 4861 7.1.1: a message longer than its frame is refused", question{edit: set(18, 4)}.ndp(), ""},
		{"RFC 4861 7.1.1: a multicast target is refused", question{target: "ff02::1", group: "ff02::1"}.ndp(), ""},
		{"RFC 4861 7.1.1: an option of length 0 is refused",
			question{options: []ndp.Option{&ndp.RawOption{Type: 200, Length: 1, Value: make([]byte, 6)}}, message: set(25, 0)}.ndp(), ""},
		{"RFC 4861 7.1.1: from ::, but not to the solicited-node group, is refused",
			question{source: "::", group: "ff02::1", options: []ndp.Option{}}.ndp(), ""},
		{"RFC 4861 7.1.1: from ::, but with a source link-layer address, is refused", question{source: "::"}.ndp(), ""},
		{"a solicitation in our own name is ignored", question{mac: nodeMAC}.ndp(), ""},
		{"an advertisement is no question", question{message: set(0, 136)}.ndp(), ""},
		{"a solicitation for an address that no host claims is left alone", question{target: "2001:db8::102"}.ndp(), ""},
		{"a solicitation in the same group for an address that no host claims is left alone",
			question{target: "2001:db8::1:0:0:100"}.ndp(), ""},
		{"a solicitation for an address claimed on other links is left alone", question{target: "2001:db8::101"}.ndp(), ""},
	}
}

// testExchanges sends the questions by ask, which returns the answer or nil.
func testExchanges(t *testing.T, exchanges []exchange, ask func(*testing.T, []byte) []byte) {
	for _, e := range exchanges {
		t.Run(e.name, func(t *testing.T) {
			if diff := cmp.Diff(e.want, describe(ask(t, e.send))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExchangesPure runs the exchanges on a worker without a socket.
func TestExchangesPure(t *testing.T) {
	a := New(slog.New(slog.DiscardHandler), Options{})
	a.Set(exchangeClaims())
	for f, exchanges := range map[family][]exchange{ipv4: arpExchanges(), ipv6: ndpExchanges()} {
		w := newWorker(a, role{family: f, link: "n0", mac: string(mac(nodeMAC))}, nil)
		testExchanges(t, exchanges, func(t *testing.T, f []byte) []byte {
			m, ok := w.read(f)
			if !ok {
				return nil
			}
			return w.reply(m, neighbor.NewLimiter())
		})
	}
}

// question is an ARP request or a neighbor solicitation; what is left out is
// proxies an ordinary client asks for the claimed address.
type question struct {
	dst, mac       string // MACs: of the frame's receiver, of who asks
	source, target string
	group          string // IPv6 destination
	options        []ndp.Option
	message        func([]byte) // edits the ICMPv6 message before its checksum
	edit           func([]byte) // edits the frame
}

func (q question) arp() []byte {
	from := mac(or(q.mac, clientMAC))
	p, err := arp.NewPacket(arp.OperationRequest, from, netip.MustParseAddr(or(q.source, "192.0.2.1")),
		make(net.HardwareAddr, 6), netip.MustParseAddr(or(q.target, vip4)))
	must(err)
	b, err := p.MarshalBinary()
	must(err)
	return q.frame(ethernet.Frame{Destination: mac(or(q.dst, "ff:ff:ff:ff:ff:ff")), EtherType: ethernet.EtherTypeARP, Payload: b})
}

func (q question) ndp() []byte {
	target, src := netip.MustParseAddr(or(q.target, vip6)), netip.MustParseAddr(or(q.source, "2001:db8::1"))
	a := target.As16()
	dst := netip.MustParseAddr(or(q.group, fmt.Sprintf("ff02::1:ff%02x:%02x%02x", a[13], a[14], a[15])))
	options := q.options
	if options == nil {
		options = []ndp.Option{sourceOption(or(q.mac, clientMAC))}
	}
	m, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: target, Options: options}, src, dst)
	must(err)
	if q.message != nil {
		q.message(m)
		fixChecksum(m, append(src.AsSlice(), dst.AsSlice()...))
	}
	h := append([]byte{6 << 4, 0, 0, 0, 0, byte(len(m)), 58, 255}, append(src.AsSlice(), dst.AsSlice()...)...)
	g := dst.As16()
	to := fmt.Sprintf("33:33:%02x:%02x:%02x:%02x", g[12], g[13], g[14], g[15])
	return q.frame(ethernet.Frame{Destination: mac(or(q.dst, to)), EtherType: ethernet.EtherTypeIPv6, Payload: append(h, m...)})
}

func (q question) frame(f ethernet.Frame) []byte {
	f.Source = mac(or(q.mac, clientMAC))
	if f.Source[0]&1 == 1 {
		f.Source = mac(clientMAC) // no NIC would send that; only the payload says so
	}
	b, err := f.MarshalBinary()
	must(err)
	if q.edit != nil {
		q.edit(b)
	}
	return b
}

// fixChecksum computes the checksum of an ICMPv6 message that was edited.
func fixChecksum(m, addrs []byte) {
	m[2], m[3] = 0, 0
	sum := len(m) + 58
	for _, b := range [][]byte{addrs, m} {
		for ; len(b) >= 2; b = b[2:] {
			sum += int(b[0])<<8 + int(b[1])
		}
	}
	sum = 0xffff - sum%0xffff
	m[2], m[3] = byte(sum>>8), byte(sum)
}

func set(at int, to byte) func([]byte) { return func(f []byte) { f[at] = to } }
func flip(at int) func([]byte)         { return func(f []byte) { f[at] ^= 0xff } }

func sourceOption(s string) ndp.Option {
	return &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac(s)}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	must(err)
	return m
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// describe tells in words what is in an ARP or advertisement frame.
func describe(b []byte) string {
	if b == nil {
		return ""
	}
	var f ethernet.Frame
	must(f.UnmarshalBinary(b))
	if f.EtherType == ethernet.EtherTypeARP {
		var p arp.Packet
		must(p.UnmarshalBinary(f.Payload))
		return fmt.Sprintf("ARP %s to %s from %s: %s is at %s; for %s at %s", strings.ToLower(strings.TrimPrefix(p.Operation.String(), "Operation")),
			f.Destination, f.Source, p.SenderIP, p.SenderHardwareAddr, p.TargetIP, p.TargetHardwareAddr)
	}
	p := f.Payload
	m := p[40 : 40+int(p[5])]
	src, dst := netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
	parsed, err := ndp.ParseMessage(m)
	must(err)
	if ns, ok := parsed.(*ndp.NeighborSolicitation); ok {
		return fmt.Sprintf("NS to %s from %s: %s -> %s hops %d target=%s", f.Destination, f.Source, src, dst, p[7], ns.TargetAddress)
	}
	na, ok := parsed.(*ndp.NeighborAdvertisement)
	if !ok {
		return fmt.Sprintf("%T", parsed)
	}
	again, err := ndp.MarshalMessageChecksum(na, src, dst)
	must(err)
	text := fmt.Sprintf("NA to %s from %s: %s -> %s hops %d router=%t solicited=%t override=%t target=%s",
		f.Destination, f.Source, src, dst, p[7], na.Router, na.Solicited, na.Override, na.TargetAddress)
	for _, o := range na.Options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Target {
			text += " mac=" + l.Addr.String()
		}
	}
	if !bytes.Equal(again, m) {
		text += " with a wrong checksum"
	}
	return text
}
