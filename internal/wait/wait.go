// Package wait holds the two smallest parts of waiting: a pause that ends with its
// context, and a signal that never blocks.
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
