// Package growth measures, for tests and benchmarks, whether the cost of an item
// stays the same when there are more items. The ratio of two measurements in one
// process is the same on every machine, where a time is not.
package growth

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Most is how much more an item may cost than one among a tenth as many.
	Most = 3
	// rounds is the maximum number of measurements. The best one counts: other load
	// on the machine only makes it worse.
	rounds = 20
	// enoughTime is when no further measurement starts.
	enoughTime = 10 * time.Second
)

// Work is something that is done to a number of items.
type Work struct {
	Name    string
	Items   int
	Prepare func(items int) (do func()) // do does the whole work, and may be called several times
}

// Test fails t for all work whose cost grows faster than its items. It stops as soon
// as one measurement shows that it does not.
func Test(t *testing.T, all []Work) {
	for _, w := range all {
		t.Run(w.Name, func(t *testing.T) {
			m := w.measure(Most)
			if r := m.ratio(); r > Most {
				t.Errorf("of %d items each costs %v, which is %.1f times as much as of %d; at most %d times would do", w.Items, m.whole, r, w.Items/10, Most)
			}
		})
	}
}

// Benchmark reports the cost of an item, and its ratio to the cost among a tenth of
// the items.
func Benchmark(b *testing.B, all []Work) {
	for _, w := range all {
		b.Run(w.Name, func(b *testing.B) {
			var m measured
			for b.Loop() {
				m = w.measure(0)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(w.Items), "items")
			b.ReportMetric(float64(m.whole), "ns/item")
			b.ReportMetric(m.ratio(), "x-a-tenth")
		})
	}
}

// measured is the cost of one item among a tenth of the items, and among all of them.
type measured struct{ tenth, whole time.Duration }

func (m measured) ratio() float64 { return float64(m.whole) / float64(max(m.tenth, 1)) }

// measure measures until the ratio is at most enough, or the limits are reached.
func (w Work) measure(enough float64) (best measured) {
	tenth, whole := w.Prepare(w.Items/10), w.Prepare(w.Items)
	start := time.Now()
	for i := 0; i < rounds && (i < 2 || time.Since(start) < enoughTime); i++ {
		m := measured{timed(tenth, w.Items/10), timed(whole, w.Items)}
		if i == 0 {
			best = m
		}
		best = measured{min(best.tenth, m.tenth), min(best.whole, m.whole)}
		if i > 0 && best.ratio() <= enough {
			break
		}
	}
	return best
}

// timed returns the processor time of do for each of the items. The garbage collector
// does not run, since its cost depends on everything else in memory.
func timed(do func(), items int) time.Duration {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := used()
	do()
	return (used() - start) / time.Duration(items)
}

// used returns the processor time that this thread has used.
func used() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("ask for the processor time of this thread: " + err.Error())
	}
	return time.Duration(t.Nano())
}
