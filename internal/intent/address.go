package intent

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NodeAddress returns the address at which the other nodes reach n: the first
// internal one, of IPv4 if there is any.
func NodeAddress(n *corev1.Node) netip.Addr {
	var best netip.Addr
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if a.Type != corev1.NodeInternalIP || err != nil {
			continue
		}
		if !best.IsValid() || addr.Is4() && !best.Is4() {
			best = addr
		}
	}
	return best
}

// Join lists addresses, in words.
func Join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
