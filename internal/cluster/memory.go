package cluster

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// gcPercent is how much garbage may gather, in percent of what is in use.
	// Most of the heap is the cache, which hardly changes.
	gcPercent = 30
	// calm is for how long nothing must have been done before memory is given
	// back that a burst has left.
	calm = 10 * time.Second
)

// SaveMemory has less garbage gather than Go lets by itself, unless the
// environment (GOGC) says how much.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// GiveBack returns a task that gives memory back after each burst of work, until
// its context ends. idleFor tells for how long nothing was being done.
func GiveBack(idleFor func() time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		given := false
		for Sleep(ctx, calm) {
			idle := idleFor() >= calm
			if idle && !given {
				debug.FreeOSMemory()
			}
			given = idle
		}
		return nil
	}
}
