// Package claim holds the addresses that a node answers for, for look-up by
// address and link, and what is known of each.
//
// It sends nothing, and reads no clock.
package claim

import (
	"net"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Table holds the claims for look-up by address. It never changes; the Holdings
// in it do. The nil Table is empty.
type Table struct {
	entries []*Entry // sorted by address, none twice
	of      map[netip.Addr]*Entry
}

// Entry is a claimed address.
type Entry struct {
	Addr    netip.Addr
	Holding *Holding
	Round   uint64 // of the claim

	links []announce.Links
	as    map[string]net.HardwareAddr // by link: the MAC of a node in whose place this one answers
}

// New takes over from the table before what is known of addresses that
// stay. An address that is new here is on trial if its claim is the first one
// ever, else it can be answered at once. lapses is how many there were.
func New(claims []announce.Claim, before *Table, lapses uint64) *Table {
	t := &Table{of: make(map[netip.Addr]*Entry, len(claims))}
	for _, c := range claims {
		addr := c.Addr.Unmap()
		if !addr.IsValid() {
			continue // the zero Claim claims nothing
		}
		e, ok := t.of[addr]
		if !ok {
			e = &Entry{Addr: addr, Holding: before.holding(addr)}
			if e.Holding == nil {
				e.Holding = newHolding(c.New, lapses)
			}
			t.of[addr] = e
			t.entries = append(t.entries, e)
		}
		e.Round = max(e.Round, c.Round)
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
	slices.SortFunc(t.entries, func(a, b *Entry) int { return a.Addr.Compare(b.Addr) })
	return t
}

func (t *Table) holding(addr netip.Addr) *Holding {
	if t == nil || t.of[addr] == nil {
		return nil
	}
	return t.of[addr].Holding
}

// Entries returns all, sorted by address. They must not be changed.
func (t *Table) Entries() []*Entry { return t.entries }

// Of returns what is claimed of an address; nil: it is not.
func (t *Table) Of(addr netip.Addr) *Entry { return t.of[addr] }

// Claimed returns the Holding of an address if it is claimed on the named link.
func (t *Table) Claimed(addr netip.Addr, name string) *Holding {
	if e := t.of[addr]; e != nil && e.On(name) {
		return e.Holding
	}
	return nil
}

// Disguise returns the MAC of the node in whose place this one answers for the
// address on the named link; nil: it answers for itself.
func (t *Table) Disguise(addr netip.Addr, name string) net.HardwareAddr {
	if e := t.of[addr]; e != nil && !e.Own(name) {
		return e.as[name]
	}
	return nil
}

// On says that the address is answered for on the named link.
func (e *Entry) On(name string) bool { return e.Own(name) || e.as[name] != nil }

// Own says that the address is this node's own to announce on the named link.
func (e *Entry) Own(name string) bool {
	return slices.ContainsFunc(e.links, func(l announce.Links) bool { return l.Match(name) })
}

// Lent says that this node answers for the address in another one's place only.
func (e *Entry) Lent() bool { return len(e.links) == 0 }

// On returns the addresses of one family that are claimed on the named link.
func (t *Table) On(name string, f Family) []*Entry {
	var out []*Entry
	for _, e := range t.entries {
		if FamilyOf(e.Addr) == f && e.On(name) {
			out = append(out, e)
		}
	}
	return out
}

// Has says whether On would return something.
func (t *Table) Has(name string, f Family) bool {
	return slices.ContainsFunc(t.entries, func(e *Entry) bool { return FamilyOf(e.Addr) == f && e.On(name) })
}

// Family is the family of an address.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// FamilyOf returns the family of an address.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}
