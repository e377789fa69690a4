package failover

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Output is the state that a Step requires. It must not be changed.
type Output struct {
	// Plan is what announce.Decide made of the corrected facts, less the claims
	// that this node may not answer for yet.
	Plan        announce.Plan
	Proxy       []announce.Claim            // answer, but announce nothing: for nodes that restart, and until a handover is done
	Probe       map[netip.Addr]ProbeRequest // ask for these, again and again
	Unconfirmed map[netip.Addr]bool         // claimed, and not to be written into the L2Claim yet
	Watched     map[string]Watched          // the speakers to watch and be watched by; this one too
	Join        bool                        // others may rely on this node
	Resync      bool                        // read the L2Claims past the cache
	Wake        time.Duration               // step again after this, if nothing happens before; 0: no need
	Events      []Event
	Phase       Phase

	Claimed   map[netip.Addr]bool     // the addresses of Plan.Claims
	Owners    map[netip.Addr]string   // the node that each L2Claim names
	Alive     map[string]bool         // true: the nodes that are alive; false: the other nodes
	Conflicts map[netip.Addr]Opponent // who else has an address of this node
}

// Watched is what other members are to know of a speaker that they watch.
type Watched struct {
	LeaseExpired bool // so Kubernetes does not hear of it either
}

// Kind is the kind of an Event.
type Kind string

// The kinds of events.
const (
	AddressClaimed   Kind = "AddressClaimed"   // this node starts to answer for Addr
	AddressReleased  Kind = "AddressReleased"  // it stops answering for Addr
	AddressTakenOver Kind = "AddressTakenOver" // it starts to answer for Addr, which From had
	ProcessStalled   Kind = "ProcessStalled"   // the process stalled; it releases all addresses
)

// Event is something for the log and for counters.
type Event struct {
	Kind Kind
	Addr netip.Addr
	From string
}

// addEvents adds an event for each change.
func (p *pass) addEvents() {
	if p.stalled {
		p.Events = append(p.Events, Event{Kind: ProcessStalled})
	}
	for _, c := range p.Plan.Claims {
		if !p.last.Claimed[c.Addr] {
			p.Events = append(p.Events, Event{Kind: AddressClaimed, Addr: c.Addr})
		}
	}
	for _, c := range p.last.Plan.Claims {
		if !p.Claimed[c.Addr] {
			p.Events = append(p.Events, Event{Kind: AddressReleased, Addr: c.Addr})
		}
	}
}

// wake returns after which time to step again if nothing changes before; 0: never.
func (p *pass) wake() time.Duration {
	var soonest time.Duration
	within := func(d time.Duration) {
		if soonest == 0 || d < soonest {
			soonest = d
		}
	}
	at := func(t time.Time) { within(max(t.Sub(p.Now), 0) + time.Millisecond) }
	// Renewals alone cause no Step, nor does it that the API server is silent.
	if p.withheld || len(p.renewals) > 0 || len(p.unwritten) > 0 {
		within(p.Heartbeat)
	}
	for _, t := range p.forgets() {
		at(t)
	}
	for _, h := range p.handovers {
		at(h.since.Add(handoverTimeout))
	}
	for _, o := range p.writers {
		at(o.First.Add(denialTime))
	}
	if !p.stalledAt.IsZero() {
		within(p.Heartbeat / 4)
	}
	if until, asks := p.asksForAll(); asks && until.After(p.Now) {
		at(until)
	}
	if t, ok := p.reannounce.next(p.opponents, p.losing(), p.Claimed, p.API.Reachable); ok {
		at(t)
	}
	return soonest
}
