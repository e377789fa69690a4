// Package readiness decides when a speaker is ready: when it announces its addresses.
package readiness

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessionTimeout is how long a speaker that is otherwise ready waits for its BGP sessions,
// of which kube-proxy may take a minute. It is limited so that an unreachable router does
// not block a rolling update.
const sessionTimeout = 90 * time.Second

// Check reports to the kubelet when this speaker announces its addresses, so that a
// rolling update may stop the next one. Once ready it stays so: later losses have their own
// conditions, and must not block an update that may repair them.
type Check struct {
	Settled  func() bool // the speaker knows the others, and announces by ARP and NDP
	Offers   func() bool // BGP sessions may be opened
	Sessions func() []bgp.State
	Clock    func() time.Time

	since atomic.Pointer[time.Time] // the first check after it had settled
	ready atomic.Bool
}

// Ready returns nil if the speaker is ready, and else why it is not.
func (r *Check) Ready() error {
	if r.ready.Load() {
		return nil
	}
	if !r.Settled() {
		return errors.New("the speaker does not know the others yet")
	}
	now := r.Clock()
	r.since.CompareAndSwap(nil, &now)
	if waiting := r.waiting(); waiting != nil && now.Sub(*r.since.Load()) < sessionTimeout {
		return waiting
	}
	r.ready.Store(true)
	return nil
}

// waiting returns why routes are not advertised yet, or nil.
func (r *Check) waiting() error {
	if !r.Offers() {
		return errors.New("kube-proxy on this node is not ready: BGP sessions wait for it")
	}
	for _, s := range r.Sessions() {
		if s.Session != bgp.Established {
			return fmt.Errorf("the BGP session with %s is not up yet: %s", s.Peer, s.Session)
		}
	}
	return nil
}
