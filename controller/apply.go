package main

import (
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
	leaving := p.leaving(s.attempts)
	flying, started, waiting := false, false, false
	var blocked *service // the oldest that must wait
	var grant int
	for i, x := range p.services {
		if !x.differs {
			continue
		}
		a, tried := s.attempts[x.svc.UID]
		switch {
		case tried && a.flying:
			waiting = waiting || !slices.Equal(a.target, x.change.addrs)
		case tried && s.now.Before(a.notBefore):
		case slices.ContainsFunc(x.change.gains, func(a netip.Addr) bool { return leaving[a] }):
			waiting = true
			if blocked == nil && len(x.change.loses) > 0 {
				blocked, grant = x, i
			}
		default:
			r.writer.start(t, x.svc, x.change)
			started = true
		}
	}
	again := time.Duration(0)
	for _, a := range s.attempts {
		flying = flying || a.flying
		if wait := max(a.notBefore.Sub(s.now), time.Millisecond); !a.flying && (again == 0 || wait < again) {
			again = wait
		}
	}
	switch {
	case waiting && (flying || started):
		r.writer.await()
	case blocked != nil && again == 0:
		// They wait for one another, as two that swap addresses do.
		r.writer.start(t, blocked.svc, giveUp(blocked.svc, p.grants[grant]))
		r.writer.await()
	}
	return again
}

// leaving returns the addresses that some Service shows, or may show soon, and
// is not to have.
func (p plan) leaving(attempts map[types.UID]attempt) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for i, x := range p.services {
		if x.differs {
			for _, a := range x.change.loses {
				out[a] = true
			}
		}
		if len(attempts) == 0 {
			continue
		}
		if a, ok := attempts[x.svc.UID]; ok && a.assumed() {
			for _, b := range without(a.target, p.grants[i].Addrs) {
				out[b] = true
			}
		}
	}
	return out
}
