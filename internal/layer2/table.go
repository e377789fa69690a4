package layer2

import (
	"net"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// table holds the claims by address. A table never changes; the holdings in it do.
// The nil table is empty.
type table struct {
	facts   linkFacts
	entries []*entry // sorted by address, none twice
	of      map[netip.Addr]*entry
}

// entry is a claimed address.
type entry struct {
	Addr       netip.Addr
	Holding    *holding
	Generation uint64 // of the claim

	facts   linkFacts // of the table
	links   []announce.Links
	ignore  []announce.Links            // on these foreign hosts are ignored
	proxies map[string]net.HardwareAddr // by link: the MAC of the node in whose place this one answers
}

// linkFacts is what the table knows of links. It never changes.
type linkFacts struct {
	before     map[string][]string // by link: the links that come before it (link.Before)
	unnumbered map[string]bool     // links without an address of their own
}

// newTable returns a table of claims. Addresses that stay keep their holding of the
// table before. A new address is probed first if its claim has NeedsDAD, else it is
// answered at once. stalls is how many stalls there were until now.
func newTable(claims []announce.Claim, before *table, stalls uint64) *table {
	t := &table{of: make(map[netip.Addr]*entry, len(claims))}
	if before != nil {
		t.facts = before.facts
	}
	for _, c := range claims {
		addr := c.Addr.Unmap()
		if !addr.IsValid() {
			continue // the zero Claim claims nothing
		}
		e, ok := t.of[addr]
		if !ok {
			e = &entry{Addr: addr, Holding: before.holding(addr), facts: t.facts}
			if e.Holding == nil {
				e.Holding = newHolding(c.NeedsDAD, stalls)
			}
			t.of[addr] = e
			t.entries = append(t.entries, e)
		}
		e.Generation = max(e.Generation, c.Generation)
		e.ignore = append(e.ignore, c.Ignore...)
		if len(c.ProxyReplies) == 0 {
			e.links = append(e.links, c.Links)
		}
		for _, d := range c.ProxyReplies {
			if e.proxies == nil {
				e.proxies = map[string]net.HardwareAddr{}
			}
			e.proxies[d.Link] = net.HardwareAddr(d.MAC[:])
		}
	}
	slices.SortFunc(t.entries, func(a, b *entry) int { return a.Addr.Compare(b.Addr) })
	return t
}

// with returns the table with other facts about links.
func (t *table) with(facts linkFacts) *table {
	out := &table{facts: facts, of: make(map[netip.Addr]*entry, len(t.entries))}
	for _, e := range t.entries {
		e := *e
		e.facts = facts
		out.entries = append(out.entries, &e)
		out.of[e.Addr] = &e
	}
	return out
}

func (t *table) holding(addr netip.Addr) *holding {
	if t == nil || t.of[addr] == nil {
		return nil
	}
	return t.of[addr].Holding
}

// Entries returns all, sorted by address. They must not be changed.
func (t *table) Entries() []*entry { return t.entries }

// Of returns what is claimed of an address; nil: it is not.
func (t *table) Of(addr netip.Addr) *entry { return t.of[addr] }

// Claimed returns the holding of an address if it is claimed on the named link.
func (t *table) Claimed(addr netip.Addr, name string) *holding {
	if e := t.of[addr]; e != nil && e.On(name) {
		return e.Holding
	}
	return nil
}

// ProxyMAC returns the MAC of the node in whose place this one answers for the
// address on the named link (a proxy reply); nil: it answers for itself.
func (t *table) ProxyMAC(addr netip.Addr, name string) net.HardwareAddr {
	if e := t.of[addr]; e != nil && !e.Own(name) {
		return e.proxies[name]
	}
	return nil
}

// On reports whether this node answers for the address on the named link.
func (e *entry) On(name string) bool { return e.Own(name) || e.proxies[name] != nil }

// Own reports whether this node owns the address on the named link: it is claimed
// there, and on no link that comes before it.
func (e *entry) Own(name string) bool {
	return e.claimed(name) && !slices.ContainsFunc(e.facts.before[name], e.claimed)
}

func (e *entry) claimed(name string) bool {
	of := announce.Link{Name: name, Unnumbered: e.facts.unnumbered[name]}
	return slices.ContainsFunc(e.links, func(l announce.Links) bool { return l.Selects(of) })
}

// Ignores reports whether foreign hosts that answer for the address on the named link are ignored.
func (e *entry) Ignores(name string) bool {
	return slices.ContainsFunc(e.ignore, func(l announce.Links) bool { return l.Match(name) })
}

// ProxyOnly reports whether this node answers for the address only in another node's place.
func (e *entry) ProxyOnly() bool { return len(e.links) == 0 }

// On returns the addresses of one family that are claimed on the named link.
func (t *table) On(name string, f family) []*entry {
	var out []*entry
	for _, e := range t.entries {
		if familyOf(e.Addr) == f && e.On(name) {
			out = append(out, e)
		}
	}
	return out
}

// Has reports whether On would return anything.
func (t *table) Has(name string, f family) bool {
	return slices.ContainsFunc(t.entries, func(e *entry) bool { return familyOf(e.Addr) == f && e.On(name) })
}

// family is the family of an address.
type family string

// The families.
const (
	ipv4 family = "IPv4"
	ipv6 family = "IPv6"
)

// familyOf returns the family of an address.
func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return ipv4
	}
	return ipv6
}
