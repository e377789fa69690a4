// Package udp carries BFD control packets over UDP sockets of Linux. Sessions
// share the sockets that receive: one for each port, family and device. Each
// sends from a socket of its own, whose source port RFC 5881 §4 wants unique.
package udp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// The source ports of RFC 5881 §4.
const (
	firstSource = 49152
	sources     = 65536 - firstSource
	// sourceTries is how many of them are tried before the session waits.
	sourceTries = 64
)

// networkControl is the class of service of routing protocols (CS6).
const networkControl = 0xc0

// Wire opens sockets in the network namespace of the process.
type Wire struct {
	mu        sync.Mutex
	receivers map[key]*receiver
	receive   func([]bfd.Datagram) // nil before Deliver
	ctx       context.Context
	running   sync.WaitGroup
}

// key is what sessions share a receiver by. The index tells a device from one
// that was made later under the same name.
type key struct {
	port   uint16
	ipv6   bool
	device string
	index  int
}

// New returns a wire without sockets.
func New() *Wire { return &Wire{receivers: map[key]*receiver{}} }

// Deliver implements bfd.Wire.
func (w *Wire) Deliver(ctx context.Context, receive func([]bfd.Datagram)) error {
	w.mu.Lock()
	w.receive, w.ctx = receive, ctx
	for _, r := range w.receivers {
		w.start(r)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.receive = nil
	var err error
	for k, r := range w.receivers {
		err = errors.Join(err, r.file.Close())
		delete(w.receivers, k)
	}
	w.mu.Unlock()
	w.running.Wait()
	return err
}

// start has r deliver. The lock is held.
func (w *Wire) start(r *receiver) {
	receive := w.receive
	w.running.Go(func() { r.run(receive) })
}

// Drain implements bfd.Wire.
func (w *Wire) Drain() {
	w.mu.Lock()
	receive := w.receive
	receivers := make([]*receiver, 0, len(w.receivers))
	for _, r := range w.receivers {
		receivers = append(receivers, r)
	}
	w.mu.Unlock()
	for _, r := range receivers {
		r.drain(receive)
	}
}

// port sends the packets of one session.
type port struct {
	wire *Wire
	conn net.Conn
	peer netip.Addr
	key  key
}

// Open implements bfd.Wire.
func (w *Wire) Open(path bfd.Path) (bfd.Port, error) {
	k := key{port: path.ListenPort(), ipv6: path.Peer.Is6(), device: path.Device}
	zone := path.Peer.Zone()
	if zone == "" && path.Peer.IsLinkLocalUnicast() && path.Peer.Is6() {
		zone = path.Device
	}
	peer, err := numbered(path.Peer, zone)
	if err != nil {
		return nil, err
	}
	if path.Device != "" {
		device, err := net.InterfaceByName(path.Device)
		if err != nil {
			return nil, fmt.Errorf("bind to the device %s: %w", path.Device, err)
		}
		k.index = device.Index
	}
	conn, err := dial(path, peer)
	if err != nil {
		return nil, err
	}
	if err := w.join(k); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &port{wire: w, conn: conn, peer: peer, key: k}, nil
}

// numbered writes a link-local address with the number of its zone, as
// datagrams have it; any other without a zone.
func numbered(a netip.Addr, zone string) (netip.Addr, error) {
	if zone == "" || !a.IsLinkLocalUnicast() || !a.Is6() {
		return a.WithZone(""), nil
	}
	if _, err := strconv.Atoi(zone); err == nil {
		return a.WithZone(zone), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the interface %s of %s: %w", zone, a, err)
	}
	return a.WithZone(strconv.Itoa(link.Index)), nil
}

// dial makes the socket that sends, from a free port of RFC 5881's range.
func dial(path bfd.Path, peer netip.Addr) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return prepareToSend(fd, path) })
	}}
	local := path.Local.WithZone("")
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if peer.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	if local.Is6() && local.IsLinkLocalUnicast() {
		local = local.WithZone(peer.Zone())
	}
	first := rand.IntN(sources)
	for i := range sourceTries {
		source := uint16(firstSource + (first+i)%sources)
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, source))
		conn, err := dialer.Dial("udp", netip.AddrPortFrom(peer, path.ListenPort()).String())
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("send BFD packets to %s: %w", path.Peer, explain(err))
		}
		return conn, nil
	}
	return nil, fmt.Errorf("send BFD packets to %s: no source port from %d to 65535 was found free", path.Peer, firstSource)
}

// explain adds a hint to what the kernel says of an address.
func explain(err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%w: this host does not have the local address", err)
	}
	return err
}

func prepareToSend(fd int, path bfd.Path) error {
	options := []option{{unix.IPPROTO_IP, unix.IP_TTL, 255}, {unix.IPPROTO_IP, unix.IP_TOS, networkControl}}
	if path.Peer.Is6() {
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS, networkControl}}
	}
	options = append(options, option{unix.SOL_SOCKET, unix.SO_PRIORITY, 6})
	if err := set(fd, options); err != nil {
		return err
	}
	return bind(fd, path.Device)
}

type option struct{ level, name, value int }

func set(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

func bind(fd int, device string) error {
	if device == "" {
		return nil
	}
	if err := unix.BindToDevice(fd, device); err != nil {
		return fmt.Errorf("bind to the device %s: %w", device, err)
	}
	return nil
}

// control runs f on the socket under c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}

// Send implements bfd.Port.
func (p *port) Send(b []byte) error {
	_, err := p.conn.Write(b)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return bfd.ErrRefused
	}
	return err
}

// Peer implements bfd.Port.
func (p *port) Peer() netip.Addr { return p.peer }

// Close implements bfd.Port.
func (p *port) Close() error { return errors.Join(p.conn.Close(), p.wire.part(p.key)) }
