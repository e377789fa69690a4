package simulation

import (
	"time"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

const (
	interval     = time.Second
	settledAfter = 3
)

// heartbeat renews a speaker's Lease and watches the others'.
type heartbeat struct {
	*speaker
	begun   bool
	echo    time.Time // when an own renewal last came back
	echoes  int
	ready   bool
	echoed  time.Time // the own renewal that came back last
	failing bool
	beating bool
	again   bool // at once
	turn    int
	peers   map[string]*missing
	lost    map[string]bool
}

// missing is what was last seen of another speaker's Lease.
type missing struct {
	renewed time.Time
	n       int
}

func (h *heartbeat) connected() bool {
	return !h.echo.IsZero() && h.now.Sub(h.echo) < (intent.MissedBeats-1)*interval+interval/2
}

func (h *heartbeat) settled() bool { return h.connected() && h.echoes >= settledAfter }

func (h *heartbeat) state() failover.API {
	return failover.API{Reachable: h.connected(), Synced: h.settled(), WasSynced: h.ready}
}

// resync has the speaker count as not connected until it has read anew.
func (h *heartbeat) resync() {
	h.echo = time.Time{}
	if h.beating {
		h.again = true
		return
	}
	h.beat()
}

// beat renews the own Lease and looks at the others'.
func (h *heartbeat) beat() {
	h.turn++
	h.beating = true
	next := h.now.Add(interval)
	if !h.connected() {
		next = h.now.Add(interval / 4)
	}
	turn := h.turn
	done := func() {
		h.beating = false
		if h.again {
			h.again = false
			h.beat()
			return
		}
		h.at(next, func() {
			if h.turn == turn && !h.beating {
				h.beat()
			}
		})
	}
	name := intent.LeaseName(h.node.name)
	renewed := leaseValue{h.node.name, h.now.Add(h.node.skew)}
	h.askWithin(2*time.Second, func() (any, error) {
		if h.api.get(nodes, h.node.name) == nil {
			return nil, errNotFound
		}
		if _, err := h.update(leases, name, 0, renewed); err == nil {
			return nil, nil
		}
		return h.create(leases, name, renewed)
	}, func(_ any, err error) {
		switch {
		case err != nil:
			h.failing = true
			done()
		case h.failing:
			h.reconnected(func(err error) {
				if err == nil {
					h.failing = false
					h.observe(done)
					return
				}
				done()
			})
		default:
			h.observe(done)
		}
	})
}

// observe counts the renewals that the other speakers missed since the last own
// renewal that came back.
func (h *heartbeat) observe(done func()) {
	var own time.Time
	if o := h.cache.get(leases, intent.LeaseName(h.node.name)); o != nil {
		own = o.value.(leaseValue).renewed
	}
	if own.Equal(h.echoed) {
		done()
		return
	}
	h.echoed = own
	count := func() {
		h.echo = h.now
		h.echoes++
		if h.echoes <= settledAfter {
			h.wake()
		}
		h.ready = h.ready || h.echoes >= settledAfter
		h.judge()
		done()
	}
	if h.connected() {
		count()
		return
	}
	h.echoes = 0
	h.reconnected(func(err error) {
		if err != nil {
			done()
			return
		}
		count()
	})
}

// reconnected reads the L2Claims past the cache.
func (h *heartbeat) reconnected(then func(error)) {
	h.askWithin(10*time.Second, func() (any, error) { return h.snapshot()[claims], nil }, func(all any, err error) {
		if err == nil {
			for _, o := range all.([]*object) {
				h.saw(o)
			}
			h.wake()
		}
		then(err)
	})
}

func (h *heartbeat) judge() {
	before, lost := h.lost, map[string]bool{}
	for _, o := range h.cache.table[leases] {
		l := o.value.(leaseValue)
		if l.holder == "" || l.holder == h.node.name {
			delete(h.peers, o.name)
			continue
		}
		p := h.peers[o.name]
		switch {
		case p == nil:
			p = &missing{renewed: l.renewed}
			h.peers[o.name] = p
		case p.renewed.Equal(l.renewed):
			p.n++
		default:
			*p = missing{renewed: l.renewed}
		}
		if !before[l.holder] && h.echoes < settledAfter {
			p.n = 0
		}
		if p.n >= intent.MissedBeats {
			lost[l.holder] = true
		}
		if lost[l.holder] != before[l.holder] {
			h.wake()
		}
	}
	h.lost = lost
}

// held returns the Leases as the cache shows them.
func (h *heartbeat) held() map[string]failover.Lease {
	out := map[string]failover.Lease{}
	for _, o := range h.cache.table[leases] {
		if l := o.value.(leaseValue); l.holder != "" && o.name == intent.LeaseName(l.holder) {
			out[l.holder] = failover.Lease{Renewed: l.renewed, Expired: h.lost[l.holder]}
		}
	}
	return out
}
