package layer2

import (
	"net"
	"net/netip"
	"time"
)

// AddressStatus is the state of an address that this node claims.
type AddressStatus struct {
	Addr    netip.Addr
	State   State
	Links   []string  // on which this node answers for it, and which are up; sorted
	Foreign []Foreign // foreign hosts that claimed it lately, the first seen first; at most four
}

// Foreign is a foreign host that claims an address of this node: a host that is no
// node of the cluster, or whose MAC no Speaker object names.
type Foreign struct {
	MAC  net.HardwareAddr
	Link string // where it was seen
}

// forget is how long after its last frame a foreign host counts as gone while this
// node announces the address: nothing makes the host send then.
const forget = 10 * time.Minute

// Addresses returns the state of each address that this node claims, sorted. It leaves
// out those that it only answers for in the place of another node.
func (a *Announcer) Addresses() []AddressStatus {
	links := *a.links.Load()
	var out []AddressStatus
	for _, e := range a.claims.Load().Entries() {
		if e.ProxyOnly() {
			continue
		}
		state, seen := e.Holding.State()
		s := AddressStatus{Addr: e.Addr, State: state}
		for _, f := range seen {
			s.Foreign = append(s.Foreign, Foreign{net.HardwareAddr(f.MAC[:]), f.Link})
		}
		for _, l := range links {
			if l.Up && e.Own(l.Name) {
				s.Links = append(s.Links, l.Name)
			}
		}
		out = append(out, s)
	}
	return out
}
