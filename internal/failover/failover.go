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
	"maps"
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
	// former has the addresses that the L2Claims gave this node when it started, or missed what
	// others decided, and that it has not had since: while the API server was away another node
	// may have taken them over, which has not written that yet. It is nil before the first Step.
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
	// writers has the nodes whose names came into L2Claims over that of this node, which has the
	// address and keeps it; each for denialTime.
	writers map[netip.Addr]Opponent
	// handovers has an entry for each address that this node gave up and still
	// answers for.
	handovers map[netip.Addr]handover
	// otherOwners has the opponents of which this node knows without having heard them announce: the
	// owners that an L2Claim came to name while this node could not hear of all, and those that
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
		Options: o, phase: Starting, renewals: map[nodeOrLink]renewals{}, unwritten: map[netip.Addr]takeover{}, writers: map[netip.Addr]Opponent{},
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
	arriving   map[netip.Addr]bool   // what arrives reports; nil: not asked yet
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
	p.Phase = s.phase // until transition
	p.readClaims()
	p.recordPresence()
	p.recordConflicts()
	p.decideOwners()
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

// readClaims records which node each L2Claim names as the owner, and which node says in it that it
// answers.
func (p *pass) readClaims() {
	p.Owners = make(map[netip.Addr]string, len(p.Claims))
	for _, c := range p.Claims {
		p.Owners[c.Addr], p.answering[c.Addr] = c.Node, c.Answering
	}
}

// mayAnswer reports whether this node may answer for anything at all.
func (p *pass) mayAnswer() bool { return !p.Members.Isolated && !p.stalled }

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

// transition sets the phase of this Step. What happened while the node was
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
