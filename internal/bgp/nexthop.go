package bgp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
)

// nextHops returns the next hops for routes to p: this node's own addresses. The
// session's own address serves its family. For the other family the node needs an
// address on the same interface. IPv4 routes can do without one if the router accepts
// an IPv6 next hop for them (RFC 8950); an unnumbered link has nothing else. problem
// says what is missing; "": nothing.
func nextHops(p announce.Peer, capabilities fsm.Capabilities) (h fsm.NextHops, problem string) {
	own4 := p.Addr.Is4()
	if own4 {
		h.V4 = netip.IPv4Unspecified()
	} else {
		h.V6 = netip.IPv6Unspecified()
	}
	switch {
	case !p.DualStack:
	case p.Interface != "":
		h.V4 = h.V6
	default:
		other, err := otherAddress(p)
		switch {
		case own4 && err != nil:
			problem = fmt.Sprintf("no IPv6 routes are offered: %v", err)
		case own4:
			h.V6 = other
		case err != nil: // an extended next hop may do
			h.V4 = h.V6
		default:
			h.V4 = other
		}
	}
	return agreed(p, h, capabilities, problem)
}

// agreed removes what the router does not accept, as far as that is known.
func agreed(p announce.Peer, h fsm.NextHops, capabilities fsm.Capabilities, problem string) (fsm.NextHops, string) {
	if !capabilities.Heard {
		return h, problem
	}
	var missing []string
	if p.DualStack || p.Addr.Is4() {
		switch {
		case !capabilities.IPv4:
			missing = append(missing, "IPv4 routes (RFC 4760)")
		case h.V4.Is6() && !capabilities.Extended:
			missing = append(missing, "IPv4 routes with an IPv6 next hop (RFC 8950), and the interface of the session has no IPv4 address")
		}
		if len(missing) > 0 {
			h.V4 = netip.Addr{}
		}
	}
	if (p.DualStack || !p.Addr.Is4()) && !capabilities.IPv6 {
		missing = append(missing, "IPv6 routes (RFC 4760)")
		h.V6 = netip.Addr{}
	}
	if len(missing) > 0 {
		problem = "in this session the router does not take " + strings.Join(missing, ", nor ")
	}
	return h, problem
}

// otherAddress finds an address of the family that the session does not use, on the
// session's interface.
func otherAddress(p announce.Peer) (netip.Addr, error) {
	local, err := localAddress(p)
	if err != nil {
		return netip.Addr{}, err
	}
	links, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		if local.Zone() != "" && local.Zone() != link.Name {
			continue
		}
		addrs, err := link.Addrs()
		if err != nil {
			continue // the interface has just been removed
		}
		on := addresses(addrs)
		if !contains(on, local) {
			continue
		}
		if other := pickOther(on, local); other.IsValid() {
			return other, nil
		}
		return netip.Addr{}, fmt.Errorf("interface %s of the session has no address for them", link.Name)
	}
	return netip.Addr{}, fmt.Errorf("no interface has the session's address %s", local)
}

// localAddress returns the session's address on this side: the configured one, or the
// one that the kernel would choose. Connecting a UDP socket sends nothing.
func localAddress(p announce.Peer) (netip.Addr, error) {
	if p.SourceAddr.IsValid() {
		return p.SourceAddr, nil
	}
	dialer := net.Dialer{Control: bindTo(p.Device)}
	conn, err := dialer.Dial("udp", netip.AddrPortFrom(p.Addr, 179).String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the session's local address: %w", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// bindTo returns a function that binds a socket to a device; nil for no device.
func bindTo(device string) func(network, address string, c syscall.RawConn) error {
	if device == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), device) }); err != nil {
			return err
		}
		return failed
	}
}

func addresses(addrs []net.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list
}

// contains reports whether list has a, without its zone: the addresses of an
// interface have none.
func contains(list []netip.Addr, a netip.Addr) bool {
	for _, b := range list {
		if b == a.WithZone("") {
			return true
		}
	}
	return false
}

// pickOther returns the lowest address of the other family that a router can use as a
// next hop; invalid: there is none.
func pickOther(list []netip.Addr, session netip.Addr) netip.Addr {
	var best netip.Addr
	for _, a := range list {
		if a.Is4() != session.Is4() && a.IsGlobalUnicast() && (!best.IsValid() || a.Less(best)) {
			best = a
		}
	}
	return best
}
