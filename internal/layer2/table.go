package layer2

import (
	"net"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
)

// table holds the claims for look-up by address. It never changes; the holdings
// in it do.
type table struct {
	entries []*entry // sorted by address, none twice
	of      map[netip.Addr]*entry
}

// entry is a claimed address.
type entry struct {
	addr    netip.Addr
	links   []announce.Links
	as      map[string]net.HardwareAddr // by link: the MAC of a node in whose place this one answers
	holding *holding
	round   uint64 // of the claim
}

// newTable takes over from the table before what is known of addresses that
// stay. An address that is new here is on trial if its claim is the first one
// ever, else it can be answered at once. lapses is how many there were.
func newTable(claims []announce.Claim, before *table, lapses uint64) *table {
	t := &table{of: make(map[netip.Addr]*entry, len(claims))}
	for _, c := range claims {
		addr := c.Addr.Unmap()
		if !addr.IsValid() {
			continue // the zero Claim claims nothing
		}
		e, ok := t.of[addr]
		if !ok {
			e = &entry{addr: addr, holding: before.holding(addr)}
			if e.holding == nil {
				e.holding = newHolding(c.New, lapses)
			}
			t.of[addr] = e
			t.entries = append(t.entries, e)
		}
		e.round = max(e.round, c.Round)
		if len(c.As) == 0 {
			e.links = append(e.links, c.Links)
		}
		for _, d := range c.As {
			if e.as == nil {
				e.as = map[string]net.HardwareAddr{}
			}
			e.as[d.Link] = net.HardwareAddr(d.MAC[:])
		}
	}
	slices.SortFunc(t.entries, func(a, b *entry) int { return a.addr.Compare(b.addr) })
	return t
}

func (t *table) holding(addr netip.Addr) *holding {
	if t == nil || t.of[addr] == nil {
		return nil
	}
	return t.of[addr].holding
}

// claimed returns the holding of an address if it is claimed on the named link.
func (t *table) claimed(addr netip.Addr, name string) *holding {
	if e := t.of[addr]; e != nil && e.on(name) {
		return e.holding
	}
	return nil
}

// disguise returns the MAC of the node in whose place this one answers for the
// address on the named link; nil: it answers for itself.
func (t *table) disguise(addr netip.Addr, name string) net.HardwareAddr {
	if e := t.of[addr]; e != nil && !e.own(name) {
		return e.as[name]
	}
	return nil
}

func (e *entry) on(name string) bool { return e.own(name) || e.as[name] != nil }

// own says that the address is this node's own to announce on the named link.
func (e *entry) own(name string) bool {
	return slices.ContainsFunc(e.links, func(l announce.Links) bool { return l.Match(name) })
}

// on returns the addresses of one family that are claimed on the named link.
func (t *table) on(name string, f family) []*entry {
	var out []*entry
	for _, e := range t.entries {
		if familyOf(e.addr) == f && e.on(name) {
			out = append(out, e)
		}
	}
	return out
}

// has says whether on would return something.
func (t *table) has(name string, f family) bool {
	return slices.ContainsFunc(t.entries, func(e *entry) bool { return familyOf(e.addr) == f && e.on(name) })
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
// link that changed, or lost its carrier meanwhile, gives another role: all is
// announced, and all groups are joined, again.
type role struct {
	family family
	link   string
	index  int    // of the interface, in the kernel
	mac    string // 6 raw bytes
	epoch  uint32 // of the device
	inet6  bool   // the kernel speaks IPv6 on it
	router bool   // it forwards IPv6
}

// roles returns what must be done for the claims on the links as they are.
func roles(devices []link.Device, t *table) map[role]bool {
	wanted := map[role]bool{}
	for _, d := range devices {
		if !d.Up {
			continue
		}
		r := role{link: d.Name, index: d.Index, mac: string(d.MAC), epoch: d.Epoch}
		if r.family = ipv4; t.has(d.Name, ipv4) {
			wanted[r] = true
		}
		if r.family = ipv6; t.has(d.Name, ipv6) {
			r.inet6, r.router = d.IPv6, d.Router
			wanted[r] = true
		}
	}
	return wanted
}
