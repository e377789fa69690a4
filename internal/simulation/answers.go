package simulation

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// lookForTwo checks that two nodes that can hear each other don't both answer.
func (w *world) lookForTwo(a netip.Addr, x *watched) {
	all := w.owners(a)
	if len(all) < 2 {
		clear(x.both)
		clear(x.apart)
	}
	for i, n := range all {
		for _, m := range all[i+1:] {
			w.lookForHalves(a, x, n, m)
			w.lookForPair(a, x, n, m)
		}
	}
	w.lookForIntruders(a, x, all)
	var alone *node
	if len(all) == 1 {
		alone = all[0]
	}
	if x.alone != alone {
		x.alone, x.alike = alone, w.now
	}
}

// owners returns the nodes that answer for an address as their own.
func (w *world) owners(a netip.Addr) []*node {
	var all []*node
	for _, n := range w.lan.subnets[subnetOf(a)] {
		if n.speaker == nil {
			continue
		}
		if _, own, ok := n.speaker.answers(a); ok && own {
			all = append(all, n)
		}
	}
	return all
}

// lookForPair checks that two owners that can hear each other don't go on for long.
func (w *world) lookForPair(a netip.Addr, x *watched, n, m *node) {
	pair := [2]int{n.place, m.place}
	since, known := x.both[pair]
	switch {
	case !w.lan.talk(n.place, m.place):
		delete(x.both, pair)
		x.doubled = w.now
	case !known && w.both(n, m) >= 0:
		x.both[pair] = w.now
	case w.now.Sub(maxTime(since, w.lastEvent())) > w.both(n, m):
		w.violate(OneAnswer, "%s and %s both answer for %s, and can hear each other", n.name, m.name, a)
	}
}

// both returns for how long two nodes may answer for one address.
func (w *world) both(n, m *node) time.Duration {
	for _, x := range []*node{n, m} {
		if w.now.Sub(x.woke) < 20*time.Millisecond {
			return -1 // who stood still has nothing
		}
	}
	if w.hindered() {
		return hindered
	}
	for _, x := range []*node{n, m} {
		if h := w.rules.states[x.place].heardAPI; h.IsZero() || w.now.Sub(h) < several {
			return meeting
		}
	}
	for _, e := range w.rules.events {
		if e.weight >= delay && !e.still && w.now.Sub(e.at) < recent {
			return meeting
		}
	}
	return hearing
}

// lookForHalves checks that two nodes that can't hear each other don't both answer for
// long, if the API server can tell them which of them has the address.
func (w *world) lookForHalves(a netip.Addr, x *watched, n, m *node) {
	pair := [2]int{n.place, m.place}
	for _, one := range []*node{n, m} {
		if w.lan.talk(n.place, m.place) || !w.lan.talk(one.place, w.lan.client(one.subnet)) || w.rules.states[one.place].heardAPI.IsZero() {
			delete(x.apart, pair)
			return
		}
	}
	if since, known := x.apart[pair]; !known {
		x.apart[pair] = w.now
	} else if w.now.Sub(maxTime(since, w.lastEvent())) > parted {
		w.violate(OneAnswer, "%s and %s both answer for %s, which the API server could settle", n.name, m.name, a)
	}
}

// lookForIntruders checks that none of the nodes that answer has begun to while another
// one, which it can hear, has the address; and that none answers for long that reaches no other.
func (w *world) lookForIntruders(a netip.Addr, x *watched, all []*node) {
	for place := range x.began {
		if !slices.Contains(all, w.nodes[place]) {
			delete(x.began, place)
		}
	}
	for _, n := range all {
		if cut := w.rules.states[n.place].cut; !cut.IsZero() && w.now.Sub(maxTime(cut, w.lastEvent())) > noticing && w.cutOff(n) {
			w.violate(OneAnswer, "%s answers for %s, and has reached no other since %s", n.name, a, w.now.Sub(cut))
		}
		if _, known := x.began[n.place]; known {
			continue
		}
		x.began[n.place] = w.now
		for _, m := range all {
			since, known := x.began[m.place]
			if known && w.now.Sub(maxTime(since, w.lastEvent())) > keeps && w.lan.talk(n.place, m.place) && !w.entitled(a, x, n, m) && !w.unaware(x, n, m) {
				w.violate(OneAnswer, "%s begins to answer for %s, which %s has", n.name, a, m.name)
			}
		}
		x.has[n.place] = n.speaker.instance
	}
}

// cutOff reports whether a node that reaches no other can know that others do: there is a
// gateway that does not answer to it, and others have run for a while, and did when it, or the API server,
// last heard of them; or, if it reaches the API server for long enough to know, others do
// still: the last one that does answers. Others do not count that say that they are cut off
// themselves. One of two nodes is not asked that much: its only peer may say of
// itself that it is dead, and then this node is the last one, whatever its gateway answers
// (what it sends gets nowhere if it is cut off). Nor is a node with a second link that
// works, or one that the API server answers late.
func (w *world) cutOff(n *node) bool {
	of := &w.rules.states[n.place]
	knows := !of.heardAPI.IsZero() && w.now.Sub(of.heardAPI) > expires
	return w.tells() && !w.SecondLink && w.Nodes > 2 && !w.hindered() && slices.ContainsFunc(w.nodes, func(m *node) bool {
		other := &w.rules.states[m.place]
		there := other.runs.Before(of.cut) && !of.expired[m.place]
		if knows {
			there = !other.heardAPI.IsZero()
		}
		says := !other.cut.IsZero() && w.lan.reaches(m.place, n.place)
		return m != n && other.informed && !other.runs.IsZero() && w.now.Sub(other.runs) > noticing && there && !says
	})
}

// entitled reports whether a node may take an address that another one has: its L2Claim
// names it, or did until a moment ago, and the API server can be asked; or it is preferred.
// That an L2Claim named it before its speaker started does not count: it finds out first. It does
// count if the L2Claim says that the other node answers, as it then knows of that one, which is
// to hand the address over, and may not have heard of that yet.
func (w *world) entitled(a netip.Addr, x *watched, n, from *node) bool {
	o := w.api.get(claims, intent.ClaimName(a))
	named := o == nil || o.value.(claimValue).owner == n.name || x.named == n.name || x.formerly == n.name && w.now.Sub(x.names) < glimpse
	old := o != nil && x.has[n.place] != n.speaker.instance && x.names.Before(n.speaker.started) && x.answers != from.name
	return n.place+1 == w.Prefers || w.api.away == 0 && named && !old
}

// unaware reports whether a node that takes an address learned late that another one has
// it, or that one that it is excluded. What the L2Claim said before the node was last away is
// no news: it reads that when it is back.
func (w *world) unaware(x *watched, n, m *node) bool {
	read := x.named == m.name && x.names.Before(w.rules.states[n.place].returned)
	return !read && w.learnedLate(n) || m.excluded > 0 && w.learnedLate(m)
}

// learnedLate reports whether the API server told a node late of what others did.
func (w *world) learnedLate(n *node) bool {
	return slices.ContainsFunc(w.rules.events, func(e event) bool { return w.delays(e) && slices.Contains(e.nodes, n) })
}

// hindered reports whether the API server's answers were late, or got lost.
func (w *world) hindered() bool {
	return slices.ContainsFunc(w.rules.events, w.delays)
}

// delays reports whether an event lately made writes and news late.
func (w *world) delays(e event) bool { return e.weight == delay && w.now.Sub(e.at) < recent }
