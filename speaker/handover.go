package main

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// handover is for how long a node goes on answering for an address that another
// one is to have, if that one does not say that it does.
const handover = 2 * time.Second

// handing is an address on its way to another node.
type handing struct {
	since time.Time
	links announce.Links
}

// linger returns claims on the addresses that this node gives up to others
// which do not say yet that they answer: make before break. Questions are
// answered, but nothing is announced any more.
func (r *reconciler) linger(before, d *decision, answering map[netip.Addr]string) []announce.Claim {
	for _, c := range before.Claims {
		if _, known := r.handing[c.Addr]; !known && !d.claimed[c.Addr] {
			r.handing[c.Addr] = handing{time.Now(), c.Links}
		}
	}
	if len(r.handing) == 0 {
		return nil
	}
	heirs := map[netip.Addr]string{}
	for _, v := range d.Verdicts {
		for _, o := range v.Layer2 {
			heirs[o.Addr] = o.Owner
		}
	}
	links := r.links.Links()
	var out []announce.Claim
	for a, h := range r.handing {
		heir := heirs[a]
		answers := answering[a] == heir || d.rivals[a].node == heir // by its L2Claim, or it was heard to
		if heir == "" || heir == r.node || !d.live[heir] || answers || time.Since(h.since) > handover {
			delete(r.handing, a)
			continue
		}
		c := announce.Claim{Addr: a}
		for _, l := range links {
			if l.Up && h.links.Match(l.Name) {
				c.As = append(c.As, announce.Disguise{Link: l.Name, MAC: [6]byte(l.MAC)})
			}
		}
		if len(c.As) > 0 {
			out = append(out, c)
		}
	}
	return out
}
