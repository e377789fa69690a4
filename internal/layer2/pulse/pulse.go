// Package pulse finds out whether this process was held up: stopped by a signal,
// or with its whole machine. One that wakes up late finds questions that waited
// for it, and announcements that are due, about addresses that others may have
// by now.
package pulse

import (
	"context"
	"sync/atomic"
	"time"
)

// Pulse counts lapses. Make one with New.
type Pulse struct {
	longest time.Duration // it may take between two beats; 0: any time
	start   time.Time
	last    atomic.Int64 // beat, in nanoseconds since start
	lapses  atomic.Uint64
	told    chan struct{} // buffered 1: there was a lapse
}

// New returns a Pulse for which it is a lapse when more time than that passes
// between two beats; 0: nothing is.
func New(longest time.Duration) *Pulse {
	return &Pulse{longest: longest, start: time.Now(), told: make(chan struct{}, 1)}
}

// Run beats until ctx ends.
func (p *Pulse) Run(ctx context.Context) {
	if p.longest == 0 {
		return
	}
	p.last.Store(int64(time.Since(p.start)))
	beats := time.NewTicker(p.longest / 4)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
			p.Beat()
		}
	}
}

// Beat tells how many lapses there were until now. Whoever wants to speak calls
// it first: after a lapse it may be the first that runs again.
func (p *Pulse) Beat() uint64 {
	if p.longest == 0 {
		return 0
	}
	now := time.Since(p.start)
	if before := time.Duration(p.last.Swap(int64(now))); now-before > p.longest {
		p.lapses.Add(1)
		select {
		case p.told <- struct{}{}:
		default:
		}
	}
	return p.lapses.Load()
}

// Count returns how many lapses were noticed until now.
func (p *Pulse) Count() uint64 { return p.lapses.Load() }

// Lapsed returns the channel that gets a value after a lapse.
func (p *Pulse) Lapsed() <-chan struct{} { return p.told }
