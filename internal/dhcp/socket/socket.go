// Package socket sends and receives the messages of package dhcp on a link: broadcast, by packet
// sockets. So it needs no port of its own, and works beside other DHCP clients of the machine; it
// needs the capability NET_RAW. It does not look into the messages.
package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Socket is one family on one link.
type Socket struct {
	*packet.Conn
	link   *net.Interface
	family ipam.Family
}

// Open opens a socket on a link, which must be Ethernet.
func Open(link string, f ipam.Family) (*Socket, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("find the link %s: %w", link, err)
	}
	if len(ifi.HardwareAddr) != len([6]byte{}) {
		return nil, fmt.Errorf("the link %s is not Ethernet", link)
	}
	protocol, instructions := unix.ETH_P_IP, filter4()
	if f == ipam.IPv6 {
		protocol, instructions = unix.ETH_P_IPV6, filter6()
	}
	filter, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Datagram, protocol, &packet.Config{Filter: filter})
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open a packet socket on %s: %w: it needs the capability NET_RAW", link, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", link, err)
	}
	return &Socket{conn, ifi, f}, nil
}

// Gone reports whether the link is not there any more, or another one has its name.
func (s *Socket) Gone() bool {
	now, err := net.InterfaceByName(s.link.Name)
	return err != nil || now.Index != s.link.Index
}

// Send sends a message to all servers on the link.
func (s *Socket) Send(payload []byte) error {
	frame, target := datagram4(payload), net.HardwareAddr{255, 255, 255, 255, 255, 255}
	if s.family == ipam.IPv6 {
		source, err := s.source()
		if err != nil {
			return err
		}
		group := servers6().As16()
		frame, target = datagram6(source, payload), net.HardwareAddr{0x33, 0x33, group[12], group[13], group[14], group[15]} // RFC 2464 section 7
	}
	if _, err := s.WriteTo(frame, &packet.Addr{HardwareAddr: target}); err != nil {
		return fmt.Errorf("send on %s: %w", s.link.Name, err)
	}
	return nil
}

// source returns the link-local address, which DHCPv6 needs.
func (s *Socket) source() (netip.Addr, error) {
	all, err := s.link.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the addresses of %s: %w", s.link.Name, err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the link %s has no link-local address: DHCPv6 needs one", s.link.Name)
}

// Receive returns the next message from a server, and its source.
func (s *Socket) Receive() (payload []byte, from netip.Addr, err error) {
	for b := make([]byte, 2048); ; { // more than a frame of a message that package dhcp accepts
		n, _, err := s.ReadFrom(b)
		if err != nil {
			return nil, from, fmt.Errorf("receive on %s: %w", s.link.Name, err)
		}
		if payload, from, ok := read(b[:n]); ok {
			return payload, from, nil
		}
	}
}
