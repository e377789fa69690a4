package main

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// longestWait is how long a change may wait for the next pass that nothing of this node's
// depends on.
const longestWait = time.Second

// ignores returns what reports of a change that it starts no pass, and the channel that gets
// a value when those that may wait have waited.
func (r *reconciler) ignores() (ignore func(before, after client.Object) bool, late <-chan struct{}) {
	ignorable, delayed := intent.Ignorable(r.node, r.class, r.service, r.withdraws.Load), newDelayed(longestWait)
	return func(before, after client.Object) bool {
		if claim, ok := before.(*v1beta1.L2Claim); ok && after == nil {
			r.claimOverlay.RecordDelete(claim.UID, time.Now())
		}
		r.reportAgain(after)
		switch {
		case ignorable(before, after):
		case r.mayWait(before, after):
			delayed.Signal()
		default:
			return false
		}
		return true
	}, delayed.c
}

// mayWait reports whether a change is one of an L2Claim that names another node, before and
// after, and whose address this node does not answer for; or this speaker wrote it. A pass
// that something else starts sees it all the same.
func (r *reconciler) mayWait(before, after client.Object) bool {
	claim, ok := after.(*v1beta1.L2Claim)
	d := r.plan.Load()
	if !ok || d == nil || len(d.Proxy) > 0 { // a handover ends with the claim
		return false
	}
	if r.claimOverlay.Recorded(claim) {
		return true
	}
	old, known := before.(*v1beta1.L2Claim)
	addr, err := netip.ParseAddr(string(claim.Spec.Address))
	return err == nil && claim.Spec.Node != r.node && (!known || old.Spec.Node != r.node) && !d.Claimed[addr]
}

// delayed is a signal that comes some time after it is asked for.
type delayed struct {
	c       chan struct{} // buffered 1
	after   time.Duration
	pending atomic.Bool
}

func newDelayed(d time.Duration) *delayed { return &delayed{c: make(chan struct{}, 1), after: d} }

// Signal asks for the signal. One serves all that ask before it comes.
func (d *delayed) Signal() {
	if d.pending.CompareAndSwap(false, true) {
		time.AfterFunc(d.after, func() {
			d.pending.Store(false)
			wait.Signal(d.c)
		})
	}
}
