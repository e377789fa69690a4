package neighbor

import (
	"math"
	"sync"
	"time"
)

// Rate limits the frames that go out in any one second, whenever that second begins:
// so switches count (dynamic ARP inspection). All of them may go at once. Its methods
// are safe for concurrent use. Make one with NewRate.
type Rate struct {
	mu   sync.Mutex
	sent []time.Time // the latest, as many as may go in a second; a ring. None: any number may
	next int         // the place of the oldest
}

// NewRate returns a rate of so many frames a second; 0: no limit.
func NewRate(perSecond int) *Rate { return &Rate{sent: make([]time.Time, perSecond)} }

// Limited reports whether there is a limit.
func (r *Rate) Limited() bool { return len(r.sent) > 0 }

// Sent records that n frames go out now.
func (r *Rate) Sent(now time.Time, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range min(n, len(r.sent)) {
		r.sent[r.next] = now
		r.next = (r.next + 1) % len(r.sent)
	}
}

// Room returns how many frames may go out now.
func (r *Rate) Room(now time.Time) int {
	if !r.Limited() {
		return math.MaxInt
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.sent {
		if now.Sub(r.sent[(r.next+n)%len(r.sent)]) < time.Second {
			return n
		}
	}
	return len(r.sent)
}

// Wait returns for how long no frame may go out.
func (r *Rate) Wait(now time.Time) time.Duration {
	if !r.Limited() {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.sent[r.next].Add(time.Second).Sub(now))
}
