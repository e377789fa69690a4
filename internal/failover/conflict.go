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
// say. Each hears the other announce it. Who is heard is alive, whatever else is
// known of it, so both decide as always: by the L2Claim, then by the hash. The
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

// conflicts enters who else has an address of this node: of several the one that this
// node took it over from, which so gets it back from all at once; else the first that was
// heard. Who has a MAC of this node is no opponent. Those who still answer for what this
// node took over from them, and could not ask about, are.
func (p *pass) conflicts() {
	p.opponents = map[netip.Addr]Opponent{}
	for _, c := range p.Facts.Conflicts {
		node, known := p.MACs[c.MAC]
		if !known || node == p.Node || p.surelyDead(node) {
			continue
		}
		o := Opponent{node, c.MAC, c.First, c.Last}
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
	return o.First.Before(other.First)
}

// surelyDead reports whether a node is dead, as its watchers say, and this node, which
// hears the API server, sees its Lease expired. Whatever is heard in its name is not it.
func (p *pass) surelyDead(node string) bool {
	return p.API.Reachable && p.Members.Standing[node] == membership.Dead && p.Leases[node].Expired
}

// yields reports whether this node, which can't ask the API server, leaves an
// address to an opponent that goes on announcing it: perhaps that one can ask.
// The node that ranks higher yields later.
func (o Opponent) yields(self string, addr netip.Addr) bool {
	after := yieldSoon
	if announce.Rank(self, addr) > announce.Rank(o.Node, addr) {
		after = yieldLate
	}
	return o.Last.Sub(o.First) >= after
}

// holders enters who holds which address.
func (p *pass) holders() {
	maps.DeleteFunc(p.yielded, func(a netip.Addr, to string) bool {
		return p.API.Reachable || !p.counts(to) && p.opponents[a].Node != to // who is heard is alive
	})
	p.Owners = make(map[netip.Addr]string, len(p.Claims))
	p.Cluster.Claims = make([]announce.HeldClaim, 0, len(p.Claims))
	for _, c := range p.Claims {
		p.Owners[c.Addr], p.answering[c.Addr] = c.Node, c.Answering
		c.Node = p.holder(c.Addr, c.Node)
		p.Cluster.Claims = append(p.Cluster.Claims, c.HeldClaim)
	}
}

// holder returns who counts as the holder of an address whose L2Claim names a
// node. It is this one if it has taken the address over and could not yet say so:
// a former holder that comes back while the API server is away does not get it
// back, unless it never stopped answering: this node hears it do so, or its Lease says
// that it is in another half of the network. This node leaves an address to an
// opponent if it can't ask whose it is, for as long as it can't and that one is
// alive: else it would take it back as soon as it hears no more of the opponent.
func (p *pass) holder(a netip.Addr, named string) string {
	if to := p.yielded[a]; to != "" {
		return to
	}
	o := p.opponents[a]
	if t, taken := p.taken[a]; taken && t.from == named && o.Node != t.from && !(t.unconfirmed && p.renewsFor(a, named)) {
		named = p.Node
	}
	if o.Node != "" && named == p.Node && !p.API.Reachable && o.yields(p.Node, a) {
		p.yielded[a] = o.Node
		return o.Node
	}
	return named
}

// supersede enters as opponents the nodes that L2Claims came to name while this
// node could not hear of it: a node that could write that was alive, whatever was
// found out meanwhile. It also enters what opponents prove: that they are alive.
func (p *pass) supersede() {
	if p.before != nil && !p.reached {
		for a, node := range p.Owners {
			if was, known := p.before.Owners[a]; known && was != node && node != p.Node {
				p.superseded[a] = Opponent{Node: node, First: p.Now, Last: p.Now}
			}
		}
	}
	for a, o := range p.superseded {
		if p.Now.Sub(o.Last) >= ConflictMemory {
			delete(p.superseded, a)
		} else if _, heard := p.opponents[a]; !heard {
			p.opponents[a] = o
		}
	}
	p.proveAlive(p.opponents)
	p.proveAlive(p.superseded) // also of an address for which another opponent was heard
	p.Alive = p.alive()
}

// proveAlive enters that opponents are alive, and the links up that they were heard
// with.
func (p *pass) proveAlive(opponents map[netip.Addr]Opponent) {
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
