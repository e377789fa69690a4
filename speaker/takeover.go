package main

import (
	"maps"
	"net/netip"
	"time"
)

// takeover is an address that this node took over, and could not yet say so.
type takeover struct {
	from string // whom its L2Claim named then; empty: nobody
	// blind: the API server was out of reach since. Then from may have been alive
	// and well in another half of the network, and this node asks on the wire
	// whether it has the address, too, before it writes its own name over it.
	blind bool
}

// takeOver takes in what this node answers for now, and did not before.
func (r *reconciler) takeOver(before, d *decision) {
	for _, c := range d.Claims {
		d.claimed[c.Addr] = true
		if holder := d.holders[c.Addr]; !before.claimed[c.Addr] && holder != r.node {
			r.taken[c.Addr] = takeover{from: holder}
			if holder != "" {
				r.takeovers.Add(1)
			}
		}
	}
	maps.DeleteFunc(r.taken, func(a netip.Addr, t takeover) bool { return !d.claimed[a] || d.holders[a] != t.from })
}

// confirm says of which addresses it is not to be told that this node has them:
// of those that were taken over blindly, until nobody else was found to have them.
func (r *reconciler) confirm(now time.Time, d *decision) {
	for a, t := range r.taken {
		other, asked := r.vacancies.holder(now, a)
		switch {
		case !r.beat.connected():
			t.blind = t.blind || t.from != ""
		case asked && other != t.from:
			t.blind = false
		}
		r.taken[a] = t
		if t.blind {
			d.unsure[a] = true
		}
	}
}

// contradicted enters as rivals those who answer for an address that this node
// has taken over from them blindly.
func (r *reconciler) contradicted(now time.Time, rivals map[netip.Addr]rival) {
	for a, t := range r.taken {
		if other, asked := r.vacancies.holder(now, a); t.blind && asked && other == t.from {
			v := rival{node: other, first: now, last: now}
			r.overruled[a], rivals[a] = v, v
		}
	}
}
