package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/status"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// listing is the pause until the links may have been listed.
const listing = 20 * time.Millisecond

func (r *reconciler) reconcile(ctx context.Context) (time.Duration, error) {
	if !r.links.Listed() {
		return listing, nil // or this node would say that it has no links, and lose its addresses
	}
	s, err := r.read(ctx)
	if err != nil {
		return 0, err
	}
	out := r.failover.Step(s.Facts)
	r.apply(s, out)
	r.took(time.Since(s.Now))
	r.passed.Store(time.Now().UnixNano())
	r.beat.Begin() // the others may count on this speaker from its first plan on
	return soonest(out.Wake, s.drains, s.nextEndpoint), nil
}

// soonest returns the smallest of some waits, of which 0 never ends.
func soonest(waits ...time.Duration) time.Duration {
	waits = slices.DeleteFunc(waits, func(d time.Duration) bool { return d <= 0 })
	if len(waits) == 0 {
		return 0
	}
	return slices.Min(waits)
}

// idleFor returns for how long there was no pass.
func (r *reconciler) idleFor() time.Duration { return time.Since(time.Unix(0, r.passed.Load())) }

// apply puts what was decided in force.
func (r *reconciler) apply(s snapshot, out failover.Output) {
	if out.Resync {
		r.beat.Restart()
	}
	d := &status.Applied{Output: out, Offers: r.forwards.Ready()}
	for node := range s.Speakers {
		if out.Alive[node] {
			d.Present++
		} else if _, is := out.Alive[node]; is {
			d.Missing++
		}
	}
	r.links.SetKeys(s.keys)
	r.links.SetSpeakers(slices.Collect(maps.Keys(s.MACs)))
	claims := slices.Concat(out.Plan.Claims, out.Proxy)
	if r.links.Stalls() != s.Stalls {
		claims = nil // this process stood still since it looked; the next pass, which is due, knows
	}
	r.nullRoutes.Set(out.Plan.Destinations())
	r.links.Set(claims)
	if d.Offers {
		r.sessions.Set(out.Plan.Peerings)
	}
	r.prober.Set(out.Probe)
	r.gather(s, out)
	for _, e := range out.Events {
		r.tell(e)
	}
	r.plan.Store(d)
	wait.Signal(r.report)
}

// tell logs what has changed.
func (r *reconciler) tell(e failover.Event) {
	switch e.Kind {
	case failover.AddressClaimed:
		r.log.Info("claimed address", "addr", e.Addr)
	case failover.AddressReleased:
		r.log.Info("gave up address", "addr", e.Addr)
	case failover.AddressTakenOver:
		r.takeovers.Add(1)
	case failover.ProcessStalled:
		r.log.Warn("this process was held up; it gives up its addresses until it knows who has them")
	}
}
