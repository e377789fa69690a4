package simulation

import (
	"net/netip"
	"time"
)

// lookForSilence checks that an address is answered for where that can be.
func (w *world) lookForSilence(a netip.Addr, x *watched) {
	client := w.lan.client(subnetOf(a))
	var able time.Time // since when the first candidate is one
	alone := true      // none hears anybody
	answered := false
	for i, n := range w.nodes {
		if n.subnet != subnetOf(a) {
			continue
		}
		if c := w.rules.states[i].candidate; !c.IsZero() && (able.IsZero() || c.Before(able)) {
			able = c
		}
		alone = alone && w.rules.states[i].company.IsZero()
		if s := n.speaker; s != nil && !answered && w.lan.talk(client, n.place) {
			mac, _, ok := s.answers(a)
			m := w.machine(mac)
			if answered = ok && m != nil && w.lan.talk(client, m.place); answered && x.cache == nil {
				x.cache = m
			}
		}
	}
	w.checkSilence(a, x, &x.silent, answered, able, alone, "nobody answers for")
	gone := x.cache == nil || !w.lan.talk(client, x.cache.place)
	w.checkSilence(a, x, &x.lost, !gone, able, alone, "the client sends to a machine that can't be reached for")
	if gone && answered && w.now.Sub(x.lost) > 9*time.Second {
		x.cache = nil // the kernel asks anew
	}
}

func (w *world) checkSilence(a netip.Addr, x *watched, since *time.Time, fine bool, able time.Time, alone bool, what string) {
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
	if bound < lonely && since == &x.lost && w.now.Sub(x.doubled) < recent {
		bound, why = lonely, "two answered the client that could not hear each other; its kernel asks anew"
	}
	if bound < lonely && (alone || 2*w.running() <= w.Nodes || w.SecondLink && w.Nodes == 2 || !w.Gateway && w.Nodes > mesh) {
		bound, why = lonely, "only Kubernetes can tell"
		if w.ManyLeases { // they are read from the next own renewal on, and missing ones counted from there
			bound += interval
		}
	}
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
