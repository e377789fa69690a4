package intent

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NodeAddresses returns the internal addresses of a node, as it tells them.
func NodeAddresses(n *corev1.Node) (out []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out = append(out, addr)
		}
	}
	return out
}

// NodeAddress returns the address at which the other nodes reach n: the first
// internal one, of IPv4 if there is any.
func NodeAddress(n *corev1.Node) netip.Addr {
	all := NodeAddresses(n)
	if i := slices.IndexFunc(all, netip.Addr.Is4); i >= 0 {
		return all[i]
	}
	if len(all) == 0 {
		return netip.Addr{}
	}
	return all[0]
}

// NodeAddressV6 returns the first internal IPv6 address of n; invalid: it has none.
func NodeAddressV6(n *corev1.Node) netip.Addr {
	all := NodeAddresses(n)
	if i := slices.IndexFunc(all, netip.Addr.Is6); i >= 0 {
		return all[i]
	}
	return netip.Addr{}
}

// Join lists addresses, in words.
func Join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
