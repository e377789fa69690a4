package simulation

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// The rules are written from what users are promised (docs/concepts/failover.md,
// the fields of the API), and know nothing of how it is done.

// Violation is a rule that was broken.
type Violation struct {
	Rule string
	At   time.Duration // since the first fault could come
	Text string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s, at %s: %s", v.Rule, v.At.Round(time.Millisecond), v.Text)
}

// The rules.
const (
	OneAnswer      = "One answer"
	NoSilence      = "No silence"
	NoNeedlessMove = "No needless move"
	OneGrant       = "One grant"
	Rest           = "Rest"
	Expected       = "Expected answer" // what the History itself says
)

// The bounds, and why each is what it is.
const (
	// recent is for how long a fault explains what happens after it: the slowest way to
	// a takeover is a Lease that expires late (hindered), and then a takeover.
	recent = 25 * time.Second
	// glimpse is what no client notices: it is what a restart, a handover and an absent
	// API server may cost.
	glimpse = 100 * time.Millisecond
	// takeover is how long an address may be silent when one thing breaks: 0.4 s until
	// the sessions expire, 0.1 s for the watchers to agree, and 0.4 s more for a node
	// that restarts and is asked by ARP.
	takeover = time.Second
	// several is the same when more than one did, since the last: the nodes may first
	// have to find each other again (3 s), or to miss three own renewals and probe.
	several = 7 * time.Second
	// lonely is the same when most nodes have gone at once, so that only Kubernetes
	// knows of it: three renewals of 1 s are missed, after three own ones have come back
	// to a node that has just started, and what was found is written. A client whose
	// entry two halves have changed asks again after as long.
	lonely = 10 * time.Second
	// mesh is up to how many nodes each has a session with all others. In a bigger cluster the
	// network may split so that a node reaches other nodes, and none that it has a session
	// with. Without a gateway it takes itself for isolated, until the Leases of all that it
	// watches have expired (lonely).
	mesh = 7
	// hindered is the same when the API server's answers were late, or got lost: a request
	// is given up after 2 to 5 s and made again 2 s later, for the Lease and for the L2Claim.
	// For as long two may answer that can hear each other, and were parted for so long that
	// Kubernetes had given one of them up.
	hindered = 16 * time.Second
	// hearing is for how long two may answer that can hear each other: the first to
	// announce is heard by the other one, and repeats it after 0.25 s.
	hearing = time.Second
	// meeting is the same when the network was disturbed, so that they find each other
	// again first; or when they can't ask the API server: then the one that ranks higher
	// yields after 2 s of hearing the other, who announces again after as long.
	meeting = 5 * time.Second
	// parted is for how long two may answer that can't hear each other, but both reach
	// the API server, and the same client: each must miss the other, and then see three
	// renewals of its Lease.
	parted = 12 * time.Second
	// noticing is how long a node may answer that reaches no other: one that has just
	// started waits 3 s for the others.
	noticing = 5 * time.Second
	// finding is how long two speakers need to find each other.
	finding = 3 * time.Second
	// expires is how long a node that reaches the API server needs to see that others' Leases
	// have: three own renewals.
	expires = 3 * interval
	// joins is how long a speaker that starts needs the API server until the others hear of it:
	// a list, an own renewal that comes back, and the probes for the addresses that it had.
	joins = time.Second
	// informed is how long a speaker that starts needs the API server: three own renewals
	// that come back, and a list that is made again after 2 s.
	informed = 6 * time.Second
	// changes is how often an L2Claim may change its owner without a pause of a second: for each
	// of two halves of a network that both reach the API server, and for a user's edits.
	changes = 6
	// owns is for how long a node must answer alone to count as the one that does, and
	// keeps for how long to have an address for good.
	owns, keeps = 1500 * time.Millisecond, 1500 * time.Millisecond
)

// rules is what is remembered of what was seen.
type rules struct {
	broken    *Violation
	looked    time.Time
	lookedAt  time.Time // the nodes
	away      time.Time // when the API server last was
	fresh     bool      // something has happened to nodes since
	events    []event
	addrs     map[netip.Addr]*watched
	states    []state // of the nodes
	announced int
	probed    int
}

