package simulation

import (
	"time"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// The timing of package leader: it is client-go's election with a lock of ours, and so
// can't live in virtual time. What follows keeps its rules.
const (
	heldFor       = intent.ControllerLease - time.Second
	renewDeadline = 3 * time.Second
	renewPeriod   = 1500 * time.Millisecond
	retryPeriod   = 200 * time.Millisecond
	lockName      = "controller"
)

// election makes one of several controllers the leader. Both sides count for how long
// a Lease is held on their own clocks: the leader from when it sent a renewal, a
// standby from when it saw that.
type election struct {
	*controller
	version int       // of the Lease, as it was last seen
	changed time.Time // when that was seen
	foreign time.Time // when another replica was last seen to hold it
	term    int       // counts the terms; 0: none yet
	held    bool
	renewed time.Time // when the last renewal was sent
	good    time.Time // when one last succeeded
}

// until returns when the Lease ends unless it is renewed, on this machine's clock.
func (e *election) until() time.Time {
	if !e.held {
		return time.Time{}
	}
	return e.renewed.Add(heldFor)
}

// leading returns the present term; 0: there is none.
func (e *election) leading() int {
	if !e.held || e.stopping || !e.clock().Before(e.until()) && !e.mutation.controller.endless {
		return 0
	}
	return e.term
}

func (e *election) soon() time.Duration {
	return time.Duration(float64(retryPeriod) * (1 + 1.2*e.rnd.Float64()))
}

func (e *election) read() (any, error) { return e.api.get(locks, lockName), nil }

// look is what a standby does, again and again.
func (e *election) look() {
	if e.stopping {
		return
	}
	e.askWithin(renewDeadline/2, e.read, func(v any, err error) {
		o, now := (*object)(nil), e.clock()
		if err == nil {
			o = v.(*object)
		}
		again := func() { e.in(e.soon(), e.look) }
		switch {
		case err != nil:
			again()
		case o == nil && !e.foreign.IsZero() && now.Sub(e.foreign) < heldFor:
			again() // its holder may lead still
		case o == nil:
			e.take(0, again)
		default:
			if o.version != e.version {
				e.version, e.changed = o.version, now
			}
			if holder := o.value.(leaseValue).holder; holder != "" && holder != e.id {
				if e.foreign = now; now.Before(e.changed.Add(heldFor)) {
					again()
					return
				}
			}
			e.take(o.version, again)
		}
	})
}

// take takes a Lease that no replica holds any more.
func (e *election) take(version int, failed func()) {
	sent := e.clock()
	e.askWithin(renewDeadline/2, func() (any, error) {
		if version == 0 {
			return e.create(locks, lockName, leaseValue{e.id, e.now})
		}
		return e.update(locks, lockName, version, leaseValue{e.id, e.now})
	}, func(v any, err error) {
		if err != nil {
			failed()
			return
		}
		e.version, e.held, e.renewed, e.good = v.(*object).version, true, sent, e.clock()
		e.term++
		e.logf("    %s leads", e.id)
		e.wake()
		e.in(renewPeriod+e.within(0, retryPeriod), e.renew)
	})
}

// renew renews the Lease, or ends the term when it has expired, or another replica has it.
func (e *election) renew() {
	if e.stopping {
		return
	}
	if !e.clock().Before(e.until()) || e.clock().Sub(e.good) > renewPeriod+retryPeriod+renewDeadline {
		e.expire("it could not renew the Lease")
		return
	}
	sent := e.clock()
	e.askWithin(renewDeadline/2, func() (any, error) {
		return e.update(locks, lockName, e.version, leaseValue{e.id, e.now})
	}, func(v any, err error) {
		switch {
		case err == nil:
			e.version, e.renewed, e.good = v.(*object).version, sent, e.clock()
			e.in(renewPeriod+e.within(0, retryPeriod), e.renew)
		case err == errConflict || err == errNotFound:
			e.reread()
		default:
			e.in(retryPeriod, e.renew)
		}
	})
}

// reread looks who holds the Lease: an answer may have been lost.
func (e *election) reread() {
	e.askWithin(renewDeadline/2, e.read, func(v any, err error) {
		o := (*object)(nil)
		if err == nil {
			o = v.(*object)
		}
		switch {
		case err == nil && o == nil:
			e.expire("the Lease is gone")
		case err == nil && o.value.(leaseValue).holder != e.id:
			e.expire("another has the Lease")
		case err == nil:
			e.version = o.version
			e.renew()
		default:
			e.in(retryPeriod, e.renew)
		}
	})
}

func (e *election) expire(reason string) {
	if e.mutation.controller.endless {
		return
	}
	e.held = false
	e.logf("    %s leads no more: %s", e.id, reason)
	e.wake()
	e.in(e.soon(), e.look)
}

// release releases the Lease, if it is still held.
func (e *election) release(then func()) {
	if !e.held || !e.clock().Before(e.until()) {
		then()
		return
	}
	e.askWithin(time.Second, func() (any, error) { return e.update(locks, lockName, e.version, leaseValue{}) }, func(any, error) { then() })
}
