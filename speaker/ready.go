package main

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessionTimeout is how long a speaker that is otherwise ready waits for its BGP sessions,
// of which kube-proxy may take a minute. It is limited so that an unreachable router does
// not block a rolling update.
const sessionTimeout = 90 * time.Second

// readiness reports to the kubelet when this speaker announces its addresses, so that a
// rolling update may stop the next one. Once ready it stays so: later losses have their own
// conditions, and must not block an update that may repair them.
type readiness struct {
	settled func() bool        // the speaker knows the others, and announces by ARP and NDP
	offers  func() bool        // BGP sessions may be opened
	states  func() []bgp.State // of the sessions
	clock   func() time.Time

	since atomic.Pointer[time.Time] // the first check after it had settled
	ready atomic.Bool
}

// check answers /readyz: nil if the speaker is ready.
func (r *readiness) check(*http.Request) error {
	if r.ready.Load() {
		return nil
	}
	if !r.settled() {
		return errors.New("the speaker does not know the others yet")
	}
	now := r.clock()
	r.since.CompareAndSwap(nil, &now)
	if waiting := r.waiting(); waiting != nil && now.Sub(*r.since.Load()) < sessionTimeout {
		return waiting
	}
	r.ready.Store(true)
	return nil
}

// waiting returns why routes are not advertised yet, or nil.
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

// mayOffer reports whether the plan's BGP sessions, if it has any, may be opened.
func (r *reconciler) mayOffer() bool {
	d := r.plan.Load()
	return d != nil && (d.Offers || len(d.Plan.Peerings) == 0)
}
