package bgp

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ports"
)

// beside returns an error if another program of this node, such as that of a network plugin,
// has a session with the router of p. To the router both would be one neighbor: a second
// connection is refused (RFC 4271 section 6.8), or ends the first one where the router takes
// it for a restart (RFC 4724 section 5).
func beside(p announce.Peer) error {
	if p.Device != "" {
		return nil // the kernel's table does not tell of which VRF a connection is
	}
	local, err := localAddress(p)
	if err != nil {
		return nil //nolint:nilerr // dialing tells why the router can't be reached
	}
	if program := ports.Connected(netip.AddrPortFrom(p.Addr, cmp.Or(p.Port, 179)), local); program != "" {
		return fmt.Errorf("another program of this node has a BGP session with %s from %s, and a router has one with each address: %s; "+
			"give this session an address of its own (sourceAddressFrom, sourcePrefix)", p.Addr, local, program)
	}
	return nil
}
