package failover

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

const (
	// probeValid is how long the result of a probe counts.
	probeValid = 2 * time.Second
	// terminationDelay is how long before a node is found to be dead its last answers were.
	// A node that answers later is not dead.
	terminationDelay = 100 * time.Millisecond
)

// ProbeRequest asks who answers for an address (RFC 5227 section 2.1.1 calls
// the question an ARP Probe; RFC 4861 has Neighbor Solicitations).
type ProbeRequest struct {
	Links  []string  // to ask on, sorted
	After  time.Time // a result whose question was asked before does not count
	Notify bool      // a result is a reason to step again
}

// Probe is the result of a ProbeRequest.
type Probe struct {
	Reply    membership.Reply
	MAC      [6]byte   // of Answered: who answered
	Answered time.Time // of Answered: when
	Asked    time.Time // when the question was first asked
	Done     time.Time // when all answers were in; zero: not yet
	Links    []string  // asked on
}

// probes is what is known of results beside the results themselves.
type probes struct {
	after     time.Time                // the node was Isolated or Stalled until then: older results are void
	deadSince map[nodeOrLink]time.Time // of each node and link that is dead
	backSince map[nodeOrLink]time.Time // of each that was dead: when it was back, without what it had; for probeValid
	restarted map[string]time.Time     // of each node that restarts: since when
}

// observeDeaths records since when nodes and links are dead, back, or restarting.
func (p *pass) observeDeaths() {
	for nl, when := range p.probes.backSince {
		if p.Now.Sub(when) > probeValid {
			delete(p.probes.backSince, nl)
		}
	}
	for nl := range p.probes.deadSince {
		if !p.dead[nl] {
			delete(p.probes.deadSince, nl)
			p.probes.backSince[nl] = p.Now
		}
	}
	for nl := range p.dead {
		if _, known := p.probes.deadSince[nl]; !known {
			p.probes.deadSince[nl] = p.Now
		}
	}
	for node, standing := range p.Members.Standing {
		if _, known := p.probes.restarted[node]; standing != membership.Restarting {
			delete(p.probes.restarted, node)
		} else if !known {
			p.probes.restarted[node] = p.Now
		}
	}
}

// probeAfter returns the time before which results for an address are void. That a node answered
// before it restarted is void: its backups answer only for what L2Claims give it.
func (p *pass) probeAfter(a netip.Addr) time.Time {
	after := p.probes.after
	if y := p.yielded[a]; y.at.After(after) {
		after = y.at
	}
	if r, ok := p.Probes[a]; ok && r.Reply == membership.Answered {
		if restarted := p.probes.restarted[p.MACs[r.MAC]]; restarted.After(after) {
			after = restarted
		}
		for _, nl := range p.nodeAndLinks(a, p.MACs[r.MAC]) {
			if back := p.probes.backSince[nl]; back.After(after) {
				after = back
			}
		}
	}
	return after
}

// result returns the result for a, if it counts.
func (p *pass) result(a netip.Addr) (Probe, bool) {
	r := p.Probes[a]
	return r, !r.Done.IsZero() && !r.Asked.Before(p.probeAfter(a))
}

// free reports whether no host had a on these links a moment ago: none answered, or only
// a node that has died since. A node that answers is alive, whatever else is known of it.
func (p *pass) free(a netip.Addr, links []string) bool {
	r, ok := p.result(a)
	if !ok || slices.ContainsFunc(links, func(l string) bool { return !slices.Contains(r.Links, l) }) {
		return false
	}
	switch r.Reply {
	case membership.Unanswered:
		return p.Now.Sub(r.Done) < probeValid
	case membership.Answered:
		nl, _ := p.deadFor(a, p.MACs[r.MAC])
		since, dead := p.probes.deadSince[nl]
		return dead && r.Answered.Add(terminationDelay).Before(since) && p.Now.Sub(r.Answered) < probeValid
	default:
		return false
	}
}

// probeFound returns the node that a probe found to have a a moment ago; "": no known node.
// asked is false without a valid result.
func (p *pass) probeFound(a netip.Addr) (node string, asked bool) {
	r, ok := p.result(a)
	if !ok || p.Now.Sub(r.Done) >= probeValid {
		return "", false
	}
	return p.MACs[r.MAC], true
}

// requests returns what to probe: what this node would take; if it can't hear who
// has what, all that it might come to have; what it left to others; and what it has and is
// unsure of.
func (p *pass) requests(take []announce.Claim) map[netip.Addr]ProbeRequest {
	out := map[netip.Addr]ProbeRequest{}
	ask := func(a netip.Addr, on announce.Links, notify bool) {
		out[a] = ProbeRequest{Links: p.upLinks(on), After: p.probeAfter(a), Notify: notify}
	}
	if until, asks := p.asksForAll(); asks && !until.After(p.Now) {
		for _, v := range p.Plan.Results {
			for _, o := range v.Layer2 {
				if o.Reason == announce.NotOwner && p.missed(o.Addr) {
					ask(o.Addr, announce.Links{}, false)
				}
			}
		}
	}
	for a := range p.yielded {
		ask(a, announce.Links{}, true)
	}
	for _, c := range take {
		ask(c.Addr, c.Links, true)
	}
	for _, c := range p.Plan.Claims {
		if p.Unconfirmed[c.Addr] && (p.API.Reachable || p.Alive[p.unwritten[c.Addr].from]) {
			ask(c.Addr, c.Links, true)
		}
	}
	return out
}

// asksForAll reports whether this node has missed who took what, at least on one
// segment, and can't hear it, and from when on it probes all that it missed.
func (p *pass) asksForAll() (from time.Time, asks bool) {
	if p.API.Reachable {
		return from, false
	}
	if p.Phase.missed() {
		return p.resyncAt.Add(probeAllAfter), true
	}
	for _, at := range p.missedOn {
		if at = at.Add(probeAllAfter); !asks || at.Before(from) {
			from, asks = at, true
		}
	}
	return from, asks
}

// upLinks returns the names of the own links of a claim that are up, sorted.
func (p *pass) upLinks(of announce.Links) []string {
	var out []string
	for _, l := range p.ownLinks() {
		if l.Up && of.Selects(l) {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// ownLinks returns this node's links.
func (p *pass) ownLinks() []announce.Link {
	for i := range p.Cluster.Nodes {
		if p.Cluster.Nodes[i].Name == p.Node {
			return p.Cluster.Nodes[i].Links
		}
	}
	return nil
}
