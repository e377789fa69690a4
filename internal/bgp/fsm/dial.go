package fsm

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// dialTimeout is how long a router may take to accept a connection.
const dialTimeout = 3 * time.Second

// connect dials until there is a connection; nil: the session has ended.
func (s *Session) connect() net.Conn {
	for {
		s.report(func(to Listener) { to.StateChanged(Active, 0) })
		conn, err := dial(s.ctx, s.peer)
		if err == nil {
			return conn
		}
		if s.ctx.Err() != nil {
			return nil
		}
		s.report(func(to Listener) { to.ConnectFailed(describeDialError(s.peer, err)) })
		if !wait.Sleep(s.ctx, jitter(ConnectTime(s.peer))) {
			return nil
		}
	}
}

// jitter shortens a time by up to a quarter (RFC 4271 section 10).
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/4)
}

// dial connects to the peer.
func dial(ctx context.Context, p announce.Peer) (net.Conn, error) {
	family := "tcp6"
	if p.Addr.Is4() {
		family = "tcp4"
	}
	port := p.Port
	if port == 0 {
		port = bgpPort
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = prepare(int(fd), p) })
		return errors.Join(err, failed)
	}}
	d.SetMultipathTCP(false) // Multipath TCP has neither signatures nor TTLs
	if p.SourceAddr.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.SourceAddr.AsSlice(), Zone: p.SourceAddr.Zone()}
	}
	return d.DialContext(ctx, family, net.JoinHostPort(p.Addr.String(), strconv.Itoa(int(port))))
}

// prepare sets the options of a socket before it connects.
func prepare(fd int, p announce.Peer) error {
	if p.Device != "" {
		if err := unix.BindToDevice(fd, p.Device); err != nil {
			return err
		}
	}
	if err := setHops(fd, p); err != nil {
		return err
	}
	if p.Password == "" {
		return nil
	}
	return sign(fd, p)
}

// ipv6MinHopCount is IPV6_MINHOPCOUNT of linux/in6.h.
const ipv6MinHopCount = 73

// setHops sets the TTL to send with and the lowest TTL to accept (GTSM, RFC 5082). A
// peer in another AS is one hop away unless its configuration says otherwise.
func setHops(fd int, p announce.Peer) error {
	level, hops, least, class := unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ipv6MinHopCount, unix.IPV6_TCLASS
	if p.Addr.Is4() {
		level, hops, least, class = unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL, unix.IP_TOS
	}
	const cs6 = 0xc0 // network control, as routers use
	if err := unix.SetsockoptInt(fd, level, class, cs6); err != nil {
		return err
	}
	switch {
	case p.MinTTL != 0:
		return errors.Join(unix.SetsockoptInt(fd, level, hops, 255), unix.SetsockoptInt(fd, level, least, int(p.MinTTL)))
	case p.MultiHopTTL != 0:
		return unix.SetsockoptInt(fd, level, hops, int(p.MultiHopTTL))
	case !internal(p):
		return unix.SetsockoptInt(fd, level, hops, 1)
	}
	return nil
}

// sign makes the kernel sign each segment (RFC 2385).
func sign(fd int, p announce.Peer) error {
	s := unix.TCPMD5Sig{Keylen: uint16(len(p.Password))} // at most maxPassword, as Check has it
	copy(s.Key[:], p.Password)
	if p.Addr.Is4() {
		s.Addr.Family = unix.AF_INET
		copy(s.Addr.Data[2:], p.Addr.AsSlice()) // after the port
	} else {
		s.Addr.Family = unix.AF_INET6
		copy(s.Addr.Data[6:], p.Addr.AsSlice()) // after port and flow label
	}
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &s)
}

// localAddr returns this side's address of a connection.
func localAddr(conn net.Conn) netip.Addr {
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
