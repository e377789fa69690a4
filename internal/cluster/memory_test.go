package cluster

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackOnceAfterEachBurst(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // what is counted is what was asked for
	synctest.Test(t, func(t *testing.T) {
		var last atomic.Int64 // something was done
		work := func() { last.Store(time.Now().UnixNano()) }
		work()
		given := func() uint32 {
			synctest.Wait()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.NumForcedGC
		}
		before := given()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- ReleaseMemory(func() time.Duration { return time.Since(time.Unix(0, last.Load())) })(ctx)
		}()
		expect := func(what string, want uint32) {
			t.Helper()
			if got := given() - before; got != want {
				t.Errorf("%s: given back %d times, want %d", what, got, want)
			}
		}
		for range 5 {
			time.Sleep(quiet / 2)
			work()
		}
		expect("while something is being done", 0)
		time.Sleep(2*quiet + time.Second)
		expect("after it", 1)
		time.Sleep(10 * quiet)
		expect("long after it", 1)
		work()
		time.Sleep(3 * quiet)
		expect("after another burst", 2)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheEnvironmentSaysHowMuchGarbageMayGather(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "100")
	SaveMemory()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("with GOGC: %d", got)
	}
	t.Setenv("GOGC", "")
	SaveMemory()
	if got := debug.SetGCPercent(100); got != gcPercent {
		t.Errorf("without: %d, want %d", got, gcPercent)
	}
}

func TestGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 200}, {1 * mib, 200}, {10 * mib, 100}, {20 * mib, 50}, {200 * mib, gcPercent}} {
		if got := garbage(c.live); got != c.want {
			t.Errorf("of %d MiB: %d %%, want %d %%", c.live/mib, got, c.want)
		}
	}
}
