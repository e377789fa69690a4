package layer2

import (
	"net"
	"net/netip"
	"time"
)

// Standing is how this node stands to an address that it claims.
type Standing struct {
	Addr    netip.Addr
	State   State
	Links   []string  // that it is claimed on, and which are up; sorted
	Foreign []Foreign // who else was seen to have it lately, first seen first; at most four
}

// Foreign is a host that is no node of the cluster, or its MAC is not known to be
// one's, and that says it has an address of this node.
type Foreign struct {
	MAC  net.HardwareAddr
	Link string // where it was seen
}

// forget is how long after its last sign of life a foreign host counts as gone, as
// long as we announce the address ourselves: then nothing makes it fsm.
const forget = 10 * time.Minute

// Standings returns how this node stands to each address that it claims,
// sorted by address.
func (a *Announcer) Standings() []Standing {
	links := *a.links.Load()
	var out []Standing
	for _, e := range a.claims.Load().Entries() {
		if e.Lent() {
			continue
		}
		state, seen := e.Holding.State()
		s := Standing{Addr: e.Addr, State: state}
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
