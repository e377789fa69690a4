package failover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// renewals are those of a Lease that were seen, without an outage of the API server,
// since its node, or a link of it, was lost.
type renewals struct {
	since time.Time // when it was lost; zero: this node does not know
	last  time.Time
	n     int
	// provedAlive: there were enough of them once, and the Lease has not expired since.
	// So the node is alive by its Lease, or was before the API server went away.
	provedAlive bool
	denied      bool // the Lease has expired, or its node reports that it is isolated
}

// recordPresence records which nodes are alive, which links work, and which speakers to watch.
func (p *pass) recordPresence() {
	p.countRenewals()
	nodes := slices.Clone(p.Cluster.Nodes)
	for i := range nodes {
		n := &nodes[i]
		n.Live = n.Name == p.Node || p.isAlive(n.Name)
		n.Links = p.observedLinks(n)
		n.Backups = p.backups(n)
	}
	p.Cluster.Nodes = nodes
	if p.API.Reachable {
		p.reachableAt = p.Now
	}
	// A cable may have come loose just now: a lost speaker stays watched while its
	// Lease is renewed.
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
		case p.API.Synced && p.Now.Sub(when) >= time.Duration(p.Misses)*p.Heartbeat:
			delete(p.heardExpired, node)
		}
	}
	maps.DeleteFunc(p.heardExpired, func(node string, _ time.Time) bool { _, leased := p.Leases[node]; return !leased })
}

// join sets whether others may count on this node, as they do when they hear it: not before
// it may claim something, and has asked once who has the addresses that it had before it
// started. Until then its backups answer for it.
func (p *pass) join() {
	p.joined = p.joined || p.API.Reachable && !p.asksForFormer()
	p.Join = p.joined
}

// backups is how many backups may answer for a node that restarts.
const backups = 6

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

// backups returns the backups of a node, in order: nodes with a link in one of its subnets.
func (p *pass) backups(of *announce.Node) []string {
	var out []string
	for _, name := range p.Members.Backups[of.Name] {
		i := slices.IndexFunc(p.Cluster.Nodes, func(n announce.Node) bool { return n.Name == name })
		if i >= 0 && sharesSubnet(of, &p.Cluster.Nodes[i]) {
			out = append(out, name)
		}
		if len(out) == backups {
			break
		}
	}
	return out
}

func sharesSubnet(a, b *announce.Node) bool {
	return slices.ContainsFunc(a.Links, func(l announce.Link) bool {
		return slices.ContainsFunc(b.Links, func(m announce.Link) bool {
			return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return slices.Contains(m.Prefixes, p) })
		})
	})
}

// isAlive reports whether a node is alive, before what was heard of it in conflicts.
//
//   - What the members found on the wire takes precedence over the Lease, which may arrive late.
//   - The Lease decides for a speaker that no member has reached yet.
//   - The Lease also decides for a speaker that was lost and still renews it. Otherwise
//     speakers that reach the API server, but not each other, would take addresses from each
//     other for ever.
//   - The Lease does not decide for a speaker that reports that it is isolated: that speaker
//     answers for nothing. Nor does what it told the members before, if this node has no session
//     with it that is Up: a session that never came Up can't show that it is lost.
//   - While the API server is unreachable, no Lease counts for a speaker that was lost: each
//     half of a network then continues alone. Nor does one count for a speaker that no member
//     has reached: it may not have come so far that it can take anything.
func (p *pass) isAlive(node string) bool {
	standing, known := p.Members.Standing[node]
	lease, leased := p.Leases[node]
	switch {
	case !leased:
		return false
	case standing == membership.Dead:
		return p.aliveByLease(nodeOrLink{node: node})
	case known && standing != membership.Unknown:
		return standing != membership.Alive || !p.API.Reachable || !p.Isolated[node] || !slices.Contains(p.Members.Down, node)
	case known && !p.API.Reachable:
		return false
	default:
		return !lease.Expired && !p.Isolated[node]
	}
}

// countRenewals counts the renewals of the Leases of nodes that are lost, or whose link in a
// segment is.
func (p *pass) countRenewals() {
	lost := p.lost()
	maps.DeleteFunc(p.renewals, func(nl nodeOrLink, _ renewals) bool {
		p.heardAgain = p.heardAgain || !lost[nl] && p.foundAlive(nl)
		return !lost[nl]
	})
	for nl := range lost {
		lease := p.Leases[nl.node]
		seen, known := p.renewals[nl]
		switch {
		case !known:
			if seen.last = lease.Renewed; p.before == nil || p.wasAlive(nl) {
				seen.since = p.Now // else it was not alive before: others may have known
			}
		case seen.last.IsZero():
			seen.last = lease.Renewed
		case !seen.last.Equal(lease.Renewed):
			seen.last, seen.n = lease.Renewed, seen.n+1
		}
		if !p.API.Reachable {
			seen.n = 0
		}
		seen.denied = lease.Expired || p.denies(nl)
		seen.provedAlive = (seen.provedAlive || seen.n >= p.Misses) && !seen.denied
		p.renewals[nl] = seen
	}
}

// foundAlive reports whether a node, or its link in a segment, is found alive on the wire. A node
// that is alive by its Lease is in another half of the network, whose hosts do not hear this
// node either.
func (p *pass) foundAlive(nl nodeOrLink) bool {
	standing, known := p.viewOf(nl).Standing[nl.node]
	return known && standing != membership.Dead && standing != membership.Unknown
}

// wasAlive reports whether a node was alive at the end of the last Step, or its link worked.
func (p *pass) wasAlive(nl nodeOrLink) bool {
	if nl.segment.IsValid() {
		return p.worked[nl]
	}
	return p.last.Alive[nl.node]
}

// lostBefore reports whether a node, or a link, was lost by then.
func (p *pass) lostBefore(nl nodeOrLink, then time.Time) bool {
	seen, lost := p.renewals[nl]
	return lost && !seen.since.After(then)
}

// mayBeAcrossPartition reports whether a node, or a link, that was lost was alive by its Lease when
// the API server was last heard: it may be in another half of the network.
func (p *pass) mayBeAcrossPartition(nl nodeOrLink) bool {
	return p.renewals[nl].provedAlive && !p.aliveByLease(nl)
}

// aliveByLease reports whether a node, or a link, that was lost is alive by the node's Lease.
func (p *pass) aliveByLease(nl nodeOrLink) bool {
	seen := p.renewals[nl]
	return p.API.Reachable && seen.n >= p.Misses && !seen.denied
}
