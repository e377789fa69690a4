package layer2

import (
	"net"
	"net/netip"
	"time"
)

// Standing is how this node stands to an address that it claims.
type Standing struct {
	Addr     netip.Addr
	State    State
	Links    []string         // that it is claimed on, and which are up; sorted
	Stranger net.HardwareAddr // who else was seen to have it lately; nil: nobody
	Link     string           // where the stranger was seen
}

// forget is how long after its last sign of life a stranger counts as gone, as
// long as we announce the address ourselves: then nothing makes it speak.
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
		if seen != (sighting{}) {
			s.Stranger, s.Link = net.HardwareAddr(seen.MAC[:]), seen.Link
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
