package failover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Two nodes may answer for one address: when the halves of a network meet again,
// say. Each hears the other announce it. A node that is heard is alive, whatever else
// is known of it, so both decide as always: by the L2Claim, then by the hash. The
// loser stops at once, the winner announces the address again. A node that can't
// ask the API server lets the others announce first.

// Conflict is another speaker that was heard to have an address of this node.
type Conflict struct {
	Addr        netip.Addr
	MAC         [6]byte
	First, Last time.Time // of what was heard without a pause of ConflictMemory
}

// Opponent is a node that also has an address of this one.
type Opponent struct {
	Node        string
	MAC         [6]byte // zero: the L2Claim names it, and no frame of it was heard
	First, Last time.Time
}

const (
	// ConflictMemory is for how long after it was last heard a conflict counts.
	ConflictMemory = 3 * time.Second
	// yieldSoon and yieldLate are how long an opponent must go on announcing until this node,
	// which can't ask the API server, yields to it. They differ so that of two that can't
	// ask one stays.
	yieldSoon, yieldLate = 500 * time.Millisecond, 2 * time.Second
)

// recordConflicts records which other node has an address of this one. Of several opponents it
// is, in this order:
//
//   - the node from which this one took the address over: so all give it back to that at once;
//   - the opponent that was heard for longest: the others may have left the address to it.
//
// A host with one of this node's MACs is not an opponent. A node that still answers for
// what this one took over from it while the API server was away is an opponent.
func (p *pass) recordConflicts() {
	p.opponents = map[netip.Addr]Opponent{}
	for _, c := range p.Facts.Conflicts {
		node, known := p.MACs[c.MAC]
		if !known || node == p.Node || p.lostAndExpired(node) {
			continue
		}
		o := Opponent{node, c.MAC, c.First, c.Last}
		p.announcers = append(p.announcers, o)
		if before, ok := p.opponents[c.Addr]; !ok || o.precedes(before, p.unwritten[c.Addr].from) {
			p.opponents[c.Addr] = o
		}
	}
	for a, t := range p.unwritten {
		if other, asked := p.probeFound(a); t.unconfirmed && asked && other == t.from && !p.lostAndExpired(other) {
			o := Opponent{Node: other, MAC: p.Probes[a].MAC, First: p.Now, Last: p.Now}
			p.otherOwners[a], p.opponents[a] = o, o
		}
	}
	p.Output.Conflicts = p.opponents
}

// precedes reports whether o counts for more than another opponent for an address that
// this node took over from a node.
func (o Opponent) precedes(other Opponent, from string) bool {
	if (o.Node == from) != (other.Node == from) {
		return o.Node == from
	}
	if a, b := o.Last.Sub(o.First), other.Last.Sub(other.First); a != b {
		return a > b
	}
	return o.First.Before(other.First)
}

// lostAndExpired reports whether a node is lost, and this node, which hears the API server, sees
// its Lease expired. Another host then sends what is heard in its name.
func (p *pass) lostAndExpired(node string) bool {
	return p.API.Reachable && p.Members.Standing[node] == membership.Dead && p.Leases[node].Expired
}

// yield is an address that was left to an opponent without the API server.
type yield struct {
	to string
	at time.Time
}

// yields reports whether this node, which can't ask the API server, leaves an address to an
// opponent that goes on announcing it: perhaps the opponent can ask. The node that ranks higher
// yields later. An opponent that is not heard any more may have left the address to a third node.
func (p *pass) yields(o Opponent, addr netip.Addr) bool {
	after := yieldSoon
	if announce.Rank(p.Node, addr) > announce.Rank(o.Node, addr) {
		after = yieldLate
	}
	return o.Last.Sub(o.First) >= after && p.Now.Sub(o.Last) < yieldSoon
}

// decideOwners sets in Cluster.Claims which node owns which address: as the L2Claims say, but for
// what this node took over and what it yielded. What it took over does not go to a preferred node
// before that is written into the L2Claim. The preferred node had the address when the API server
// went away. It finds that another node has it now, and takes it only from a node of which the
// L2Claim says that it answers.
func (p *pass) decideOwners() {
	maps.DeleteFunc(p.yielded, func(a netip.Addr, y yield) bool {
		gone := !p.isAlive(y.to) && p.opponents[a].Node != y.to // a node that is heard is alive
		return p.API.Reachable || gone || p.free(a, p.upLinks(announce.Links{}))
	})
	p.Cluster.Claims = make([]announce.HeldClaim, 0, len(p.Claims))
	for _, c := range p.Claims {
		c.Node = p.owner(c.Addr, c.Node)
		c.Unwritten = c.Node == p.Node && p.Owners[c.Addr] != p.Node
		p.Cluster.Claims = append(p.Cluster.Claims, c.HeldClaim)
	}
}

