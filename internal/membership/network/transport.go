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
func (p *Transport) Send(to netip.Addr, b []byte) error {
	conn := p.conn.Load()
	if conn == nil {
		return net.ErrClosed
	}
	_, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, p.port))
	return err
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
