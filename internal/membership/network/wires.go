package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// packetWire sends requests on one link, by ARP or NDP.
type packetWire struct {
	*packet.Conn
	proto neighbor.Protocol
	self  neighbor.Station
	own   []netip.Prefix // the link's addresses of the family; for IPv6 only link-local ones
}

// openWire opens a socket for requests on a link for addrs, which are all of one family.
func openWire(link *net.Interface, addrs []netip.Addr) (wire, error) {
	if len(link.HardwareAddr) != len([6]byte{}) {
		return nil, fmt.Errorf("link %s is not Ethernet", link.Name)
	}
	w := packetWire{proto: neighbor.ARP(), self: neighbor.Station{MAC: link.HardwareAddr}}
	if !addrs[0].Is4() {
		w.proto = neighbor.NDP()
	}
	own, err := link.Addrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Name, err)
	}
	for _, a := range own {
		// For IPv6 the source is link-local: every host on the link can answer that.
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() == addrs[0].Is4() && (p.Addr().Is4() || p.Addr().IsLinkLocalUnicast()) {
			w.own = append(w.own, p)
		}
	}
	filter, err := bpf.Assemble(w.proto.Filter(link.Index, addrs, neighbor.FullFilter))
	if err != nil {
		return nil, fmt.Errorf("assemble the filter for %s: %w", w.proto.Name, err)
	}
	if w.Conn, err = packet.Listen(link, packet.Raw, int(w.proto.EtherType), &packet.Config{Filter: filter}); err != nil {
		return nil, fmt.Errorf("open a socket for %s: %w", w.proto.Name, err)
	}
	return w, nil
}

// from returns the source address of a request for addr: the one in addr's subnet, because
// hosts may not answer others (Linux with arp_filter or rp_filter does not); else the first.
// It is unspecified on a link without an address of the family.
func (w packetWire) from(addr netip.Addr) netip.Addr {
	i := slices.IndexFunc(w.own, func(p netip.Prefix) bool { return p.Contains(addr) })
	switch {
	case i >= 0:
		return w.own[i].Addr()
	case len(w.own) > 0:
		return w.own[0].Addr()
	case addr.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (w packetWire) ask(addr netip.Addr) error {
	frame := w.proto.Ask(addr, w.from(addr), w.self)
	_, err := w.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	return err
}

func (w packetWire) answer() (netip.Addr, [6]byte, error) {
	b := make([]byte, neighbor.MaxFrame)
	for {
		n, _, err := w.ReadFrom(b)
		if err != nil {
			return netip.Addr{}, [6]byte{}, err
		}
		if addr, mac, ok := w.read(b[:n]); ok {
			return addr, mac, nil
		}
	}
}

// read returns the address that a frame says its sender has, and the sender's MAC. Requests
// do not count, nor do frames with this node's own MAC.
func (w packetWire) read(frame []byte) (netip.Addr, [6]byte, bool) {
	m, ok := w.proto.Read(frame)
	if !ok || m.Asks.IsValid() || !m.Holds.IsValid() || string(m.Sender) == string(w.self.MAC) {
		return netip.Addr{}, [6]byte{}, false
	}
	return m.Holds, [6]byte(m.Sender), true
}
