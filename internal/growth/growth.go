// Package growth measures whether work costs as much for each item however many
// there are, for tests and benchmarks. A ratio of two measurements in one process
// says the same on every machine, where a time does not.
package growth

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Most is how much more an item may cost than one of a tenth as many.
	Most = 3
	// rounds is how often both are measured at most. Of all rounds the best
	// counts: others at work on the machine only make it worse.
	rounds = 20
	// enoughTime is when no further round is begun.
	enoughTime = 10 * time.Second
)

// Work is something that is done to so many items.
type Work struct {
	Name    string
	Items   int
	Prepare func(items int) (do func()) // do may be called again and again, and does all itself
}

// Test fails t for all work whose cost grows faster than its items. It ends as
// soon as one round shows that the cost does not.
func Test(t *testing.T, all []Work) {
	for _, w := range all {
		t.Run(w.Name, func(t *testing.T) {
			m := w.measure(Most)
			if r := m.ratio(); r > Most {
				t.Errorf("of %d items each costs %v, which is %.1f times as much as of %d; at most %d times would do", w.Items, m.many, r, w.Items/10, Most)
			}
		})
	}
}

// Benchmark reports what an item costs, and how that compares with a tenth of
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
			b.ReportMetric(float64(m.many), "ns/item")
			b.ReportMetric(m.ratio(), "x-a-tenth")
		})
	}
}

// measured is what one item costs among a tenth of them, and among all.
type measured struct{ few, many time.Duration }

func (m measured) ratio() float64 { return float64(m.many) / float64(max(m.few, 1)) }

// measure measures until the ratio is good enough, or often enough.
func (w Work) measure(enough float64) (best measured) {
	few, many := w.Prepare(w.Items/10), w.Prepare(w.Items)
	start := time.Now()
	for i := 0; i < rounds && (i < 2 || time.Since(start) < enoughTime); i++ {
		m := measured{timed(few, w.Items/10), timed(many, w.Items)}
		if i == 0 {
			best = m
		}
		best = measured{min(best.few, m.few), min(best.many, m.many)}
		if i > 0 && best.ratio() <= enough {
			break
		}
	}
	return best
}

// timed returns the processor time that do takes for each of so many items,
// without what collecting garbage takes, which depends on all else in memory.
func timed(do func(), items int) time.Duration {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := used()
	do()
	return (used() - start) / time.Duration(items)
}

// used returns the processor time that this thread has had.
func used() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("ask for the processor time of this thread: " + err.Error())
	}
	return time.Duration(t.Nano())
}
