// Package wait holds the smallest parts of waiting: a pause that ends with its context, a
// signal that never blocks, and which of several waits ends first.
package wait

import (
	"context"
	"time"
)

// Sleep pauses and reports whether ctx has not ended meanwhile.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Signal leaves a signal in a channel of capacity 1, unless one is there.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Soonest returns the shortest of waits that are longer than 0, which means never; 0: none is.
func Soonest(waits ...time.Duration) (first time.Duration) {
	for _, d := range waits {
		if d > 0 && (first == 0 || d < first) {
			first = d
		}
	}
	return first
}
