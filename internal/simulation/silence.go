package simulation

import (
	"net/netip"
	"slices"
	"time"
)

// silence is that a client gets no answer for an address.
type silence struct {
	since time.Time // zero: it gets one
	able  time.Time // since when the first candidate is one; zero: there is none
	alone bool      // no candidate hears another node or the gateway
	lost  bool      // there may be an owner, but the client sends to a machine that can't be reached
	what  string
}

// lookForSilence checks that an address is answered for where that can be.
func (w *world) lookForSilence(a netip.Addr, x *watched) {
	able, alone := w.candidates(subnetOf(a))
	m, client := w.replier(a), w.lan.client(subnetOf(a))
	if x.cache == nil {
		x.cache = m
	}
	gone := x.cache == nil || !w.lan.talk(client, x.cache.place)
	since(&x.silent, m == nil, w.now)
	since(&x.lost, gone, w.now)
	w.checkSilence(a, x, silence{since: x.silent, able: able, alone: alone, what: "no node answers for"})
	w.checkSilence(a, x, silence{since: x.lost, able: able, alone: alone, lost: true, what: "the client sends to a machine that can't be reached for"})
	if gone && m != nil && w.now.Sub(x.lost) > 9*time.Second {
		x.cache = nil // the kernel asks again
	}
}

// candidates returns since when the first candidate of a subnet is one, and whether none
// of them hears another node or the gateway.
func (w *world) candidates(subnet int) (able time.Time, alone bool) {
	alone = true
	for _, n := range w.lan.subnets[subnet] {
		st := &w.rules.states[n.place]
		if c := st.candidate; !c.IsZero() && (able.IsZero() || c.Before(able)) {
			able = c
		}
		alone = alone && st.company.IsZero()
	}
	return able, alone
}

// replier returns the machine that the first reply for an address tells a client of, if
// the client reaches it; nil: none does.
func (w *world) replier(a netip.Addr) *node {
	client := w.lan.client(subnetOf(a))
	for _, n := range w.lan.subnets[subnetOf(a)] {
		if n.speaker == nil {
			continue
		}
		mac, _, ok := n.speaker.answers(a)
		if !ok || !w.lan.talk(client, n.place) {
			continue
		}
		if m := w.machine(mac); m != nil && w.lan.talk(client, m.place) {
			return m
		}
	}
	return nil
}

// keptUnmet reports whether a node that no other reaches has an address, and none can know
// it: there is no gateway that the node could ask, it renews its Lease, and it has never met
// any of the others: of each two the later speaker started when the node was cut off, or so
// late before that they had not found each other. To itself it is like a node whose peers
// are all behind a firewall; those go by their Leases, and by the L2Claim (docs/limits.md). So does
// every node with --isolation=never: that is its price.
func (w *world) keptUnmet(a netip.Addr) bool {
	return !w.tells() && slices.ContainsFunc(w.lan.subnets[subnetOf(a)], func(n *node) bool {
		cut := w.rules.states[n.place].cut
		if cut.IsZero() || !w.reachesServer(n) {
			return false
		}
		_, own, ok := n.speaker.answers(a)
		return ok && own && (w.NeverIsolated || !slices.ContainsFunc(w.nodes, func(m *node) bool { return m != n && w.met(n, m, cut) }))
	})
}

// met reports whether two nodes had time to find each other before one was cut off, or it
// hears the other one still.
func (w *world) met(n, m *node, cut time.Time) bool {
	if m.speaker == nil {
		return false
	}
	return w.lan.reaches(m.place, n.place) || maxTime(m.speaker.started, n.speaker.started).Add(finding).Before(cut)
}

// checkSilence checks that a silence does not last for too long.
func (w *world) checkSilence(a netip.Addr, x *watched, s silence) {
	if s.since.IsZero() || s.able.IsZero() {
		return
	}
	from := maxTime(maxTime(s.since, s.able), x.since)
	bound, reason := w.bound(from, x, s)
	if bound >= several {
		from = maxTime(from, w.lastEvent())
	}
	if d := w.now.Sub(from); d > bound && !w.keptUnmet(a) {
		w.violate(NoSilence, "%s %s since %s (%s: %s at most)", s.what, a, d.Round(time.Millisecond), reason, bound)
	}
}

// bound returns how long a silence may last that counts from then, and why.
func (w *world) bound(from time.Time, x *watched, s silence) (time.Duration, string) {
	bound, reason := w.cost(from, x)
	switch {
	case bound >= lonely:
	case w.NeverIsolated && bound == takeover:
		bound, reason = several, "a node that is cut off does not say so"
	case s.lost && w.now.Sub(x.doubled) < recent:
		bound, reason = lonely, "two answered the client that could not hear each other; its kernel asks again"
	case s.alone || w.onlyKubernetes():
		bound, reason = lonely, "only Kubernetes can tell"
		if w.ManyLeases { // they are read from the next own renewal on, and missing ones counted from there
			bound += interval
		}
	}
	return bound, reason
}

// onlyKubernetes reports whether nodes may be unable to tell by themselves which of them
// are dead.
func (w *world) onlyKubernetes() bool {
	return 2*w.running() <= w.Nodes || w.SecondLink && w.Nodes == 2 || !w.tells() && w.Nodes > mesh
}

// machine returns the node with a MAC.
func (w *world) machine(mac [6]byte) *node {
	if place := int(mac[4])<<8 | int(mac[5]); place < len(w.nodes) && w.nodes[place].mac == mac {
		return w.nodes[place]
	}
	return nil
}

// cost returns how long an address may be silent, from then on, for what happened lately.
func (w *world) cost(from time.Time, x *watched) (time.Duration, string) {
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
