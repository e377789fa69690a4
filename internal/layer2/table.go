package layer2

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// table holds the claims for look-up by address. It never changes.
type table struct {
	addrs []netip.Addr // sorted, none twice
	links map[netip.Addr][]announce.Links
}

func newTable(claims []announce.Claim) *table {
	t := &table{links: make(map[netip.Addr][]announce.Links, len(claims))}
	for _, c := range claims {
		addr := c.Addr.Unmap()
		if !addr.IsValid() {
			continue // the zero Claim claims nothing
		}
		if _, ok := t.links[addr]; !ok {
			t.addrs = append(t.addrs, addr)
		}
		t.links[addr] = append(t.links[addr], c.Links)
	}
	slices.SortFunc(t.addrs, netip.Addr.Compare)
	return t
}

// claims says whether some claim wants addr answered on the named link.
func (t *table) claims(addr netip.Addr, link string) bool {
	return slices.ContainsFunc(t.links[addr], func(l announce.Links) bool { return l.Match(link) })
}

// on returns the addresses of one family to answer for on the named link.
func (t *table) on(link string, f family) []netip.Addr {
	var addrs []netip.Addr
	for _, addr := range t.addrs {
		if familyOf(addr) == f && t.claims(addr, link) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// has says whether on would return something.
func (t *table) has(link string, f family) bool {
	return slices.ContainsFunc(t.addrs, func(addr netip.Addr) bool {
		return familyOf(addr) == f && t.claims(addr, link)
	})
}

// family is the address family that one socket speaks for.
type family string

const (
	ipv4 family = "IPv4"
	ipv6 family = "IPv6"
)

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return ipv4
	}
	return ipv6
}

// role is what one worker does: speak one family's protocol on one link. A
// link whose MAC changed, or that lost its carrier meanwhile, gives another
// role: all is announced again.
type role struct {
	family family
	link   string
	index  int    // of the interface, in the kernel
	mac    string // 6 raw bytes
	epoch  uint32 // of the device
}

// roles returns what must be done for the claims on the links as they are.
func roles(devices []device, t *table) map[role]bool {
	wanted := map[role]bool{}
	for _, d := range devices {
		for _, f := range []family{ipv4, ipv6} {
			if d.Up && t.has(d.Name, f) {
				wanted[role{family: f, link: d.Name, index: d.index, mac: string(d.MAC), epoch: d.epoch}] = true
			}
		}
	}
	return wanted
}