// owner returns who counts as the owner of an address whose L2Claim names a node.
//
//   - This node, if it has taken the address over and that is unwritten. A former owner that comes
//     back while the API server is away does not get it back. Exception: it never stopped
//     answering, since this node hears it do so, or it is alive by its Lease.
//   - An opponent to which this node yielded, because it can't ask the API server, for as long as
//     it can't and the opponent is alive. Otherwise this node would take the address back as
//     soon as it no longer hears the opponent. It goes on probing the address: the opponent may
//     have left it to this node at the same time, or to a third node that left it to this
//     one. Then no node has it.
//   - Otherwise the node that the L2Claim names.
func (p *pass) owner(a netip.Addr, named string) string {
	if y, ok := p.yielded[a]; ok {
		return y.to
	}
	o := p.opponents[a]
	if t, taken := p.unwritten[a]; taken && t.from == named && o.Node != t.from && !(t.unconfirmed && p.ownerAliveByLease(a, named)) {
		named = p.Node
	}
	if o.Node != "" && named == p.Node && !p.API.Reachable && p.yields(o, a) {
		p.yielded[a] = yield{o.Node, p.Now}
		return o.Node
	}
	return named
}

// recordOtherOwners adds to the opponents the nodes that L2Claims came to name while this
// node could not hear of it, or has not read all that it missed: a node that could write that was
// alive, whatever was found out meanwhile. Then it marks all opponents as alive.
func (p *pass) recordOtherOwners() {
	for a, node := range p.Owners {
		was, known := p.last.Owners[a]
		switch {
		case !known || was == node || node == p.Node:
		case !p.wasReachable || p.missed(a):
			p.otherOwners[a] = Opponent{Node: node, First: p.Now, Last: p.Now}
		case was == p.Node && p.last.Claimed[a]:
			p.writers[a] = Opponent{Node: node, First: p.Now, Last: p.Now}
		}
	}
	p.opposeWriters()
	for a, o := range p.otherOwners {
		if p.Now.Sub(o.Last) >= ConflictMemory && p.beginsToRenew(o) {
			o.Last = p.Now
			p.otherOwners[a] = o
		}
		if p.Now.Sub(o.Last) >= ConflictMemory {
			delete(p.otherOwners, a)
		} else if _, heard := p.opponents[a]; !heard {
			p.opponents[a] = o
		}
	}
	// Also those for whose address another opponent counts.
	p.markAlive(slices.AppendSeq(slices.AppendSeq(p.announcers, maps.Values(p.opponents)), maps.Values(p.otherOwners)))
	p.Alive = p.aliveNodes()
}

// denialTime is how long a node that is cut off may still write, until it has found that out and
// reported it.
const denialTime = time.Second

// opposeWriters makes opponents of the writers that do not deny that they are alive. Otherwise two
// halves of a network that reach the API server would write over each other's names until
// both are alive by their Leases.
func (p *pass) opposeWriters() {
	for a, o := range p.writers {
		o.Node = p.Owners[a] // a third node may have written since
		p.writers[a] = o
		goes := o.Node != "" && o.Node != p.Node && p.last.Claimed[a]
		late := p.Now.Sub(o.First) >= denialTime
		lease, leased := p.Leases[o.Node]
		if goes && late && !p.Isolated[o.Node] && leased && !lease.Expired {
			o.Last = p.Now
			p.otherOwners[a] = o
		}
		if !goes || late {
			delete(p.writers, a)
		}
	}
}

// beginsToRenew reports whether an opponent that an L2Claim names goes on renewing its Lease, and
// has not done so for long enough to be alive by it.
func (p *pass) beginsToRenew(o Opponent) bool {
	nl := nodeOrLink{node: o.Node}
	seen := p.renewals[nl]
	return o.MAC == [6]byte{} && seen.n > 0 && !seen.denied && !p.aliveByLease(nl)
}

// markAlive marks opponents as alive, and the links as up that they were heard with.
func (p *pass) markAlive(opponents []Opponent) {
	heard := map[string]map[[6]byte]bool{}
	for _, o := range opponents {
		if heard[o.Node] == nil {
			heard[o.Node] = map[[6]byte]bool{}
		}
		heard[o.Node][o.MAC] = true
	}
	for i := range p.Cluster.Nodes {
		n := &p.Cluster.Nodes[i]
		macs, ok := heard[n.Name]
		if !ok {
			continue
		}
		n.Live = true
		n.Links = slices.Clone(n.Links)
		for j := range n.Links {
			n.Links[j].Up = n.Links[j].Up || n.Links[j].MAC != [6]byte{} && macs[n.Links[j].MAC]
		}
	}
}
