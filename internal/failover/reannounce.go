package failover

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

const (
	// settleDelay is how long an opponent must have been heard, or a node have been
	// back, before this node announces again. By then a node that is about to
	// release an address has stopped announcing it, and so has this one.
	settleDelay = 250 * time.Millisecond
	// conflictInterval is the least pause between two announcements against an opponent.
	conflictInterval = time.Second
	// reannounceInterval is the least pause between two times that all is announced again.
	reannounceInterval = 10 * time.Second
)

// reannouncements says which addresses this node announces again although it goes
// on having them. The zero value is ready.
type reannouncements struct {
	all            uint64               // how often all were announced again
	allAt          time.Time            // when they last were
	pending        time.Time            // since when they are to be, again; zero: they are not
	unwrittenSince time.Time            // since when the unwritten ones are to be; zero: they are not
	one            map[netip.Addr]again // those against an opponent
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
	p.working = p.workingLinks()
	back := p.heardAgain || returned(p.last.Alive, p.Alive) || returned(p.worked, p.working)
	r.healed(p.Now, back, p.API.Reachable)
	if back {
		p.lastReturn = p.Now
	}
	if back && len(p.unwritten) > 0 {
		r.unwrittenSince = cmp.Or(r.unwrittenSince, p.Now)
	}
	if !r.unwrittenSince.IsZero() && !p.Now.Before(r.unwrittenSince.Add(pause(p.API.Reachable))) {
		r.announceUnwritten(p.Now, p.Plan.Claims, p.unwritten)
	}
	r.announceAgainst(p.Now, p.Plan.Claims, p.losing())
	for i := range p.Plan.Claims {
		p.Plan.Claims[i].Generation = r.generation(p.Plan.Claims[i].Addr)
	}
}

// returned reports whether a node is alive, or a link works, that was not or did not before.
func returned[K comparable](before, now map[K]bool) bool {
	for k, was := range before {
		if !was && now[k] {
			return true
		}
	}
	return false
}

// healed records whether a node is back. Neighbors that were out of reach together with
// that node may have missed who has what.
func (r *reannouncements) healed(now time.Time, back, reachable bool) {
	if back {
		r.pending = cmp.Or(r.pending, now)
	}
	if !r.pending.IsZero() && !now.Before(r.due(reachable)) {
		r.all, r.allAt, r.pending = r.all+1, now, time.Time{}
	}
}

// announceUnwritten has the unwritten addresses announced again: the node that had them may be
// among those that are back. They are few, and do not wait for reannounceInterval.
func (r *reannouncements) announceUnwritten(now time.Time, claims []announce.Claim, taken map[netip.Addr]takeover) {
	r.unwrittenSince = time.Time{}
	for _, c := range claims {
		if _, ok := taken[c.Addr]; ok {
			r.again(c.Addr, now)
		}
	}
}

// again has one address announced again.
func (r *reannouncements) again(a netip.Addr, now time.Time) {
	if r.one == nil {
		r.one = map[netip.Addr]again{}
	}
	r.one[a] = again{r.one[a].times + 1, now}
}

// pause is how long a node must have been back before this node announces again. A node
// that can't ask the API server lets the others announce first.
func pause(reachable bool) time.Duration {
	if reachable {
		return settleDelay
	}
	return yieldLate
}

// due is when all may be announced again.
func (r *reannouncements) due(reachable bool) time.Time {
	at, paused := r.pending.Add(pause(reachable)), r.allAt.Add(reannounceInterval)
	if paused.After(at) {
		return paused
	}
	return at
}

// losing returns the opponents against which this node announces what it keeps: all, if it
// has asked the API server. Without it those that were lost since: clients still send to them.
func (p *pass) losing() map[netip.Addr]Opponent {
	if p.API.Reachable {
		return p.opponents
	}
	out := map[netip.Addr]Opponent{}
	for a, o := range p.opponents {
		if p.Members.Standing[o.Node] == membership.Dead {
			out[a] = o
		}
	}
	return out
}

// announceAgainst announces what this node keeps against its opponents.
func (r *reannouncements) announceAgainst(now time.Time, keeps []announce.Claim, opponents map[netip.Addr]Opponent) {
	if len(opponents) == 0 {
		return
	}
	for _, c := range keeps {
		o, ok := opponents[c.Addr]
		a := r.one[c.Addr]
		if ok && o.Last.After(a.last) && !now.Before(a.next(o)) {
			r.again(c.Addr, now)
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
func (r *reannouncements) next(opponents, losing map[netip.Addr]Opponent, claimed map[netip.Addr]bool, reachable bool) (time.Time, bool) {
	var times []time.Time
	if !r.pending.IsZero() {
		times = append(times, r.due(reachable))
	}
	if !r.unwrittenSince.IsZero() {
		times = append(times, r.unwrittenSince.Add(pause(reachable)))
	}
	for _, o := range opponents {
		times = append(times, o.Last.Add(ConflictMemory))
	}
	for addr, o := range losing {
		if a := r.one[addr]; claimed[addr] && o.Last.After(a.last) {
			times = append(times, a.next(o))
		}
	}
	if len(times) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(times, time.Time.Compare), true
}
