// Package failover decides which layer-2 addresses this node may answer for at
// this moment. Package announce decides which addresses the node should have if its
// cache is up to date. This package adds what the cache cannot show: which speakers
// are alive, what was heard on the wire, what this node may have missed.
//
// Step is deterministic: it depends on Facts and on its State, which it updates. It reads
// no clock, opens no socket and starts no goroutine. It does not decide which members are alive (package
// membership does), and sends nothing (package layer2 does).
//
// A node is in one of five phases:
//
//	Starting ──API server heard──▶ Synced ◀──heard all since──┐
//	    │                            │                        │
//	    │      reaches no member, no gateway answers          │
//	    ├──────────────────▶ Isolated ──reaches a member─▶ Resyncing
//	    │                                                     ▲
//	    └──process stalled──────▶ Stalled ──API server heard,─┘
//	                                        or 3 s later
//
// Isolated and Stalled can be entered from every phase, and Isolated counts
// first. In both the node owns nothing. In Resyncing it takes only addresses
// for which no host answers its probes.
//
// These words have one meaning each here:
//
//   - lost: a node, or its link in a segment, that package membership says is Dead. Its
//     watchers on the wire do not hear it.
//   - dead: lost, and nothing proves that it is alive: neither its Lease, nor a frame.
//   - alive: a node that is not lost, or is alive by its Lease, or was heard to announce.
//   - alive by its Lease: lost, and its Lease was renewed often enough since. It is in another
//     half of the network.
//   - expired: a Lease that misses renewals. It decides only about a speaker that was never
//     found on the wire.
//   - owner: the node that an L2Claim names. An opponent is another node that also has an
//     address of this one.
//   - taken over: claimed by this node while the L2Claim names another one. Such an address
//     is unwritten until the L2Claim names this node, and unconfirmed while that must not
//     be written yet.
//   - missed: others may have decided something that this node could not hear.
package failover

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Facts are all that a Step depends on, besides the State.
type Facts struct {
	Now time.Time // the only clock
	// Cluster is what the cache shows. Step sets which nodes are alive, which answer for a
	// node that restarts, and who owns which address: those fields are not read.
	Cluster   announce.Snapshot
	Claims    []Claim              // the L2Claims
	Speakers  map[string]bool      // nodes that have a Speaker object
	Isolated  map[string]bool      // those of them that report that they are isolated
	MACs      map[[6]byte]string   // the node of each MAC that a Speaker object names
	Members   membership.View      // which members are alive, and which of their links work
	Leases    map[string]Lease     // by node whose speaker holds one
	API       API                  // how well the API server is heard
	Conflicts []Conflict           // other speakers that were heard to have an address of this node
	Probes    map[netip.Addr]Probe // the newest result for each address that was asked for
	Stalls    uint64               // how often this process has stalled for too long
}

// Claim is what an L2Claim says. Node is the owner that it names.
type Claim struct {
	announce.HeldClaim
	Answering string // the node that says in it that it answers; empty: none has
}

// Lease is what Kubernetes says of a speaker.
type Lease struct {
	Renewed time.Time // by its holder's clock, which may be set; zero: not known yet
	Expired bool      // too many renewals are missing
}

// API says how well the API server is heard.
type API struct {
	Reachable bool // an own renewal came back so recently that no speaker takes this node for dead
	Synced    bool // and so many in a row that the others' writes have also arrived
	WasSynced bool // it was Synced once
}

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

// Options are what an administrator has chosen.
type Options struct {
	Node      string        // this one
	Heartbeat time.Duration // between two renewals of a Lease
	Misses    int           // renewals after which a Lease has expired
}

