package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

// Two nodes may answer for one address: when the halves of a network meet again,
// say. Each hears the other announce it. Who is heard is there, whatever else is
// known of it, so both decide as always: by the L2Claim, then by the hash. The
// loser falls silent at once, the winner repeats its announcement. A node that
// can't ask the API server lets the others speak first.

// rival is a node that was heard to say that it has an address of this one.
type rival struct {
	node        string
	mac         [6]byte
	first, last time.Time // of what was heard without a longer pause
}

const (
	// settling is how long a rival must have been heard, or a node have been back,
	// before this node repeats its announcements: whoever is about to give up an
	// address, as it moves, is silent by then, and so is this one if it is to.
	settling = 250 * time.Millisecond
	// insisting is the least pause between two announcements against a rival.
	insisting = time.Second
	// cedingSoon and cedingLate are how long a rival must go on until this node,
	// which can't ask the API server, takes its word for it. They differ so that
	// of two that can't ask one stays.
	cedingSoon, cedingLate = 500 * time.Millisecond, 2 * time.Second
	// reuniting is the least pause between two times that all is announced anew.
	reuniting = 10 * time.Second
)

// rivalsOf names the nodes of the rivals, by address; of several of one address
// the first that was heard. Who has a MAC of this node's own is none.
func rivalsOf(self string, heard []layer2.Rival, nodes map[[6]byte]string) map[netip.Addr]rival {
	out := map[netip.Addr]rival{}
	for _, h := range heard {
		node, known := nodes[h.MAC]
		if before, ok := out[h.Addr]; !known || node == self || ok && !h.First.Before(before.first) {
			continue
		}
		out[h.Addr] = rival{node, h.MAC, h.First, h.Last}
	}
	return out
}

// cedes reports whether node, which takes an address for its own but can't ask
// the API server, leaves it to a rival that goes on announcing it: perhaps that
// one can ask. One that is in the same position gives way to the other's word,
// too, but not as soon.
func (v rival) cedes(node string, addr netip.Addr) bool {
	patience := cedingSoon
	if announce.Rank(node, addr) > announce.Rank(v.node, addr) {
		patience = cedingLate
	}
	return v.last.Sub(v.first) >= patience
}

// overruled takes in the nodes that the L2Claims name now, and enters those that
// came to be named while this node could not hear of it: a node that could write
// that was there, whatever was found out meanwhile.
func overruled(self string, before *decision, named map[netip.Addr]string, rivals map[netip.Addr]rival, now time.Time) {
	if before == nil || before.connected {
		return
	}
	for a, node := range named {
		if was, known := before.holders[a]; known && was != node && node != self {
			rivals[a] = rival{node: node, first: now, last: now}
		}
	}
}

// remember adds to the rivals that were heard those that are known from the
// L2Claims, for as long, and forgets the others.
func remember(heard, told map[netip.Addr]rival, now time.Time) {
	for a, v := range told {
		if now.Sub(v.last) >= layer2.RivalMemory {
			delete(told, a)
		} else if _, ok := heard[a]; !ok {
			heard[a] = v
		}
	}
}

// heard enters what rivals prove by being heard: that they are there, and that
// their links are up.
func heard(rivals map[netip.Addr]rival, nodes []announce.Node) {
	proof := map[string]map[[6]byte]bool{}
	for _, v := range rivals {
		if proof[v.node] == nil {
			proof[v.node] = map[[6]byte]bool{}
		}
		proof[v.node][v.mac] = true
	}
	for i := range nodes {
		n := &nodes[i]
		if proof[n.Name] == nil {
			continue
		}
		n.Live = true
		n.Links = slices.Clone(n.Links)
		for j := range n.Links {
			n.Links[j].Up = n.Links[j].Up || proof[n.Name][n.Links[j].MAC]
		}
	}
}

// rounds says which addresses this node announces anew although it goes on
// having them. The zero value is ready.
type rounds struct {
	all      uint64
	reunited time.Time // when all were last announced anew
	due      time.Time // since when they are to be, again; zero: they are not
	one      map[netip.Addr]insistence
}

// insistence is how often an address was announced against a rival, and when last.
type insistence struct {
	times uint64
	last  time.Time
}

// enter gives the claims of d, which takes the place of before, their rounds.
func (r *rounds) enter(now time.Time, before, d *decision, connected bool) {
	r.reunion(now, before.live, d.live, connected)
	if connected {
		r.insist(now, d.Claims, d.rivals)
	}
	for i := range d.Claims {
		d.Claims[i].Round = r.of(d.Claims[i].Addr)
	}
}

// reunion takes in who is there, and was before. Neighbours that were out of
// reach together with a node that comes back may have missed who has what.
func (r *rounds) reunion(now time.Time, before, live map[string]bool, connected bool) {
	for node, there := range live {
		if was, known := before[node]; there && known && !was && r.due.IsZero() {
			r.due = now
		}
	}
	if !r.due.IsZero() && !now.Before(r.ready(connected)) {
		r.all, r.reunited, r.due = r.all+1, now, time.Time{}
	}
}

// ready is when all may be announced anew.
func (r *rounds) ready(connected bool) time.Time {
	at, paused := r.due.Add(settling), r.reunited.Add(reuniting)
	if !connected {
		at = r.due.Add(cedingLate)
	}
	if paused.After(at) {
		return paused
	}
	return at
}

// insist takes in the rivals of the addresses that this node keeps, having asked
// the API server.
func (r *rounds) insist(now time.Time, keeps []announce.Claim, rivals map[netip.Addr]rival) {
	if len(rivals) == 0 {
		return
	}
	if r.one == nil {
		r.one = map[netip.Addr]insistence{}
	}
	for _, c := range keeps {
		v, ok := rivals[c.Addr]
		i := r.one[c.Addr]
		if ok && v.last.After(i.last) && !now.Before(i.next(v)) {
			r.one[c.Addr] = insistence{i.times + 1, now}
		}
	}
}

// next is when the address is to be announced against v.
func (i insistence) next(v rival) time.Time {
	settled, paused := v.first.Add(settling), i.last.Add(insisting)
	if paused.After(settled) {
		return paused
	}
	return settled
}

// of returns the round of an address.
func (r *rounds) of(a netip.Addr) uint64 { return r.all + r.one[a].times }

// again returns when there may be something to announce, or a rival is to be
// forgotten; false: never.
func (r *rounds) again(rivals map[netip.Addr]rival, claimed map[netip.Addr]bool, connected bool) (time.Time, bool) {
	var times []time.Time
	if !r.due.IsZero() {
		times = append(times, r.ready(connected))
	}
	for a, v := range rivals {
		times = append(times, v.last.Add(layer2.RivalMemory))
		if i := r.one[a]; connected && claimed[a] && v.last.After(i.last) {
			times = append(times, i.next(v))
		}
	}
	if len(times) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(times, time.Time.Compare), true
}
