package intent

import (
	"fmt"
	"net/netip"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// special are the addresses at which no host of a network can be reached (RFC 6890),
// and what they are. The CEL rules also have them.
func special() []struct{ first, last, what string } {
	return []struct{ first, last, what string }{
		{"0.0.0.0", "0.255.255.255", "addresses of \"this network\" (RFC 1122)"},
		{"127.0.0.0", "127.255.255.255", "loopback addresses"},
		{"169.254.0.0", "169.254.255.255", linkLocal},
		{"224.0.0.0", "239.255.255.255", "multicast addresses"},
		{"240.0.0.0", "255.255.255.255", "reserved addresses (class E), the last of them broadcast"},
		{"::", "::1", "the unspecified or the loopback address"},
		{"::ffff:0:0", "::ffff:ffff:ffff", "IPv4 addresses in the form of IPv6"},
		{"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", linkLocal},
		{"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast addresses"},
	}
}

const linkLocal = "link-local addresses"

// specialIn says what special addresses r holds, and which, or "".
func specialIn(r ipam.Range) (what string, both ipam.Range) {
	for _, x := range special() {
		s := ipam.Range{First: netip.MustParseAddr(x.first), Last: netip.MustParseAddr(x.last)}
		if both, ok := ipam.Overlap([]ipam.Range{r}, []ipam.Range{s}); ok {
			return x.what, both
		}
	}
	return "", ipam.Range{}
}

// reachable says why no Service can be reached at some address of r, or nil.
func reachable(r ipam.Range) error {
	if what, both := specialIn(r); what != "" {
		return fmt.Errorf("%s-%s are %s, where no Service can be reached: take them out", both.First, both.Last, what)
	}
	return nil
}

// hostAddr says why a cannot be the address of a router or a node, or nil.
func hostAddr(a netip.Addr) error {
	if what, _ := specialIn(ipam.Range{First: a, Last: a}); what != "" && what != linkLocal {
		return fmt.Errorf("%s lies among %s: no host on a network has it", a, what)
	}
	return nil
}
