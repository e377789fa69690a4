package cluster

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// gcPercent is how much garbage may gather, in percent of what is in use.
	// Most of the heap is the cache, which hardly changes.
	gcPercent = 30
	// minGarbage is how much may gather at least, in bytes: a small heap would be
	// collected again and again in a burst.
	minGarbage = 10 << 20
	// quiet is for how long nothing must have been done before memory is given
	// back that a burst has left.
	quiet = 10 * time.Second
)

// SaveMemory has less garbage gather than Go lets by itself, unless the
// environment (GOGC) says how much. GiveBack goes on with that.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// paceGC lets as much garbage gather as suits the heap, if that is not what is set. While
// nothing is being done that is little, for little comes.
func paceGC(set int, idle bool) int {
	if os.Getenv("GOGC") != "" {
		return set
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	want := gcPercent
	if !idle {
		want = garbage(live[0].Value.Uint64())
	}
	if want*10 < set*9 || want*9 > set*10 {
		debug.SetGCPercent(want)
		return want
	}
	return set
}

// garbage returns how much may gather, in percent of what is in use.
func garbage(live uint64) int {
	return int(max(gcPercent, min(100*minGarbage/max(live, 1), 200)))
}

// ReleaseMemory returns a task that gives memory back after each burst of work, until
// its context ends. idleFor tells for how long nothing was being done.
func ReleaseMemory(idleFor func() time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		given, percent := false, gcPercent
		for wait.Sleep(ctx, quiet/10) {
			idle := idleFor() >= quiet
			percent = paceGC(percent, idle)
			if idle && !given {
				debug.FreeOSMemory()
			}
			given = idle
		}
		return nil
	}
}
