package simulation

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The rules are written from what users are promised (docs/explanation/failover.md,
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
)

const (
	// recent is for how long a fault explains what happens after it.
	recent = 25 * time.Second
	// glimpse is what no client notices.
	glimpse = 100 * time.Millisecond
	// takeover is how long an address may be silent when one thing breaks.
	takeover = time.Second
	// several is the same when more than one did, since the last.
	several = 7 * time.Second
	// hindered is the same when the API server's answers were late, or got lost.
	hindered = 16 * time.Second
	// meeting is for how long two may answer that can hear each other.
	meeting = 5 * time.Second
	// informed is how long a speaker that starts needs the API server.
	informed = 6 * time.Second
	// owns is for how long a node must answer alone to count as the one that does.
	owns = 1500 * time.Millisecond
)

// rules is what is remembered of what was seen.
type rules struct {
	broken    *Violation
	looked    time.Time
	lookedAt  time.Time // the nodes
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
}

// state is what was seen of a node.
type state struct {
	instance  int
	heardAPI  time.Time // since when it reaches the API server
	informed  bool
	candidate time.Time // since when it could answer for the addresses of its subnet; zero: it can't
}

// watched is what was seen of an address.
type watched struct {
	since  time.Time // it was granted
	silent time.Time // since when nobody answers
	lost   time.Time // since when the client sends to a machine that can't be reached
	cache  *node     // where the client sends
	both   map[[2]int]time.Time
	alone  *node // answers alone
	alike  time.Time
	owner  *node // answered alone for long
	edited time.Time
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
		x = &watched{since: now, both: map[[2]int]time.Time{}}
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
	if r.fresh || w.now.Sub(r.lookedAt) >= 100*time.Millisecond { // nodes change by faults, and by the clock
		r.lookedAt, r.fresh = w.now, false
		for i, n := range w.nodes {
			w.lookAt(&r.states[i], n)
		}
	}
	for _, a := range w.granted() {
		x := r.of(a, w.now)
		w.lookForTwo(a, x)
		w.lookForSilence(a, x)
		w.lookForMoves(a, x)
	}
}

// lookAt takes in what can be expected of a node.
func (w *world) lookAt(st *state, n *node) {
	s := n.speaker
	if s == nil || !n.there {
		*st = state{}
		return
	}
	if st.instance != s.instance {
		*st = state{instance: s.instance}
	}
	if !w.reachesServer(n) || w.api.away > 0 {
		st.heardAPI = time.Time{}
	} else if st.heardAPI.IsZero() {
		st.heardAPI = w.now
	}
	st.informed = st.informed || !st.heardAPI.IsZero() && w.now.Sub(st.heardAPI) >= informed
	able := st.informed && !w.elsewhere(n) && !s.stopping && s.frozen == 0 && !n.excluded && w.lan.talk(n.place, w.lan.client(n.subnet)) && w.canTell(n, st)
	if !able {
		st.candidate = time.Time{}
	} else if st.candidate.IsZero() {
		st.candidate = w.now
	}
}

// canTell reports whether a node has anybody to learn from whether it is cut off.
func (w *world) canTell(n *node, st *state) bool {
	if !st.heardAPI.IsZero() || w.Gateway && w.lan.silent == 0 && w.lan.talk(n.place, w.lan.router()) {
		return true
	}
	for _, other := range w.nodes {
		if other != n && other.speaker != nil && !other.speaker.stopping && other.speaker.frozen == 0 && w.lan.talk(n.place, other.place) {
			return true
		}
	}
	return false
}

// elsewhere reports whether a node is parted from others that also reach the API
// server: then the L2Claim decides which half has an address.
func (w *world) elsewhere(n *node) bool {
	if w.api.away > 0 || !w.reachesServer(n) {
		return false
	}
	for _, other := range w.nodes {
		if other.subnet == n.subnet && other.speaker != nil && w.reachesServer(other) && !w.lan.talk(n.place, other.place) && w.company(other) {
			return true
		}
	}
	return false
}

// company reports whether a node hears anybody.
func (w *world) company(n *node) bool {
	if w.Gateway && w.lan.silent == 0 && w.lan.talk(n.place, w.lan.router()) {
		return true
	}
	return slices.ContainsFunc(w.nodes, func(other *node) bool { return other != n && other.speaker != nil && w.lan.talk(n.place, other.place) })
}

