package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/steelyard-lb/steelyard/internal/cluster"
)

const (
	// gcPercent is how much garbage may gather, in percent of what is in use.
	// Most of the heap is the cache, which hardly changes.
	gcPercent = 30
	// calm is for how long nothing must have been written before memory is given
	// back that a burst has left.
	calm = 10 * time.Second
)

// saveMemory has less garbage gather than Go lets by itself, unless the
// environment (GOGC) says how much.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// giveBack gives memory back after each burst of writes, until ctx ends.
func (w *writer) giveBack(ctx context.Context) error {
	given := false
	for cluster.Sleep(ctx, calm) {
		idle := w.idleFor() >= calm
		if idle && !given {
			debug.FreeOSMemory()
		}
		given = idle
	}
	return nil
}
