package layer2

import (
	"context"
	"sync/atomic"
	"time"
)

// watchdog counts how often this process was held up: stopped by a signal, or with
// its whole machine. One that wakes up late finds questions that waited for it, and
// announcements that are due, about addresses that others may have by now. Make one
// with newWatchdog.
type watchdog struct {
	longest time.Duration // it may take between two beats; 0: any time
	start   time.Time
	last    atomic.Int64 // beat, in nanoseconds since start
	stalls  atomic.Uint64
	told    chan struct{} // buffered 1: there was a stall
}

// newWatchdog returns a watchdog for which it is a stall when more time than that passes
// between two beats; 0: nothing is.
func newWatchdog(longest time.Duration) *watchdog {
	return &watchdog{longest: longest, start: time.Now(), told: make(chan struct{}, 1)}
}

// Run beats until ctx ends.
func (p *watchdog) Run(ctx context.Context) {
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

// Beat tells how many stalls there were until now. Whoever wants to speak calls
// it first: after a stall it may be the first that runs again.
func (p *watchdog) Beat() uint64 {
	if p.longest == 0 {
		return 0
	}
	now := time.Since(p.start)
	if before := time.Duration(p.last.Swap(int64(now))); now-before > p.longest {
		p.stalls.Add(1)
		select {
		case p.told <- struct{}{}:
		default:
		}
	}
	return p.stalls.Load()
}

// Count returns how many stalls were noticed until now.
func (p *watchdog) Stalls() uint64 { return p.stalls.Load() }

// Stalled returns the channel that gets a value after a stall.
func (p *watchdog) Stalled() <-chan struct{} { return p.told }
