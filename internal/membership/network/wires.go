package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
)

// openWire opens a socket to ask on a link for addresses of the family of addr.
func openWire(link *net.Interface, addr netip.Addr) (wire, error) {
	if len(link.HardwareAddr) != len([6]byte{}) {
		return nil, fmt.Errorf("link %s is no Ethernet", link.Name)
	}
	if addr.Is4() {
		return openARP(link)
	}
	return openNDP(link)
}

// arpWire asks by ARP (RFC 826).
type arpWire struct {
	*packet.Conn
	mac  net.HardwareAddr
	from netip.Addr // 0.0.0.0 on a link without an address: a probe (RFC 5227 section 2.1.1)
}

func openARP(link *net.Interface) (wire, error) {
	const operation = 20 // where it stands in a frame
	onlyReplies, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: operation, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(arp.OperationReply), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble a filter: %w", err)
	}
	w := arpWire{mac: link.HardwareAddr, from: netip.IPv4Unspecified()}
	addrs, err := link.Addrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			w.from = p.Addr()
			break
		}
	}
	if w.Conn, err = packet.Listen(link, packet.Raw, int(ethernet.EtherTypeARP), &packet.Config{Filter: onlyReplies}); err != nil {
		return nil, fmt.Errorf("open a socket for ARP: %w", err)
	}
	return w, nil
}

func (w arpWire) ask(addr netip.Addr) error {
	p, err := arp.NewPacket(arp.OperationRequest, w.mac, w.from, make(net.HardwareAddr, 6), addr)
	if err != nil {
		return err
	}
	body, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	frame, err := (&ethernet.Frame{Destination: ethernet.Broadcast, Source: w.mac, EtherType: ethernet.EtherTypeARP, Payload: body}).MarshalBinary()
	if err != nil {
		return err
	}
	_, err = w.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	return err
}

func (w arpWire) answer() (netip.Addr, [6]byte, error) {
	b := make([]byte, 128)
	for {
		n, _, err := w.ReadFrom(b)
		if err != nil {
			return netip.Addr{}, [6]byte{}, err
		}
		if addr, mac, ok := readReply(b[:n]); ok && mac != [6]byte(w.mac) {
			return addr, mac, nil
		}
	}
}

// readReply returns who has which address, as an ARP reply says.
func readReply(b []byte) (netip.Addr, [6]byte, bool) {
	const fixed, lenMAC, lenIPv4 = 28, 6, 4
	var f ethernet.Frame
	var p arp.Packet
	if f.UnmarshalBinary(b) != nil || len(f.Payload) < fixed || f.Payload[4] != lenMAC || f.Payload[5] != lenIPv4 ||
		p.UnmarshalBinary(f.Payload) != nil || p.Operation != arp.OperationReply {
		return netip.Addr{}, [6]byte{}, false
	}
	return p.SenderIP, [6]byte(p.SenderHardwareAddr), true
}

// ndpWire asks by NDP (RFC 4861).
type ndpWire struct {
	*ndp.Conn
	mac net.HardwareAddr
}

func openNDP(link *net.Interface) (wire, error) {
	conn, _, err := ndp.Listen(link, ndp.LinkLocal)
	if err != nil {
		return nil, fmt.Errorf("open a socket for NDP: %w", err)
	}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeNeighborAdvertisement)
	if err := conn.SetICMPFilter(&only); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set the filter for NDP: %w", err)
	}
	return ndpWire{conn, link.HardwareAddr}, nil
}

func (w ndpWire) ask(addr netip.Addr) error {
	addr = addr.WithZone("")
	group, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return err
	}
	return w.WriteTo(&ndp.NeighborSolicitation{
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: w.mac}},
	}, nil, group)
}

// answer returns the zero MAC for an advertisement that tells none.
func (w ndpWire) answer() (netip.Addr, [6]byte, error) {
	b := make([]byte, 1500)
	for {
		n, _, _, err := w.ReadRaw(b)
		if err != nil {
			return netip.Addr{}, [6]byte{}, err
		}
		m, err := ndp.ParseMessage(b[:n])
		na, ok := m.(*ndp.NeighborAdvertisement)
		if err != nil || !ok {
			continue // somebody sends what can't be read
		}
		var mac [6]byte
		for _, o := range na.Options {
			if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Target && len(l.Addr) == len(mac) {
				mac = [6]byte(l.Addr)
			}
		}
		if mac != [6]byte(w.mac) {
			return na.TargetAddress, mac, nil
		}
	}
}
