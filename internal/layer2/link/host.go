package link

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// HostAddress is an address of this node, and the link that has it.
type HostAddress struct {
	Addr netip.Addr
	Link string
}

// HostAddresses returns the addresses that this node's kernel has for itself, in the order
// of the kernel. It leaves out those of links that Ignored names: there kube-proxy and network
// plugins put addresses of Services and Pods.
func HostAddresses() ([]HostAddress, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if name := l.Attrs().Name; !matches(Ignored(), name) {
			names[l.Attrs().Index] = name
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []HostAddress
	for _, x := range addrs {
		a, ok := netip.AddrFromSlice(x.IP)
		if name := names[x.LinkIndex]; ok && name != "" && a.Unmap().IsGlobalUnicast() {
			out = append(out, HostAddress{a.Unmap(), name})
		}
	}
	return out, nil
}
