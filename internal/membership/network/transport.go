// Package network connects speakers: it carries their datagrams over UDP, probes hosts and
// addresses by ARP and NDP, which need no speaker, and keeps the kernel's neighbor entries
// of other speakers. It does not decide which members are alive: packages membership and
// failover do.
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

// source returns a control message with the source address; nil for the zero Addr. The one
// for IPv4 also works on a dual-stack socket.
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
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // the error only says that it was closed
	b := make([]byte, largest)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err == nil: // else an ICMP error for a datagram that was sent
			receive(b[:n])
		}
	}
}
