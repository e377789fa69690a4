package main

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// apply begins to write what differs from the plan, and returns when to look
// again if nothing happens before (0: never).
//
// An address goes to a Service only when no other one may still show it:
// otherwise a watch could see it on both.
func (r *reconciler) apply(t *term, s snapshot, p plan) time.Duration {
	showing := p.showing(s.attempts)
	var blocked []int
	waiting := false
	for i, x := range p.services {
		a, tried := s.attempts[x.svc.UID]
		switch {
		case tried && a.flying:
			waiting = waiting || x.change == nil || !x.change.same(a.change)
		case tried && s.now.Before(a.notBefore):
		case x.change != nil && slices.ContainsFunc(x.change.gains, func(a netip.Addr) bool { return len(showing[a]) > 0 }):
			blocked = append(blocked, i)
		case x.change != nil:
			r.writer.start(t, x.svc, *x.change)
		case tried && len(a.maybe) == 0:
			r.writer.forget(x.svc.UID)
		case tried: // what it shows is right, if that is what it shows: the answer tells
			c, _ := p.changeFor(i)
			r.writer.start(t, x.svc, c)
		}
	}
	if i, ok := p.hopeless(blocked, showing); ok {
		// They wait for one another, as two that swap addresses do.
		r.writer.start(t, p.services[i].svc, giveUp(p.services[i].svc, p.grants[i]))
	}
	if waiting || len(blocked) > 0 {
		r.writer.await(s.landings)
	}
	return s.again()
}

// again returns when the first of what failed is to be tried again; 0: nothing is.
func (s snapshot) again() time.Duration {
	first := time.Duration(0)
	for _, a := range s.attempts {
		if wait := a.notBefore.Sub(s.now); !a.flying && wait > 0 && (first == 0 || wait < first) {
			first = wait
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
