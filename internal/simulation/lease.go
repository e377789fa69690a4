package simulation

import (
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/lease"
)

const interval = time.Second

// heartbeat renews a speaker's Lease and has a Tracker watch the others', as
// lease.Heartbeat does.
type heartbeat struct {
	*speaker
	tracker    *lease.Tracker
	begun      bool
	failing    bool
	inProgress bool // a tick has not ended
	again      bool // at once
	ticks      int
}

// resync has the speaker count as not connected until it has read again.
func (h *heartbeat) resync() {
	h.tracker.Restart()
	if h.inProgress {
		h.again = true
		return
	}
	h.tick()
}

// tick renews the own Lease and looks at the others'.
func (h *heartbeat) tick() {
	h.ticks++
	h.inProgress = true
	tick, next := h.ticks, h.now.Add(interval)
	if !h.tracker.Reachable(h.now) {
		next = h.now.Add(interval / 4)
	}
	done := func() {
		h.inProgress = false
		if h.again {
			h.again = false
			h.tick()
			return
		}
		h.at(next, func() {
			if h.ticks == tick && !h.inProgress {
				h.tick()
			}
		})
	}
	h.renew(func(err error) {
		switch {
		case err != nil:
			h.failing = true
			done()
		case h.failing:
			h.readClaims(func(err error) {
				if err != nil {
					done()
					return
				}
				h.failing = false
				h.observe(done)
			})
		default:
			h.observe(done)
		}
	})
}

func (h *heartbeat) renew(then func(error)) {
	name := intent.LeaseName(h.node.name)
	renewed := leaseValue{h.node.name, h.now.Add(h.node.skew)}
	h.askWithin(2*interval, func() (any, error) {
		if h.api.get(nodes, h.node.name) == nil {
			return nil, errNotFound
		}
		if _, err := h.update(leases, name, 0, renewed); err == nil {
			return nil, nil
		}
		return h.create(leases, name, renewed)
	}, func(_ any, err error) { then(err) })
}

// observe counts the renewals that the other speakers missed since the last own
// renewal that came back. It looks again soon if that has not come yet.
func (h *heartbeat) observe(done func()) {
	tick, nothing := h.ticks, func() {}
	h.look(func() {
		h.in(interval/10, func() {
			if h.ticks == tick {
				h.look(nothing, nothing)
			}
		})
		done()
	}, done)
}

func (h *heartbeat) look(late, done func()) {
	var own time.Time
	renewals := h.renewals()
	for _, r := range renewals {
		if r.Node == h.node.name {
			own = r.Renewed
		}
	}
	fresh, resync := h.tracker.Echo(own, h.now)
	count := func() {
		if h.ManyLeases {
			h.check(done)
			return
		}
		if _, changed := h.tracker.Observe(renewals, h.now); changed {
			h.wake()
		}
		done()
	}
	switch {
	case !fresh:
		late()
	case resync:
		h.readClaims(func(err error) {
			if err != nil {
				done()
				return
			}
			count()
		})
	default:
		count()
	}
}

// check reads the Leases that are in doubt.
func (h *heartbeat) check(done func()) {
	var peers []lease.Peer
	view := h.view()
	for _, o := range h.cache.table[speakers] {
		peers = append(peers, lease.Peer{Node: o.name, Heard: view.Heard(o.name), Called: view.Callers[o.name]})
	}
	due := h.tracker.Due(peers)
	take := func(read []*object) {
		if _, changed := h.tracker.ObserveRead(due, renewalsIn(read), h.now); changed {
			h.wake()
		}
	}
	if len(due) == 0 {
		take(nil)
		done()
		return
	}
	h.askWithin(5*time.Second, func() (any, error) {
		var out []*object
		for _, node := range due {
			if o := h.api.get(leases, intent.LeaseName(node)); o != nil {
				out = append(out, o)
			}
		}
		return out, nil
	}, func(read any, err error) {
		if err == nil {
			take(read.([]*object))
		}
		done()
	})
}

// readClaims reads the L2Claims past the cache.
func (h *heartbeat) readClaims(then func(error)) {
	h.askWithin(10*time.Second, func() (any, error) { return h.selected(claims), nil }, func(all any, err error) {
		if err == nil {
			for _, o := range all.([]*object) {
				h.saw(o, false)
			}
			h.wake()
		}
		then(err)
	})
}

// renewals returns the Leases that speakers hold, as the cache shows them.
func (h *heartbeat) renewals() []lease.Renewal { return renewalsIn(h.cache.table[leases]) }

func renewalsIn(all []*object) []lease.Renewal {
	out, prefix := make([]lease.Renewal, 0, len(all)), intent.LeaseName("")
	for _, o := range all {
		l := o.value.(leaseValue)
		if of, is := strings.CutPrefix(o.name, prefix); is && l.holder == of && of != "" {
			out = append(out, lease.Renewal{Node: l.holder, Renewed: l.renewed})
		}
	}
	return out
}

// held returns the same as failover wants it.
func (h *heartbeat) held() map[string]failover.Lease {
	out, expired := map[string]failover.Lease{}, h.tracker.Expired()
	if h.ManyLeases {
		out = h.tracker.Leases()
	}
	for _, r := range h.renewals() {
		out[r.Node] = failover.Lease{Renewed: r.Renewed, Expired: expired[r.Node]}
	}
	return out
}
