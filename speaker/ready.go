package main

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessionPatience is how long a speaker that is otherwise ready waits for its
// BGP sessions: kube-proxy may take a minute of it. A router that is away must
// not hold up an update for ever.
const sessionPatience = 90 * time.Second

// readiness tells the kubelet when this speaker carries its part, so that an
// update may stop the next one. Once ready it stays so: what is lost later has
// conditions of its own, and must not hold up an update that may mend it.
type readiness struct {
	settled func() bool        // knows the others, and says what it has to say by ARP and NDP
	offers  func() bool        // BGP sessions may be opened
	states  func() []bgp.State // of the sessions
	clock   func() time.Time

	since atomic.Pointer[time.Time] // when it was first asked and had settled
	ready atomic.Bool
}

// check is for /readyz.
func (r *readiness) check(*http.Request) error {
	if r.ready.Load() {
		return nil
	}
	if !r.settled() {
		return errors.New("the speaker does not know the others yet")
	}
	now := r.clock()
	r.since.CompareAndSwap(nil, &now)
	if waiting := r.waiting(); waiting != nil && now.Sub(*r.since.Load()) < sessionPatience {
		return waiting
	}
	r.ready.Store(true)
	return nil
}

// waiting returns what keeps routes from being offered, or nil.
func (r *readiness) waiting() error {
	if !r.offers() {
		return errors.New("kube-proxy on this node is not ready: BGP sessions wait for it")
	}
	for _, s := range r.states() {
		if s.Session != bgp.Established {
			return fmt.Errorf("the BGP session with %s is not up yet: %s", s.Peer, s.Session)
		}
	}
	return nil
}

// mayOffer reports whether the BGP sessions of the plan, if it has any, may be
// opened.
func (r *reconciler) mayOffer() bool {
	d := r.plan.Load()
	return d != nil && (d.Offers || len(d.Plan.Peerings) == 0)
}
