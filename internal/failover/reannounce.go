package failover

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

const (
	// settleDelay is how long an opponent must have been heard, or a node have been
	// back, before this node announces again: whoever is about to give up an
	// address, as it moves, is silent by then, and so is this one if it is to.
	settleDelay = 250 * time.Millisecond
	// conflictInterval is the least pause between two announcements against an opponent.
	conflictInterval = time.Second
	// reannounceInterval is the least pause between two times that all is announced again.
	reannounceInterval = 10 * time.Second
)

// reannouncements says which addresses this node announces again although it goes
// on having them. The zero value is ready.
type reannouncements struct {
	all     uint64               // how often all were announced again
	allAt   time.Time            // when they last were
	pending time.Time            // since when they are to be, again; zero: they are not
	one     map[netip.Addr]again // those against an opponent
}

// again is how often an address was announced against an opponent, and when last.
type again struct {
	times uint64
	last  time.Time
}

// announceAgain gives each claim its generation: when that changes, the address
// is announced again.
func (p *pass) announceAgain() {
	r := &p.reannounce
	r.healed(p.Now, p.worked, p.reaches(), p.API.Reachable)
	if p.API.Reachable {
		r.contradict(p.Now, p.Plan.Claims, p.opponents)
	}
	for i := range p.Plan.Claims {
		p.Plan.Claims[i].Round = r.generation(p.Plan.Claims[i].Addr)
	}
}

// healed takes in who is alive, on which links, and was before. Neighbors that were out of reach
// together with a node that comes back may have missed who has what.
func (r *reannouncements) healed(now time.Time, before, alive map[place]bool, reachable bool) {
	for at, there := range alive {
		if was, known := before[at]; there && known && !was && r.pending.IsZero() {
			r.pending = now
		}
	}
	if !r.pending.IsZero() && !now.Before(r.due(reachable)) {
		r.all, r.allAt, r.pending = r.all+1, now, time.Time{}
	}
}

// due is when all may be announced again.
func (r *reannouncements) due(reachable bool) time.Time {
	at, paused := r.pending.Add(settleDelay), r.allAt.Add(reannounceInterval)
	if !reachable {
		at = r.pending.Add(yieldLate)
	}
	if paused.After(at) {
		return paused
	}
	return at
}

// contradict takes in the opponents for addresses that this node keeps, having
// asked the API server.
func (r *reannouncements) contradict(now time.Time, keeps []announce.Claim, opponents map[netip.Addr]Opponent) {
	if len(opponents) == 0 {
		return
	}
	if r.one == nil {
		r.one = map[netip.Addr]again{}
	}
	for _, c := range keeps {
		o, ok := opponents[c.Addr]
		a := r.one[c.Addr]
		if ok && o.Last.After(a.last) && !now.Before(a.next(o)) {
			r.one[c.Addr] = again{a.times + 1, now}
		}
	}
}

// next is when the address is to be announced against o.
func (a again) next(o Opponent) time.Time {
	settled, paused := o.First.Add(settleDelay), a.last.Add(conflictInterval)
	if paused.After(settled) {
		return paused
	}
	return settled
}

// generation of an address's announcements.
func (r *reannouncements) generation(a netip.Addr) uint64 { return r.all + r.one[a].times }

// next returns when there may be something to announce, or an opponent is to be
// forgotten; false: never.
func (r *reannouncements) next(opponents map[netip.Addr]Opponent, claimed map[netip.Addr]bool, reachable bool) (time.Time, bool) {
	var times []time.Time
	if !r.pending.IsZero() {
		times = append(times, r.due(reachable))
	}
	for addr, o := range opponents {
		times = append(times, o.Last.Add(ConflictMemory))
		if a := r.one[addr]; reachable && claimed[addr] && o.Last.After(a.last) {
			times = append(times, a.next(o))
		}
	}
	if len(times) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(times, time.Time.Compare), true
}