// event is a fault that began or ended.
type event struct {
	at     time.Time
	weight weight
	nodes  []*node
	spares bool
	still  bool // processes stood still, or ended: the network is as it was
}

// watched is what was seen of an address.
type watched struct {
	claim    string               // the name of its L2Claim
	since    time.Time            // it was granted
	looked   time.Time            // when it was last looked at
	silent   time.Time            // since when no node answers
	lost     time.Time            // since when the client sends to a machine that can't be reached
	cache    *node                // where the client sends
	both     map[[2]int]time.Time // since when two answer that can hear each other
	apart    map[[2]int]time.Time // since when two answer that can't, and a client hears both
	began    map[int]time.Time    // since when a node answers
	has      map[int]int          // the instance of each node's speaker that answered last
	doubled  time.Time            // when two last answered that could not hear each other
	alone    *node                // answers alone
	alike    time.Time
	owner    *node // answered alone for long
	said     bool  // the L2Claim has named it since
	edited   time.Time
	named    string    // by the L2Claim
	answers  string    // the node that answers, as the L2Claim said when this was last looked at
	names    time.Time // since when
	formerly string    // who was named before
	changes  int       // how often that changed without a pause of a second
}

func (w *world) violate(rule, format string, args ...any) {
	if w.rules.broken == nil {
		w.rules.broken = &Violation{rule, w.now.Sub(epoch) - warmUp, fmt.Sprintf(format, args...)}
	}
}

func (r *rules) edited(a netip.Addr, now time.Time) { r.of(a, now).edited = now }

func (r *rules) of(a netip.Addr, now time.Time) *watched {
	x := r.addrs[a]
	if x == nil {
		x = &watched{since: now, claim: intent.ClaimName(a), both: map[[2]int]time.Time{}, apart: map[[2]int]time.Time{}, began: map[int]time.Time{}, has: map[int]int{}}
		r.addrs[a] = x
	}
	return x
}

// learn has the client of a subnet take in an announcement.
func (r *rules) learn(_ int, a netip.Addr, from *node) {
	if x := r.addrs[a]; x != nil {
		x.cache = from
	}
}

// look checks all rules at this instant.
func (w *world) look() {
	r := &w.rules
	if w.now.Sub(r.looked) < 20*time.Millisecond && !r.fresh {
		return
	}
	r.looked = w.now
	if w.api.away > 0 {
		r.away = w.now
	}
	if r.fresh || w.now.Sub(r.lookedAt) >= 100*time.Millisecond { // nodes change by faults, and by the clock
		r.lookedAt, r.fresh = w.now, false
		for i, n := range w.nodes {
			w.lookAt(&r.states[i], n)
		}
	}
	for _, a := range w.granted() {
		x := r.of(a, w.now)
		x.looked = w.now
		w.lookForTwo(a, x)
		w.lookForSilence(a, x)
		w.lookForMoves(a, x)
	}
	for a, x := range r.addrs {
		if x.looked != w.now { // no node has it any more
			delete(r.addrs, a)
		}
	}
}

// lastEvent is when the last fault began or ended.
func (w *world) lastEvent() time.Time {
	if n := len(w.rules.events); n > 0 {
		return w.rules.events[n-1].at
	}
	return epoch
}

// lookAtClaim takes in what the L2Claim of an address says.
func (w *world) lookAtClaim(a netip.Addr, x *watched) {
	o := w.api.get(claims, x.claim)
	if o == nil {
		return
	}
	v := o.value.(claimValue)
	if x.answers = v.answering; v.owner == x.named {
		return
	}
	if w.now.Sub(x.names) > time.Second {
		x.changes = 0
	}
	if x.changes++; x.changes > changes {
		w.violate(Rest, "the L2Claim of %s goes to and fro between %s and %s", a, x.named, v.owner)
	}
	x.formerly, x.named, x.names = x.named, v.owner, w.now
}

