// Package network is what speakers tell one another by, UDP, and how they look
// for signs of life that need no speaker: ARP and NDP.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// largest is longer than any datagram that speakers send.
const largest = 1 << 16

// Transport carries datagrams over UDP, both families.
type Transport struct {
	port uint16
	conn atomic.Pointer[net.UDPConn]
}

// NewTransport returns a Transport that listens on port, and sends to it, once Deliver runs.
func NewTransport(port uint16) *Transport { return &Transport{port: port} }

// Send implements membership.Transport.
func (p *Transport) Send(from, to netip.Addr, b []byte) error {
	conn := p.conn.Load()
	if conn == nil {
		return net.ErrClosed
	}
	_, _, err := conn.WriteMsgUDPAddrPort(b, source(from), netip.AddrPortFrom(to, p.port))
	return err
}

// source is a control message that says from which address to send; nil for the zero Addr.
// That for IPv4 is right for a socket of both families, too.
func source(from netip.Addr) []byte {
	switch {
	case from.Is4():
		return (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
	case from.Is6():
		return (&ipv6.ControlMessage{Src: from.AsSlice()}).Marshal()
	}
	return nil
}

// Deliver implements membership.Transport.
func (p *Transport) Deliver(ctx context.Context, receive func([]byte)) error {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(p.port)})
	if err != nil {
		return fmt.Errorf("listen for other speakers on UDP port %d: %w", p.port, err)
	}
	p.conn.Store(conn)
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // its error says that it was closed
	b := make([]byte, largest)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err == nil: // else an ICMP error, for something that was sent
			receive(b[:n])
		}
	}
}
