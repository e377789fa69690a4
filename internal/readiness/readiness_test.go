package readiness

import (
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// Each step changes the speaker's state, lets time pass and checks.
func TestReadiness(t *testing.T) {
	type step struct {
		settled, offers bool
		sessions        []bgp.State
		later           time.Duration
		ready           bool
	}
	up, down := bgp.State{Peer: "a", Session: bgp.Established}, bgp.State{Peer: "b", Session: bgp.Idle}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a speaker that does not know the others is never ready", []step{{offers: true}, {offers: true, later: time.Hour}}},
		{"without BGP it is ready when it has settled", []step{{offers: true}, {settled: true, offers: true, ready: true}}},
		{"it waits for kube-proxy", []step{{settled: true}, {settled: true, offers: true, later: time.Second, ready: true}}},
		{"it waits for each session", []step{
			{settled: true, offers: true, sessions: []bgp.State{up, down}},
			{settled: true, offers: true, sessions: []bgp.State{up}, later: time.Second, ready: true},
		}},
		{"it waits for sessions until the timeout", []step{
			{settled: true, offers: true, sessions: []bgp.State{down}, later: time.Hour},
			{settled: true, offers: true, sessions: []bgp.State{down}, later: sessionTimeout - time.Second},
			{settled: true, offers: true, sessions: []bgp.State{down}, later: time.Second, ready: true},
		}},
		{"once ready it stays so", []step{
			{settled: true, offers: true, ready: true},
			{settled: true, offers: true, sessions: []bgp.State{down}, ready: true},
			{ready: true},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			var s step
			r := &Check{
				Settled: func() bool { return s.settled }, Offers: func() bool { return s.offers },
				Sessions: func() []bgp.State { return s.sessions }, Clock: func() time.Time { return now },
			}
			for i, next := range c.steps {
				s, now = next, now.Add(next.later)
				if err := r.Ready(); (err == nil) != s.ready {
					t.Errorf("step %d: want ready %v, have %v", i+1, s.ready, err)
				}
			}
		})
	}
}
