package main

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// step is what a pass comes to.
type step struct {
	starts  []start       // writes to begin, in this order
	forgets []types.UID   // attempts that are not wanted any more
	agrees  []start       // Services that show what they shall, though somebody else wrote that
	awaits  bool          // a pass is due when a write lands
	landed  int           // how many had landed when this was decided
	again   time.Duration // when to look again if nothing happens before; 0: never
}

// start is a write to begin.
type start struct {
	svc    *corev1.Service
	change change
}

// step returns what is to be done about what differs from the plan.
//
// An address goes to a Service only when no other one may still show it:
// otherwise a watch could see it on both.
func (p plan) step(s snapshot) step {
	showing := p.showing(s.attempts)
	out := step{landed: s.landings, again: sooner(s.again(), p.again(s.now))}
	var blocked []int
	for i, x := range p.services {
		a, tried := s.attempts[x.svc.UID]
		switch {
		case tried && a.flying:
			out.awaits = out.awaits || !a.settles(x.svc, x.change)
		case tried && s.now.Before(a.notBefore):
		case p.contests[x.svc.UID].waits(s.now) && !x.leaves:
			if c, differs := words(x.svc, p.contests[x.svc.UID]); differs {
				out.starts = append(out.starts, start{x.svc, c})
			}
		case x.change != nil && slices.ContainsFunc(x.change.gains, func(a netip.Addr) bool { return len(showing[a]) > 0 }):
			blocked = append(blocked, i)
		case x.change != nil:
			out.starts = append(out.starts, start{x.svc, *x.change})
		case tried && len(a.maybe) == 0:
			out.forgets = append(out.forgets, x.svc.UID)
		case !tried && p.contests[x.svc.UID].lies(): // whoever wrote that
			out.agrees = append(out.agrees, start{x.svc, change{addrs: p.grants[i].Addrs}})
			out.again = sooner(out.again, calm)
		case tried: // what it shows is right, if that is what it shows: the answer tells
			c, _ := p.changeFor(i)
			out.starts = append(out.starts, start{x.svc, c})
		}
	}
	if i, ok := p.hopeless(blocked, showing); ok {
		// They wait for one another, as two that swap addresses do.
		out.starts = append(out.starts, start{p.services[i].svc, giveUp(p.services[i].svc, p.grants[i])})
	}
	out.awaits = out.awaits || len(blocked) > 0
	return out
}

// again returns when something is to be done about the first contest; 0: nothing is.
func (p plan) again(now time.Time) time.Duration {
	first := time.Duration(0)
	for _, c := range p.contests {
		first = sooner(first, c.again(now))
	}
	return first
}

// sooner returns the shorter of two times to wait, of which 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// again returns when the first of what failed is to be tried again; 0: nothing is.
func (s snapshot) again() time.Duration {
	first := time.Duration(0)
	for _, a := range s.attempts {
		if wait := a.notBefore.Sub(s.now); !a.flying && wait > 0 {
			first = sooner(first, wait)
		}
	}
	return first
}

// showing returns, for each address that some Service shows, or may show soon,
// and is not to have, which Services these are.
func (p plan) showing(attempts map[types.UID]attempt) map[netip.Addr][]int {
	out := map[netip.Addr][]int{}
	for i, x := range p.services {
		if x.change != nil {
			for _, a := range x.change.loses {
				out[a] = append(out[a], i)
			}
		}
		if len(attempts) == 0 {
			continue
		}
		for _, a := range without(attempts[x.svc.UID].shows(), p.grants[i].Addrs) {
			out[a] = append(out[a], i)
		}
	}
	return out
}

// hopeless returns the oldest of the blocked Services that wait, perhaps by way
// of others, for themselves, and that has something to give up.
func (p plan) hopeless(blocked []int, showing map[netip.Addr][]int) (int, bool) {
	without := make(map[int]bool, len(blocked)) // without hope, as far as is known
	for _, i := range blocked {
		without[i] = true
	}
	for again := true; again; {
		again = false
		for i := range maps.Keys(without) {
			waits := slices.ContainsFunc(p.services[i].change.gains, func(a netip.Addr) bool {
				return slices.ContainsFunc(showing[a], func(holder int) bool { return without[holder] })
			})
			if !waits { // whoever has it is about to give it back
				delete(without, i)
				again = true
			}
		}
	}
	for _, i := range blocked {
		if without[i] && len(p.services[i].change.loses) > 0 {
			return i, true
		}
	}
	return 0, false
}
