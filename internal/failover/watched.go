package failover

import (
	"maps"
	"time"
)

// recordWatched records which speakers to watch. A cable may have come loose just now: a lost speaker
// stays watched while its Lease is renewed.
func (p *pass) recordWatched() {
	p.Watched = make(map[string]Watched, len(p.Leases)+1)
	p.Watched[p.Node] = Watched{p.Leases[p.Node].Expired}
	p.recordCallers()
	p.recordHeardExpired()
	for node, lease := range p.Leases {
		_, revived := p.heardExpired[node]
		if !lease.Expired || revived || p.isAlive(node) || !p.callers[node].IsZero() {
			p.Watched[node] = Watched{lease.Expired && !revived}
		}
	}
}

// callMemory is for how long a speaker that called, and that no member watched, is watched. If
// it is there, it is heard by then.
const callMemory = 5 * time.Second

// recordCallers records the speakers that call and are no longer watched: their Leases had
// expired, and may not show yet that they are back.
func (p *pass) recordCallers() {
	for node, when := range p.Members.Callers {
		p.callers[node] = when
	}
	maps.DeleteFunc(p.callers, func(_ string, when time.Time) bool { return p.Now.Sub(when) >= callMemory })
}

// recordHeardExpired records which speakers are heard although their Leases have expired. The
// API server may go away before the Leases show that their speakers are back. Then an old Lease
// proves nothing.
func (p *pass) recordHeardExpired() {
	for node, lease := range p.Leases {
		switch when := p.heardExpired[node]; {
		case !lease.Expired:
			delete(p.heardExpired, node)
		case p.Members.Up > 0 && p.Members.Heard(node):
			p.heardExpired[node] = p.Now
		case p.API.Synced && p.Now.Sub(when) >= p.expiry():
			delete(p.heardExpired, node)
		}
	}
	maps.DeleteFunc(p.heardExpired, func(node string, _ time.Time) bool { _, leased := p.Leases[node]; return !leased })
}

// forgets returns when this node forgets the speakers that it remembers to have heard, if nothing
// else happens.
func (p *pass) forgets() (at []time.Time) {
	for _, when := range p.callers {
		at = append(at, when.Add(callMemory))
	}
	for _, when := range p.heardExpired {
		if p.API.Synced && when.Before(p.Now) { // else when it is heard no more, or the API server is
			at = append(at, when.Add(p.expiry()))
		}
	}
	return at
}

// expiry is how long a Lease must go without renewals to expire.
func (p *pass) expiry() time.Duration { return time.Duration(p.Misses) * p.Heartbeat }
