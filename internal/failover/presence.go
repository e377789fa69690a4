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
// since its holder, or a link of it, is Dead for its watchers.
type renewals struct {
	since time.Time // when the watchers had lost it; zero: this node does not know
	last  time.Time
	n     int
	// counted: there were enough of them once, and the Lease has not expired since.
	// So the holder is alive somewhere, or was before the outage.
	counted bool
	denied  bool // the Lease has expired, or its holder reports that it is isolated
}

// presence records who is alive, which links work, and whom to watch.
func (p *pass) presence() {
	p.countRenewals()
	nodes := slices.Clone(p.Cluster.Nodes)
	for i := range nodes {
		n := &nodes[i]
		n.Live = n.Name == p.Node || p.counts(n.Name)
		n.Links = p.links(n)
		n.Backups = p.backups(n)
	}
	p.Cluster.Nodes = nodes
	if p.API.Reachable {
		p.heard = p.Now
	}
	// A cable may have come loose just now: who is Dead stays watched while its
	// Lease is renewed.
	p.Watch = make(map[string]bool, len(p.Leases)+1)
	p.Watch[p.Node] = p.Leases[p.Node].Expired
	p.answerCallers()
	p.revive()
	for node, lease := range p.Leases {
		_, revived := p.revived[node]
		if !lease.Expired || revived || p.counts(node) || !p.callers[node].IsZero() {
			p.Watch[node] = lease.Expired && !revived
		}
	}
}

// revive records which speakers are heard whose Leases have expired: the API server may go
// away before they show that those are back, and then they say nothing of who is dead.
func (p *pass) revive() {
	for node, lease := range p.Leases {
		switch when := p.revived[node]; {
		case !lease.Expired:
			delete(p.revived, node)
		case p.Members.Up > 0 && p.Members.Heard(node):
			p.revived[node] = p.Now
		case p.API.Synced && p.Now.Sub(when) >= time.Duration(p.Misses)*p.Heartbeat:
			delete(p.revived, node)
		}
	}
	maps.DeleteFunc(p.revived, func(node string, _ time.Time) bool { _, leased := p.Leases[node]; return !leased })
}

// join says whether others may count on this node, as they do when they hear of it: not before
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

// answerCallers records which speakers call that are watched no longer: their Leases had
// expired, and may not show yet that they are back.
func (p *pass) answerCallers() {
	for node, when := range p.Members.Callers {
		p.callers[node] = when
	}
	maps.DeleteFunc(p.callers, func(_ string, when time.Time) bool { return p.Now.Sub(when) >= callMemory })
}

// backups returns the backups of a node, in order: nodes with a link in one of its subnets.
func (p *pass) backups(of *announce.Node) []string {
	var out []string
	for _, name := range p.Members.Watchers[of.Name] {
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

// counts reports whether a node's speaker counts as alive.
//
//   - The members' observation takes precedence over the Lease, which may arrive late.
//   - The Lease decides for a speaker that no member has reached yet.
//   - The Lease also decides for a speaker that its watchers have lost and that still
//     renews it. Otherwise speakers that reach the API server, but not each other, would
//     take addresses from each other for ever.
//   - It does not decide for a speaker that reports that it is isolated: that one answers
//     for nothing. Nor does what that one told the members before, if this node has no session
//     with it that is Up: one that never came Up can't show that it is lost.
//   - While the API server is unreachable, no Lease counts for a speaker that its watchers
//     have lost: each half of a network then continues alone. Nor does one count for a speaker
//     that no member has reached: it may not have come so far that it can take anything.
func (p *pass) counts(node string) bool {
	standing, known := p.Members.Standing[node]
	lease, leased := p.Leases[node]
	switch {
	case !leased:
		return false
	case standing == membership.Dead:
		return p.renews(place{node: node})
	case known && standing != membership.Unknown:
		return standing != membership.Alive || !p.API.Reachable || !p.Isolated[node] || !slices.Contains(p.Members.Down, node)
	case known && !p.API.Reachable:
		return false
	default:
		return !lease.Expired && !p.Isolated[node]
	}
}

// countRenewals counts those of the Leases of nodes that are Dead for their
// watchers, or whose link in a segment is.
func (p *pass) countRenewals() {
	lost := p.lost()
	maps.DeleteFunc(p.renewals, func(at place, _ renewals) bool {
		p.back = p.back || !lost[at] && p.hears(at)
		return !lost[at]
	})
	for at := range lost {
		lease := p.Leases[at.node]
		seen, known := p.renewals[at]
		switch {
		case !known:
			if seen.last = lease.Renewed; p.before == nil || p.counted(at) {
				seen.since = p.Now // else it did not count before: others may have known
			}
		case seen.last.IsZero():
			seen.last = lease.Renewed
		case !seen.last.Equal(lease.Renewed):
			seen.last, seen.n = lease.Renewed, seen.n+1
		}
		if !p.API.Reachable {
			seen.n = 0
		}
		seen.denied = lease.Expired || p.denies(at)
		seen.counted = (seen.counted || seen.n >= p.Misses) && !seen.denied
		p.renewals[at] = seen
	}
}

// hears reports whether a node, or its link in a segment, is found alive on the wire. One that
// a Lease alone says is alive is in another half of the network, whose hosts do not hear this
// node either.
func (p *pass) hears(at place) bool {
	standing, known := p.watching(at).Standing[at.node]
	return known && standing != membership.Dead && standing != membership.Unknown
}

// counted reports whether a node was alive at the end of the last Step, or its link worked.
func (p *pass) counted(at place) bool {
	if at.segment.IsValid() {
		return p.worked[at]
	}
	return p.last.Alive[at.node]
}

// lostBefore reports whether the watchers of a node, or of a link, had lost it by then.
func (p *pass) lostBefore(at place, then time.Time) bool {
	seen, lost := p.renewals[at]
	return lost && !seen.since.After(then)
}

// elsewhere reports whether a node, or a link, that its watchers have lost was alive all
// the same when the API server was last heard: it may be in another half of the network.
func (p *pass) elsewhere(at place) bool { return p.renewals[at].counted && !p.renews(at) }

// renews reports whether a node, or a link, that its watchers have lost is alive as the
// node's Lease says.
func (p *pass) renews(at place) bool {
	seen := p.renewals[at]
	return p.API.Reachable && seen.n >= p.Misses && !seen.denied
}