// lookForTwo checks that two nodes that can hear each other don't both answer.
func (w *world) lookForTwo(a netip.Addr, x *watched) {
	var all []*node
	for _, n := range w.nodes {
		if s := n.speaker; s != nil && n.subnet == subnetOf(a) && n.alive() {
			if _, own, ok := s.answers(a); ok && own {
				all = append(all, n)
			}
		}
	}
	if len(all) < 2 {
		clear(x.both)
	}
	for i, n := range all {
		for _, m := range all[i+1:] {
			pair := [2]int{n.place, m.place}
			since, known := x.both[pair]
			switch {
			case !w.lan.talk(n.place, m.place):
				delete(x.both, pair)
			case !known:
				x.both[pair] = w.now
			case w.now.Sub(maxTime(since, w.lastEvent())) > meeting:
				w.violate(OneAnswer, "%s and %s both answer for %s, and can hear each other", n.name, m.name, a)
			}
		}
	}
	var alone *node
	if len(all) == 1 {
		alone = all[0]
	}
	if x.alone != alone {
		x.alone, x.alike = alone, w.now
	}
}

// lookForSilence checks that an address is answered for where that can be.
func (w *world) lookForSilence(a netip.Addr, x *watched) {
	client := w.lan.client(subnetOf(a))
	var able time.Time // since when the first candidate is one
	answered := false
	for i, n := range w.nodes {
		if n.subnet != subnetOf(a) {
			continue
		}
		if c := w.rules.states[i].candidate; !c.IsZero() && (able.IsZero() || c.Before(able)) {
			able = c
		}
		if s := n.speaker; s != nil && !answered && w.lan.talk(client, n.place) {
			mac, _, ok := s.answers(a)
			m := w.machine(mac)
			if answered = ok && m != nil && w.lan.talk(client, m.place); answered && x.cache == nil {
				x.cache = m
			}
		}
	}
	w.checkSilence(a, x, &x.silent, answered, able, "nobody answers for")
	gone := x.cache == nil || !w.lan.talk(client, x.cache.place)
	w.checkSilence(a, x, &x.lost, !gone, able, "the client sends to a machine that can't be reached for")
	if gone && answered && w.now.Sub(x.lost) > 9*time.Second {
		x.cache = nil // the kernel asks anew
	}
}

func (w *world) checkSilence(a netip.Addr, x *watched, since *time.Time, fine bool, able time.Time, what string) {
	switch {
	case fine:
		*since = time.Time{}
		return
	case since.IsZero():
		*since = w.now
	}
	if able.IsZero() {
		return
	}
	from := maxTime(maxTime(*since, able), x.since)
	bound, why := w.silence(from, x)
	if bound >= several {
		from = maxTime(from, w.lastEvent())
	}
	if d := w.now.Sub(from); d > bound {
		w.violate(NoSilence, "%s %s since %s (%s: %s at most)", what, a, d.Round(time.Millisecond), why, bound)
	}
}

// machine returns the node with a MAC.
func (w *world) machine(mac [6]byte) *node {
	for _, n := range w.nodes {
		if n.mac == mac {
			return n
		}
	}
	return nil
}

// silence returns how long an address may be silent that has been since then.
func (w *world) silence(from time.Time, x *watched) (time.Duration, string) {
	broke := map[weight]int{}
	for _, e := range w.rules.events {
		if from.Sub(e.at) < recent {
			broke[e.weight]++
		}
	}
	fresh := from.Sub(x.since) < warmUp
	switch {
	case broke[delay] > 0:
		return hindered, "the API server was slow"
	case fresh, broke[hard] > 1, broke[hard] > 0 && broke[free] > 0:
		return several, "much has happened"
	case broke[hard] == 1:
		return takeover, "one thing broke"
	case broke[free] > 1:
		return takeover, "several harmless things happened"
	case broke[free] > 0:
		return glimpse, "nothing broke"
	}
	return glimpse, "nothing has happened"
}

// lastEvent is when the last fault began or ended.
func (w *world) lastEvent() time.Time {
	if n := len(w.rules.events); n > 0 {
		return w.rules.events[n-1].at
	}
	return epoch
}

// lookForMoves checks that an address moves for a reason only.
func (w *world) lookForMoves(a netip.Addr, x *watched) {
	if x.alone == nil || w.now.Sub(x.alike) < owns || x.owner == x.alone {
		return
	}
	was := x.owner
	x.owner = x.alone
	if was == nil || w.now.Sub(x.edited) < recent || w.now.Sub(epoch) < warmUp {
		return
	}
	hards := 0
	for _, e := range w.rules.events {
		if w.now.Sub(e.at) >= recent {
			continue
		}
		if e.weight == hard {
			hards++
		}
		for _, n := range e.nodes {
			if n == was && !e.spares {
				return
			}
		}
	}
	if hards > 1 || w.partial() {
		return
	}
	w.violate(NoNeedlessMove, "%s has gone from %s to %s, and nothing has happened to %s", a, was.name, x.owner.name, was.name)
}

// partial reports whether so few nodes are left that one bad path parts them.
func (w *world) partial() bool {
	running := 0
	for _, n := range w.nodes {
		if n.speaker != nil && n.speaker.frozen == 0 {
			running++
		}
	}
	return running < 3
}
