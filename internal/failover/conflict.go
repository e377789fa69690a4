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
// ask the API server lets the others speak first.

// Conflict is another speaker that was heard to have an address of this node.
type Conflict struct {
	Addr        netip.Addr
	MAC         [6]byte
	First, Last time.Time // of what was heard without a pause of ConflictMemory
}

// Opponent is a node that also has an address of this one.
type Opponent struct {
	Node        string
	MAC         [6]byte // zero: the L2Claim told of it
	First, Last time.Time
}

const (
	// ConflictMemory is for how long after it was last heard a conflict counts.
	ConflictMemory = 3 * time.Second
	// yieldSoon and yieldLate are how long an opponent must go on until this node,
	// which can't ask the API server, takes its word for it. They differ so that of
	// two that can't ask one stays.
	yieldSoon, yieldLate = 500 * time.Millisecond, 2 * time.Second
)

// conflicts records which other node has an address of this one. Of several opponents it
// is, in this order:
//
//   - the node from which this one took the address over: so all give it back to that at once;
//   - the one that was heard for longest: the others may have left the address to it.
//
// A host with one of this node's MACs is not an opponent. A node that still answers for
// what this one took over from it while the API server was away is one.
func (p *pass) conflicts() {
	p.opponents = map[netip.Addr]Opponent{}
	for _, c := range p.Facts.Conflicts {
		node, known := p.MACs[c.MAC]
		if !known || node == p.Node || p.surelyDead(node) {
			continue
		}
		o := Opponent{node, c.MAC, c.First, c.Last}
		p.announcers = append(p.announcers, o)
		if before, ok := p.opponents[c.Addr]; !ok || o.precedes(before, p.taken[c.Addr].from) {
			p.opponents[c.Addr] = o
		}
	}
	for a, t := range p.taken {
		if other, asked := p.heldBy(a); t.unconfirmed && asked && other == t.from && !p.surelyDead(other) {
			o := Opponent{Node: other, MAC: p.Probes[a].MAC, First: p.Now, Last: p.Now}
			p.superseded[a], p.opponents[a] = o, o
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

// surelyDead reports whether a node is dead, as its watchers say, and this node, which
// hears the API server, sees its Lease expired. Whatever is heard in its name is not it.
func (p *pass) surelyDead(node string) bool {
	return p.API.Reachable && p.Members.Standing[node] == membership.Dead && p.Leases[node].Expired
}

// yield is an address that was left to an opponent without the API server.
type yield struct {
	to string
	at time.Time
}

// yields reports whether this node, which can't ask the API server, leaves an
// address to an opponent that goes on announcing it: perhaps that one can ask.
// The node that ranks higher yields later. An opponent that is not heard any more may
// have left the address to another one.
func (p *pass) yields(o Opponent, addr netip.Addr) bool {
	after := yieldSoon
	if announce.Rank(p.Node, addr) > announce.Rank(o.Node, addr) {
		after = yieldLate
	}
	return o.Last.Sub(o.First) >= after && p.Now.Sub(o.Last) < yieldSoon
}

// holders records who holds which address. One that this node took over, and is about to write
// into the L2Claim, does not go to a preferred node before: that one had it when the API server
// went away, finds that another has it now, and does not take it from a node of which the
// L2Claim does not say that it answers.
func (p *pass) holders() {
	maps.DeleteFunc(p.yielded, func(a netip.Addr, y yield) bool {
		gone := !p.counts(y.to) && p.opponents[a].Node != y.to // a node that is heard is alive
		return p.API.Reachable || gone || p.free(a, p.upLinks(announce.Links{}))
	})
	p.Owners = make(map[netip.Addr]string, len(p.Claims))
	p.Cluster.Claims = make([]announce.HeldClaim, 0, len(p.Claims))
	for _, c := range p.Claims {
		p.Owners[c.Addr], p.answering[c.Addr] = c.Node, c.Answering
		c.Node = p.holder(c.Addr, c.Node)
		c.Unsaid = c.Node == p.Node && p.Owners[c.Addr] != p.Node && p.API.Reachable
		p.Cluster.Claims = append(p.Cluster.Claims, c.HeldClaim)
	}
}

// holder returns who counts as the holder of an address whose L2Claim names a
// node. It is this one if it has taken the address over and could not yet say so:
// a former holder that comes back while the API server is away does not get it
// back, unless it never stopped answering: this node hears it do so, or its Lease says
// that it is in another half of the network. This node leaves an address to an
// opponent if it can't ask whose it is, for as long as it can't and that one is
// alive: else it would take it back as soon as it hears no more of the opponent. It goes
// on probing the address: that one may have left it to this node at the same time, or to a
// third one that left it to this one. Then no node has it.
func (p *pass) holder(a netip.Addr, named string) string {
	if y, ok := p.yielded[a]; ok {
		return y.to
	}
	o := p.opponents[a]
	if t, taken := p.taken[a]; taken && t.from == named && o.Node != t.from && !(t.unconfirmed && p.renewsFor(a, named)) {
		named = p.Node
	}
	if o.Node != "" && named == p.Node && !p.API.Reachable && p.yields(o, a) {
		p.yielded[a] = yield{o.Node, p.Now}
		return o.Node
	}
	return named
}

// supersede enters as opponents the nodes that L2Claims came to name while this
// node could not hear of it: a node that could write that was alive, whatever was
// found out meanwhile. It also enters what opponents prove: that they are alive.
func (p *pass) supersede() {
	for a, node := range p.Owners {
		was, known := p.last.Owners[a]
		switch {
		case !known || was == node || node == p.Node:
		case !p.reached:
			p.superseded[a] = Opponent{Node: node, First: p.Now, Last: p.Now}
		case was == p.Node && p.tookOver[a]:
			p.writers[a] = Opponent{Node: node, First: p.Now, Last: p.Now}
		}
	}
	p.hearWriters()
	for a, o := range p.superseded {
		if p.Now.Sub(o.Last) >= ConflictMemory && p.proves(o) {
			o.Last = p.Now
			p.superseded[a] = o
		}
		if p.Now.Sub(o.Last) >= ConflictMemory {
			delete(p.superseded, a)
		} else if _, heard := p.opponents[a]; !heard {
			p.opponents[a] = o
		}
	}
	// Also those for whose address another opponent counts.
	p.proveAlive(slices.AppendSeq(slices.AppendSeq(p.announcers, maps.Values(p.opponents)), maps.Values(p.superseded)))
	p.Alive = p.alive()
}

// denialTime is how long a node that is cut off may still write, until it has found that out and
// reported it.
const denialTime = time.Second

// hearWriters enters as opponents the writers that do not deny that they are alive. Otherwise two
// halves of a network that reach the API server would write over each other's names until
// their Leases tell them that both are alive.
func (p *pass) hearWriters() {
	for a, o := range p.writers {
		o.Node = p.Owners[a] // a third node may have written since
		p.writers[a] = o
		goes := o.Node != "" && o.Node != p.Node && p.last.Claimed[a]
		late := p.Now.Sub(o.First) >= denialTime
		if goes && late && !p.Isolated[o.Node] && !p.Leases[o.Node].Expired {
			o.Last = p.Now
			p.superseded[a] = o
		}
		if !goes || late {
			delete(p.writers, a)
		}
	}
}

// proves reports whether an opponent that an L2Claim told of goes on renewing its Lease,
// and has not done so for long enough to count by that.
func (p *pass) proves(o Opponent) bool {
	at := place{node: o.Node}
	seen := p.renewals[at]
	return o.MAC == [6]byte{} && seen.n > 0 && !seen.denied && !p.renews(at)
}

// proveAlive enters that opponents are alive, and the links up that they were heard
// with.
func (p *pass) proveAlive(opponents []Opponent) {
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