// lookForMoves checks that an address moves for a reason only.
func (w *world) lookForMoves(a netip.Addr, x *watched) {
	w.lookAtClaim(a, x)
	x.said = x.said || x.owner != nil && x.named == x.owner.name
	if x.alone == nil || w.now.Sub(x.alike) < owns || x.owner == x.alone {
		return
	}
	was, forgotten := x.owner, w.forgotten(x)
	x.owner, x.said = x.alone, x.named == x.alone.name
	if was != nil && !forgotten && !w.explained(x, was) {
		w.violate(NoNeedlessMove, "%s has gone from %s to %s, and nothing has happened to %s", a, was.name, x.owner.name, was.name)
	}
}

// explained reports whether there is a reason for an address to have left a node.
func (w *world) explained(x *watched, was *node) bool {
	switch late := w.rules.states[was.place].late; {
	case x.owner.place+1 == w.Prefers, w.now.Sub(x.edited) < recent, w.now.Sub(epoch) < warmUp:
		return true
	case !late.IsZero() && w.now.Sub(late) < recent:
		return true
	case x.named == x.owner.name && w.now.Sub(x.names) > several:
		return true // it was its all the time; the other could not say that it took it over
	}
	late, hit, back := false, false, false
	for e := range w.lately() {
		late = late || e.weight == delay
		if e.weight == hard {
			hit = true
			back = back || slices.Contains(e.nodes, x.owner)
		}
	}
	// What was taken from a node could not be written, and it is back.
	return w.weakened(was) || late && back || hit && w.duplicated(was) || w.partial(was)
}

// forgotten reports whether no other node could know that the owner had an address when another
// one came to answer alone: it took it over while the API server was away, and its speaker has
// ended before it could write that. To the others the address is that of the dead node that the
// L2Claim names. The backups of the owner answer for what L2Claims give it, so not for this: the
// next one takes it, and no client waits.
func (w *world) forgotten(x *watched) bool {
	if x.owner == nil || x.said || x.alike.Sub(w.rules.away) > joins {
		return false
	}
	s := x.owner.speaker
	return s == nil || s.stopping || s.instance != x.has[x.owner.place]
}

// lately yields the events that explain what happens now.
func (w *world) lately() iter.Seq[event] {
	return func(yield func(event) bool) {
		for _, e := range w.rules.events {
			if w.now.Sub(e.at) < recent && !yield(e) {
				return
			}
		}
	}
}

// weakened reports whether a node was harmed lately, and has not been a candidate ever since.
func (w *world) weakened(n *node) bool {
	able := w.rules.states[n.place].candidate
	for e := range w.lately() {
		if !e.spares && slices.Contains(e.nodes, n) && (able.IsZero() || !able.Before(e.at)) {
			return true
		}
	}
	return false
}

// duplicated reports whether another node may have come to answer too while the network
// was disturbed, and may have got the address: for the API server could not be asked, or
// none could know which of them was cut off.
func (w *world) duplicated(was *node) bool {
	heard := w.rules.states[was.place].heardAPI
	return heard.IsZero() || w.now.Sub(heard) < recent || !w.tells() || w.SecondLink
}

// partial reports whether so few nodes are left that one bad path parts them: of those
// that run, are on the network of a node, and have had no harm lately.
func (w *world) partial(of *node) bool {
	there := 0
	for _, n := range w.nodes {
		if n == of || (!w.SecondLink || n.subnet == of.subnet) && n.speaker != nil && n.speaker.frozen == 0 && w.lan.talk(of.place, n.place) && !w.harmed(n) {
			there++
		}
	}
	return there < 3
}

// harmed reports whether something has happened to a node lately.
func (w *world) harmed(n *node) bool {
	for e := range w.lately() {
		if slices.Contains(e.nodes, n) {
			return true
		}
	}
	return false
}

// running counts the speakers that run.
func (w *world) running() int {
	n := 0
	for _, x := range w.nodes {
		if x.speaker != nil && x.speaker.frozen == 0 {
			n++
		}
	}
	return n
}
