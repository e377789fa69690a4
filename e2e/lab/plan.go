package lab

import (
	"fmt"
	"net/netip"
)

// maxNodes leaves 192.0.2.100 to .200 free for a pool of layer-2 addresses.
const maxNodes = 89

// The address plan. All racks use the same one: their hosts never meet.
const (
	lanV4, lanV6         = "192.0.2.%d", "2001:db8:2::%d"
	outsideV4, outsideV6 = "198.51.100.%d", "2001:db8:51::%d"
	podsV4, podsV6       = "10.244.0.0/16", "fd00:10:244::/48"
	servicesV4           = "10.96.0.0/16"
	servicesV6           = "fd00:10:96::/112"
)

// Host is one machine of a rack.
type Host struct {
	// Name is router, client, control, outside, switch, or node1, node2, ….
	Name string
	// V4 and V6 are its addresses with the length of their link; the switch
	// has none (zero), the router has .1 and ::1 of the outside link as well.
	V4, V6 netip.Prefix
	// Node is 1 for node1 and so on; 0 for a host that is not a node.
	Node int
}

// Hosts lists every host of the rack, nodes last.
func (o Options) Hosts() []Host {
	hosts := []Host{
		{Name: "switch"},
		lanHost("router", 1),
		lanHost("client", 2),
		lanHost("control", 3),
		{Name: "outside", V4: at(outsideV4, 2, 24), V6: at(outsideV6, 2, 64)},
	}
	return append(hosts, o.nodes()...)
}

func (o Options) nodes() []Host {
	var nodes []Host
	for i := 1; i <= o.Nodes; i++ {
		h := lanHost(fmt.Sprintf("node%d", i), 10+i)
		h.Node = i
		nodes = append(nodes, h)
	}
	return nodes
}

func lanHost(name string, n int) Host {
	return Host{Name: name, V4: at(lanV4, n, 24), V6: at(lanV6, n, 64)}
}

// at writes n into an address: in IPv6 with the same decimal digits, so that
// .11 and ::11 are the same host to the eye.
func at(format string, n, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf(format, n)), bits)
}

// pods returns the node's Pod CIDRs.
func (h Host) pods() (v4, v6 netip.Prefix) {
	return netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", h.Node)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", h.Node))
}
