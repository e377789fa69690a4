package layer2

import (
	"context"
	"sync/atomic"
	"time"
)

// watchdog counts the stalls of this process: a signal stopped it, or its machine
// stalled. A process that goes on after a stall finds requests that waited, and
// announcements that are due, for addresses that other nodes may have by now. Make
// one with newWatchdog.
type watchdog struct {
	longest time.Duration // between two checks without a stall; 0: any time
	start   time.Time
	last    atomic.Int64 // check, in nanoseconds since start
	stalls  atomic.Uint64
	stalled chan struct{} // buffered 1: there was a stall
}

// newWatchdog returns a watchdog that counts a stall when more time than longest
// passes between two checks; 0: it counts none.
func newWatchdog(longest time.Duration) *watchdog {
	return &watchdog{longest: longest, start: time.Now(), stalled: make(chan struct{}, 1)}
}

// Run checks four times within longest until ctx ends.
func (p *watchdog) Run(ctx context.Context) {
	if p.longest == 0 {
		return
	}
	p.last.Store(int64(time.Since(p.start)))
	ticker := time.NewTicker(p.longest / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.Check()
		}
	}
}

// Check returns how many stalls there were until now. Call it before each frame that
// is sent: after a stall the sender may be the first goroutine that runs again.
func (p *watchdog) Check() uint64 {
	if p.longest == 0 {
		return 0
	}
	now := time.Since(p.start)
	if before := time.Duration(p.last.Swap(int64(now))); now-before > p.longest {
		p.stalls.Add(1)
		select {
		case p.stalled <- struct{}{}:
		default:
		}
	}
	return p.stalls.Load()
}

// Stalls returns how many stalls were counted, without a check.
func (p *watchdog) Stalls() uint64 { return p.stalls.Load() }

// Stalled returns the channel that gets a value after a stall.
func (p *watchdog) Stalled() <-chan struct{} { return p.stalled }
