// Package udp carries BFD control packets over UDP sockets of Linux. Sessions share the
// receiving sockets: one for each port, family and device. Each session sends from its
// own socket, because RFC 5881 §4 requires unique source ports.
//
// It decides which datagrams can be packets of a peer and discards the others. Package
// bfd finds the session of a packet, and checks it.
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
	// sourceTries is how many of them are tried before Open fails.
	sourceTries = 64
)

// networkControl is the class of service of routing protocols (CS6).
const networkControl = 0xc0

// Wire opens sockets in the network namespace of the process.
type Wire struct {
	// Authenticated says that all sessions are authenticated: the kernel drops other
	// packets. It must not change after the first Open.
	Authenticated bool

	mu        sync.Mutex
	receivers map[key]*receiver
	receive   func([]bfd.Datagram) // nil before Deliver
	ctx       context.Context
	running   sync.WaitGroup
}

// key identifies a receiver; sessions with equal keys share it. The index distinguishes
// a device from a later one of the same name.
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
		r.drain(receive, drained)
	}
}

// port sends the packets of one session. Its socket is not in Go's poller: Send must
// never wait.
type port struct {
	wire *Wire
	fd   int
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
	fd, err := dial(path, peer)
	if err != nil {
		return nil, fmt.Errorf("send BFD packets to %s: %w", path.Peer, err)
	}
	if err := w.join(k, peer); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &port{wire: w, fd: fd, peer: peer, key: k}, nil
}

// numbered returns a link-local address with its zone as a number, as received datagrams
// have it, and any other address without a zone.
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

// dial opens the socket that sends, from a free port of RFC 5881's range. Its errors have
// the same text at each attempt.
func dial(path bfd.Path, peer netip.Addr) (fd int, err error) {
	local := path.Local.WithZone("")
	switch {
	case !local.IsValid() && peer.Is6():
		local = netip.IPv6Unspecified()
	case !local.IsValid():
		local = netip.IPv4Unspecified()
	case local.Is6() && local.IsLinkLocalUnicast():
		local = local.WithZone(peer.Zone())
	}
	fd, err = socket(peer.Is6())
	if err != nil {
		return 0, err
	}
	err = prepareToSend(fd, path)
	if err == nil {
		err = bindSource(fd, local)
	}
	if err == nil {
		err = os.NewSyscallError("connect", unix.Connect(fd, sockaddr(peer, path.ListenPort())))
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func bindSource(fd int, local netip.Addr) error {
	first := rand.IntN(sources)
	for i := range sourceTries {
		switch err := unix.Bind(fd, sockaddr(local, uint16(firstSource+(first+i)%sources))); {
		case errors.Is(err, unix.EADDRINUSE):
		case errors.Is(err, unix.EADDRNOTAVAIL):
			return fmt.Errorf("this host does not have the local address %s", local)
		default:
			return os.NewSyscallError("bind", err)
		}
	}
	return fmt.Errorf("no source port from %d to 65535 was found free", firstSource)
}

func socket(ipv6 bool) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}

// sockaddr converts an address, with a numbered zone if it has one, for the kernel.
func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	zone, _ := strconv.Atoi(a.Zone()) // 0 without a zone
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port), ZoneId: uint32(zone)}
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
	_, err := unix.Write(p.fd, b)
	if errors.Is(err, unix.ECONNREFUSED) {
		return bfd.ErrRefused
	}
	return os.NewSyscallError("send", err)
}

// Peer implements bfd.Port.
func (p *port) Peer() netip.Addr { return p.peer }

// Close implements bfd.Port.
func (p *port) Close() error {
	return errors.Join(os.NewSyscallError("close", unix.Close(p.fd)), p.wire.leave(p.key, p.peer))
}
