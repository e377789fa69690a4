package source

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Input is what a pass depends on, beside what is known.
type Input struct {
	Now     time.Time
	Cluster string // names the cluster; "": it is not known yet, and nothing is asked
	Claims  []Claim
	Alive   func(uid string) bool // whether the Service is there
	// InUse reports whether a Service has an address, shows it, or may soon, or it is kept for another one than svc.
	InUse func(a netip.Addr, svc ipam.Key) bool
}

// Pass returns the calls to make now, and when to look again if nothing happens before; 0:
// never. Calls count as under way until Done.
func (s *State) Pass(in Input) (calls []Call, again time.Duration) {
	if len(s.servers) == 0 || in.Cluster == "" {
		return nil, 0
	}
	of, holds := make(map[*server][]Claim, len(s.servers)), map[netip.Addr]string{}
	for _, c := range in.Claims {
		if b, t := s.target(c.Pool); t != nil {
			of[b] = append(of[b], c)
		}
		if c.Held {
			holds[c.Addr] = c.UID
		}
	}
	for _, endpoint := range s.order {
		b := s.servers[endpoint]
		main := b.main()
		if main == nil {
			continue
		}
		p := pass{Input: in, server: b, main: main, holds: holds, numbers: &s.calls}
		if p.listing == 0 && p.due(p.relist) {
			p.relist = p.Now.Add(relistEvery)
			p.listing = p.begin(Call{Kind: List})
		}
		if b.listed && b.down == "" {
			p.claim(of[b])
			p.sweep(of[b])
		}
		calls, again = append(calls, p.calls...), wait.Soonest(again, p.again)
	}
	return calls, again
}

// pass is the work of one Pass for one IPAM.
type pass struct {
	Input
	*server
	main    *Target
	holds   map[netip.Addr]string // the UIDs of those that have an address, of all IPAMs
	numbers *uint64
	calls   []Call
	again   time.Duration
}

// begin has c be made, and returns its number.
func (p *pass) begin(c Call) uint64 {
	*p.numbers++
	c.number, c.Cluster = *p.numbers, p.Cluster
	if c.To == nil {
		c.To = p.main
	}
	if c.Kind == Release {
		p.leaves(c.Key, true)
	}
	p.calls = append(p.calls, c)
	return c.number
}

// due reports whether a time has come; if not, the next pass is then at the latest.
func (p *pass) due(at time.Time) bool {
	left := at.Sub(p.Now)
	if left > 0 {
		p.again = wait.Soonest(p.again, left)
	}
	return left <= 0
}

// unfit reports whether what the IPAM holds for c is not what c is for.
func (c Claim) unfit(has allocation) bool {
	switch {
	case !has.addr.IsValid():
		return false
	case c.Addr.IsValid() && has.addr != c.Addr:
		return true
	}
	return !c.Held && (has.addr == c.Refused || has.pool != c.Pool)
}

// claim asks for what Services have, or need, and the IPAM does not hold for them.
func (p *pass) claim(claims []Claim) {
	for _, c := range claims {
		to := p.targets[slices.IndexFunc(p.targets, func(t *Target) bool { return t.Pool == c.Pool })]
		e, has := p.entry(place{c.Key, c.Pool}), p.held[c.Key]
		switch {
		case to.Fault != "" || e.call != 0:
		case c.unfit(has):
			p.exchange(e, to, c)
		case has.addr.IsValid():
			e.fails = 0
		case p.due(e.after):
			call := Call{Kind: Allocate, To: to, Claim: c}
			if old := p.holders[c.Addr]; c.Held && old != "" && old != c.UID && !p.Alive(old) {
				call.Replaces = old
			}
			e.call = p.begin(call)
		}
	}
}

// exchange gives back what the IPAM holds for c and c is not for, as soon as the Service does not show it.
func (p *pass) exchange(e *entry, to *Target, c Claim) {
	has := p.held[c.Key].addr
	other := p.holds[has]
	switch {
	case !p.due(e.after):
	case !p.InUse(has, c.Service) || other != "" && other != c.UID:
		c.Addr = has
		e.call = p.begin(Call{Kind: Release, To: to, Claim: c})
	case c.Held:
		e.said = fmt.Sprintf("holds %s for it", has)
	}
}

// sweep gives back what the IPAM holds and no Service claims: of one that is gone after the
// grace time, and never while a Service has the address that needs nothing more than that.
func (p *pass) sweep(claims []Claim) {
	claimed, asked := make(map[Key]bool, len(claims)), make(map[place]bool, len(claims))
	for _, c := range claims {
		claimed[c.Key], asked[place{c.Key, c.Pool}] = true, true
	}
	maps.DeleteFunc(p.entries, func(at place, e *entry) bool {
		newer := p.listing != 0 && e.answered >= p.listing // than the list that is under way
		return !asked[at] && e.call == 0 && !newer && (claimed[at.Key] || !p.held[at.Key].addr.IsValid())
	})
	var orphans []Key
	for k, has := range p.held {
		switch {
		case !claimed[k]:
			orphans = append(orphans, k)
		case !has.orphaned.IsZero():
			has.orphaned = time.Time{}
			p.held[k] = has
		}
	}
	slices.SortFunc(orphans, func(a, b Key) int { return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Family, b.Family)) })
	for _, k := range orphans {
		p.release(k)
	}
}

// release gives back what is held for k, which no Service claims, when that is due.
func (p *pass) release(k Key) {
	has := p.held[k]
	if has.orphaned.IsZero() {
		has.orphaned = p.Now
		p.held[k] = has
	}
	left := settleTime
	if !p.Alive(k.UID) {
		left = max(p.grace(has.pool), settleTime)
	}
	e, other := p.entry(place{k, has.pool}), p.holds[has.addr]
	another := other != "" && other != k.UID && p.Alive(k.UID) // what it has of one that is gone, it takes over
	if e.call == 0 && p.due(e.after) && p.due(has.orphaned.Add(left)) && (another || !p.InUse(has.addr, ipam.Key{})) {
		e.call = p.begin(Call{Kind: Release, Claim: Claim{Key: k, Pool: has.pool, Addr: has.addr}})
	}
}

// grace is how long an address of a pool is kept: if the pool is gone as long as by any other one
// of the IPAM.
func (b *server) grace(pool string) (d time.Duration) {
	for _, t := range b.targets {
		if t.Pool == pool {
			return t.Grace
		}
		d = max(d, t.Grace)
	}
	return d
}
