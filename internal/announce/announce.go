// Package announce decides what one node announces of the addresses of Services: which of
// them it answers for on its links (layer 2), and which routes it advertises to which BGP
// peers.
//
// It does not decide which Service gets which address (package ipam does) or which speakers
// are alive (package failover does). It sends nothing (packages layer2 and bgp do), and reads
// no clock: equal snapshots give equal plans on every node.
package announce

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Claim tells a node to answer ARP (RFC 826) or NDP (RFC 4861) for one
// address. The zero Claim is not valid.
type Claim struct {
	Addr     netip.Addr
	Links    Links
	NeedsDAD bool // no node is known to have announced it: probe first whether a foreign host has it
	// Ignore are links on which foreign hosts that answer for the address are ignored.
	Ignore []Links
	// ProxyReplies, if not empty, has the node answer for another one that restarts: on these
	// links only, with that node's MAC, and without announcements.
	ProxyReplies []ProxyReply
	// Generation is for package failover: when it changes, the address is announced again.
	// Decide leaves it 0.
	Generation uint64
}

// ProxyReply is the MAC to answer with on a link.
type ProxyReply struct {
	Link string
	MAC  [6]byte
}

// Links selects network interfaces by name: exact names or globs of
// path.Match's syntax. The zero value selects every interface that can speak
// layer 2.
type Links struct {
	Only   []string // empty: all
	Except []string // wins over Only
}

// Match reports whether the interface is selected.
func (l Links) Match(name string) bool {
	matches := func(pattern string) bool {
		if pattern == name { // the usual case, without parsing a glob
			return true
		}
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	}
	return (len(l.Only) == 0 || slices.ContainsFunc(l.Only, matches)) && !slices.ContainsFunc(l.Except, matches)
}

// Selects reports whether the link is selected: also one without an address of its own, if
// Only has its exact name.
func (l Links) Selects(link Link) bool {
	return l.Match(link.Name) && (!link.Unnumbered || slices.Contains(l.Only, link.Name))
}

// Named returns the names in Only that are no globs.
func (l Links) Named() []string {
	return slices.DeleteFunc(slices.Clone(l.Only), func(name string) bool { return strings.ContainsAny(name, `*?[\`) })
}

// Peering is one BGP session to hold, with all the routes to advertise in it.
type Peering struct {
	Peer   Peer
	Routes []Route // sorted by prefix; no prefix twice; peerings may share one list
	Waits  bool    // a session that is up must not be reset yet, whatever has changed
}

// Route is one prefix with its final path attributes (RFC 4271 section 5).
type Route struct {
	Prefix      netip.Prefix
	LocalPref   uint32           // LOCAL_PREF; 0: not sent; only internal peers see it
	MED         uint32           // MULTI_EXIT_DISC; meaningful if HasMED
	HasMED      bool             //
	Bandwidth   uint32           // link bandwidth in Mbit/s (draft-ietf-idr-link-bandwidth); 0: not sent
	Prepend     int              // how often the local AS number is prepended beyond once
	Communities []uint32         // RFC 1997; sorted
	Large       []LargeCommunity // RFC 8092; sorted
	Leaving     bool             // it will be withdrawn soon, and is sent with GRACEFUL_SHUTDOWN (RFC 8326); its LocalPref does not count
}

// LargeCommunity is a BGP large community (RFC 8092).
type LargeCommunity struct{ Global, Data1, Data2 uint32 }

// Compare orders large communities by their parts.
func (c LargeCommunity) Compare(d LargeCommunity) int {
	return cmp.Or(cmp.Compare(c.Global, d.Global), cmp.Compare(c.Data1, d.Data1), cmp.Compare(c.Data2, d.Data2))
}

func (c LargeCommunity) String() string {
	return fmt.Sprintf("large:%d:%d:%d", c.Global, c.Data1, c.Data2)
}

// Equal reports whether r and s would be sent as the same UPDATE.
func (r Route) Equal(s Route) bool {
	return r.Prefix == s.Prefix && r.LocalPref == s.LocalPref && r.MED == s.MED && r.HasMED == s.HasMED && r.Bandwidth == s.Bandwidth &&
		r.Prepend == s.Prepend && r.Leaving == s.Leaving && slices.Equal(r.Communities, s.Communities) && slices.Equal(r.Large, s.Large)
}

func (r Route) String() string {
	var b strings.Builder
	b.WriteString(r.Prefix.String())
	if r.LocalPref != 0 {
		fmt.Fprintf(&b, " local-pref %d", r.LocalPref)
	}
	if r.HasMED {
		fmt.Fprintf(&b, " med %d", r.MED)
	}
	if r.Prepend != 0 {
		fmt.Fprintf(&b, " prepend %d", r.Prepend)
	}
	if r.Bandwidth != 0 {
		fmt.Fprintf(&b, " bandwidth %d", r.Bandwidth)
	}
	for _, c := range r.Communities {
		fmt.Fprintf(&b, " %d:%d", c>>16, c&0xffff)
	}
	for _, c := range r.Large {
		fmt.Fprintf(&b, " %s", c)
	}
	if r.Leaving {
		b.WriteString(" leaving")
	}
	return b.String()
}
