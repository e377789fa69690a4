package failover

import (
	"maps"
	"net/netip"
	"time"
)

// Phase says how much of the others' decisions this node knows. The package
// documentation has the diagram.
type Phase string

// The phases.
const (
	Starting  Phase = "Starting"  // the API server was not heard for long enough yet
	Synced    Phase = "Synced"    // nothing was missed
	Isolated  Phase = "Isolated"  // this node hears no other speaker, and no gateway
	Stalled   Phase = "Stalled"   // this process stalled for so long that others may have what it had
	Resyncing Phase = "Resyncing" // it was Isolated or Stalled, and has not heard all since
)

const (
	// stallRecovery is how long after a stall the others have had time to take
	// this node's addresses over, if they held it for dead.
	stallRecovery = 3 * time.Second
	// probeAllAfter is how long the API server may take, after this node was
	// Isolated or Stalled, until the node probes all that it might come to have.
	probeAllAfter = 2 * time.Second
)

// missed reports whether others may have decided something that this node has
// not heard.
func (p Phase) missed() bool { return p == Isolated || p == Stalled || p == Resyncing }

// transition enters the phase of this Step. What happened while the node was
// Isolated or Stalled is to be read past the cache: until then the API server
// counts as not heard.
func (p *pass) transition() {
	p.stalled = p.Stalls != p.stalls
	p.stalls = p.Stalls
	switch {
	case p.stalled:
		p.stalledAt = p.Now
	case p.API.Reachable || p.Now.Sub(p.stalledAt) >= stallRecovery:
		p.stalledAt = time.Time{}
	}
	was := p.State.phase
	if p.stalled || was == Isolated && !p.Members.Isolated {
		p.resyncAt, p.Resync = p.Now, true
		p.API = API{WasSynced: p.API.WasSynced}
	}
	switch {
	case p.Members.Isolated:
		p.Phase = Isolated
	case !p.stalledAt.IsZero():
		p.Phase = Stalled
	case was.missed() && !p.API.Synced:
		p.Phase = Resyncing
	case !p.API.WasSynced:
		p.Phase = Starting
	default:
		p.Phase = Synced
	}
	if p.Phase == Synced && was != Synced {
		p.syncedAt = p.Now
	}
	p.State.phase = p.Phase
	p.missSegments()
}

// missSegments records the segments on which this node reaches no member.
func (p *pass) missSegments() {
	for segment, v := range p.Members.Segments {
		if v.Isolated {
			p.missedOn[segment] = p.Now
		}
	}
	maps.DeleteFunc(p.missedOn, func(segment netip.Prefix, _ time.Time) bool {
		v, watched := p.Members.Segments[segment]
		heard := !watched || !v.Isolated && p.API.Synced
		if heard {
			p.syncedAt = p.Now
		}
		return heard
	})
}

// missed reports whether others may have decided something about an address that this
// node has not heard: at all, or because its link in the address's segment was dead.
func (p *pass) missed(a netip.Addr) bool {
	for segment := range p.missedOn {
		if segment.Contains(a) {
			return true
		}
	}
	return p.Phase.missed()
}