// State is what a node remembers from Step to Step. Make one with New.
type State struct {
	Options

	phase Phase
	// joined is true once this node may claim addresses, and stays so.
	joined bool
	// former has the addresses that the L2Claims gave this node when it started, and that it
	// has not had since: while the API server was away another node may have taken them
	// over, which has not written that yet. It is nil before the first Step.
	former map[netip.Addr]bool
	// stalls is Facts.Stalls of the last Step.
	stalls uint64
	// stalledAt is when the process was last found to have stood still; zero once
	// that has been made good. It is not zero in phase Stalled.
	stalledAt time.Time
	// resyncAt is when the node last began to read what it had missed.
	resyncAt time.Time
	// syncedAt is when the node last came to have missed nothing, at all or on a segment.
	syncedAt time.Time
	// missedOn has an entry for each segment on which this node reached no member since it
	// last was Synced with the API server: until when.
	missedOn map[netip.Prefix]time.Time
	// before is what the last Step came to; nil before the first.
	before *Output
	// worked has which links of nodes in segments worked at the end of the last Step.
	worked map[nodeOrLink]bool
	// wasReachable is whether the API server was reachable at the end of the last Step.
	wasReachable bool
	// lastReturn is when a node, or a link, that was lost last came back.
	lastReturn time.Time
	// reachableAt is when the API server was last reachable.
	reachableAt time.Time
	// callers has when each speaker was last heard that was watched no longer; each for callMemory.
	callers map[string]time.Time
	// heardExpired has the speakers that were heard, and when last, after their Leases had expired;
	// each until its Lease is back, or this node, Synced, sees that it is not.
	heardExpired map[string]time.Time
	// renewals has an entry for each node that holds a Lease and is lost, and for each of
	// its links that is.
	renewals map[nodeOrLink]renewals
	// unwritten has an entry for each claimed address whose L2Claim does not name this
	// node yet.
	unwritten map[netip.Addr]takeover
	// tookOver has the claimed addresses that this node took over.
	tookOver map[netip.Addr]bool
	// writers has the nodes that wrote their names over that of this node, which had taken the
	// address over; each until it is superseded, or denies that it is alive.
	writers map[netip.Addr]Opponent
	// handovers has an entry for each address that this node gave up and still
	// answers for.
	handovers map[netip.Addr]handover
	// otherOwners has the opponents of which this node knows without having heard them announce: the
	// owners that an L2Claim came to name while this node could not hear of it, and those that
	// were found to have never stopped. Each stays for ConflictMemory.
	otherOwners map[netip.Addr]Opponent
	// yielded has the opponent to which an address was left without the API server,
	// unless a probe found since that no host has it; it is empty while that is reachable.
	yielded    map[netip.Addr]yield
	probes     probes
	reannounce reannouncements
}

// New returns the State of a node that has just started.
func New(o Options) *State {
	return &State{
		Options: o, phase: Starting, renewals: map[nodeOrLink]renewals{}, unwritten: map[netip.Addr]takeover{}, tookOver: map[netip.Addr]bool{}, writers: map[netip.Addr]Opponent{},
		handovers: map[netip.Addr]handover{}, otherOwners: map[netip.Addr]Opponent{}, yielded: map[netip.Addr]yield{}, callers: map[string]time.Time{}, heardExpired: map[string]time.Time{},
		probes: probes{deadSince: map[nodeOrLink]time.Time{}, backSince: map[nodeOrLink]time.Time{}, restarted: map[string]time.Time{}}, missedOn: map[netip.Prefix]time.Time{},
	}
}

// pass is the work of one Step.
type pass struct {
	*State
	Facts
	Output
	opponents  map[netip.Addr]Opponent
	announcers []Opponent            // all that Facts.Conflicts name
	answering  map[netip.Addr]string // the node that each L2Claim says answers
	dead       map[nodeOrLink]bool   // nodes and links that are dead; not before take
	working    map[nodeOrLink]bool   // which links of nodes in segments work; not before announceAgain
	heardAgain bool                  // a node, or a link, that was lost is found on the wire again
	last       *Output               // of the Step before; empty before the first
	withheld   bool                  // some claims were left out
	stalled    bool                  // since the last Step
}

// Step records the facts, and returns the state that they require.
func (s *State) Step(f Facts) Output {
	p := &pass{State: s, Facts: f, last: s.before, answering: make(map[netip.Addr]string, len(f.Claims))}
	if p.last == nil {
		p.last = &Output{}
	}
	p.Cluster.Self = p.Node
	p.recordPresence()
	p.recordConflicts()
	p.recordOwners()
	p.recordOtherOwners()
	p.Plan = announce.Decide(p.Cluster)
	p.transition()
	p.take()
	p.join()
	p.announceAgain()
	p.addProxies()
	p.addEvents()
	p.Wake = p.wake()
	out := p.Output // alone: a pointer into p would keep the Facts, and the Step before, and so all
	s.before, s.wasReachable, s.worked = &out, p.API.Reachable, p.working
	return out
}

// mayAnswer reports whether this node may answer for anything at all.
func (p *pass) mayAnswer() bool { return !p.Members.Isolated && !p.stalled }

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

// aliveNodes returns which nodes are alive.
func (p *pass) aliveNodes() map[string]bool {
	out := make(map[string]bool, len(p.Cluster.Nodes))
	for i := range p.Cluster.Nodes {
		out[p.Cluster.Nodes[i].Name] = p.Cluster.Nodes[i].Live
	}
	return out
}
