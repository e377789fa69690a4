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

// nextHops returns the next hops for routes to p: those that p has, else this node's own
// addresses.
func nextHops(p announce.Peer, capabilities fsm.Capabilities) (fsm.NextHops, string) {
	var own fsm.NextHops
	var problem string
	if !p.DualStack || !p.NextHopV4.IsValid() || !p.NextHopV6.IsValid() {
		own, problem = ownNextHops(p)
	}
	if p.NextHopV4.IsValid() && (p.Addr.Is4() || p.DualStack) {
		own.V4 = p.NextHopV4
	}
	if p.NextHopV6.IsValid() && (p.Addr.Is6() || p.DualStack) {
		own.V6 = p.NextHopV6
	}
	return agreed(p, own, capabilities, problem)
}

// ownNextHops returns this node's addresses for routes to p. The
// session's own address serves its family. For the other family the node needs an
// address on the same interface. IPv4 routes can do without one if the router accepts
// an IPv6 next hop for them (RFC 8950); an unnumbered link has nothing else. problem
// says what is missing; "": nothing.
func ownNextHops(p announce.Peer) (h fsm.NextHops, problem string) {
	own4 := p.Addr.Is4()
	if own4 {
		h.V4 = netip.IPv4Unspecified()
	} else {
		h.V6 = netip.IPv6Unspecified()
	}
	switch {
	case !p.DualStack:
	case own4 && p.NextHopV6.IsValid() || !own4 && p.NextHopV4.IsValid():
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
	return h, problem
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
// session's interface: the Node's own address if that is there, else the best.
func otherAddress(p announce.Peer) (netip.Addr, error) {
	session, err := localAddress(p)
	if err != nil {
		return netip.Addr{}, err
	}
	own, err := ownAddresses()
	if err != nil {
		return netip.Addr{}, err
	}
	link := session.Zone()
	for _, o := range own {
		if link == "" && o.addr == session {
			link = o.link
		}
	}
	if link == "" {
		return netip.Addr{}, fmt.Errorf("no interface has the session's address %s", session)
	}
	if other := pickOther(own, link, session, p); other.IsValid() {
		return other, nil
	}
	return netip.Addr{}, fmt.Errorf("interface %s of the session has no address for them", link)
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

// pickOther returns the address on a link, of the family that the session does not use, that
// serves best as a next hop; invalid: there is none.
func pickOther(own []ownAddress, link string, session netip.Addr, p announce.Peer) (best netip.Addr) {
	for _, o := range own {
		if o.link != link || o.addr.Is4() == session.Is4() || o.rank == local {
			continue
		}
		if o.addr == p.NodeV4 || o.addr == p.NodeV6 {
			return o.addr
		}
		if !best.IsValid() {
			best = o.addr
		}
	}
	return best
}
