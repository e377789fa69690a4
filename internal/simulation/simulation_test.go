package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds      = flag.Uint64("seeds", 2000, "how many histories to run")
	grantSeeds = flag.Uint64("grants", 1000, "how many histories with controllers to run")
	first      = flag.Uint64("first", 0, "the first of their seeds")
)

// late reports whether half of the time for the test is over: on a machine that has
// much else to do it runs fewer histories, and says how many.
func late(t *testing.T, start time.Time) bool {
	end, ok := t.Deadline()
	return ok && time.Until(end) < end.Sub(start)/2
}

// TestHistories runs the histories of many seeds. One that breaks a rule is printed as
// short as can be: as a file for testdata.
func TestHistories(t *testing.T) { runAll(t, Random, *seeds) }

// TestManyLeases has the speakers of some of them watch their own Leases alone.
func TestManyLeases(t *testing.T) {
	runAll(t, func(seed uint64) History {
		h := Random(seed)
		h.ManyLeases = true
		return h
	}, *seeds/4)
}

// TestIsolation has the speakers of some of them take themselves for cut off by other signs.
func TestIsolation(t *testing.T) {
	runAll(t, func(seed uint64) History {
		h := Random(seed)
		h.NoGatewayCounts, h.NeverIsolated = seed%2 == 0, seed%2 == 1
		return h
	}, *seeds/4)
}

func runAll(t *testing.T, random func(uint64) History, seeds uint64) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // histories leave much behind
	start := time.Now()
	var next, done atomic.Uint64
	var mu sync.Mutex
	failed := map[uint64]*Violation{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= seeds || late(t, start) {
					return
				}
				seed += *first
				if v := Run(random(seed)); v != nil {
					mu.Lock()
					failed[seed] = v
					mu.Unlock()
				}
				if n := done.Add(1); n%10_000 == 0 {
					fmt.Printf("%d histories, %.0f a second\n", n, float64(n)/time.Since(start).Seconds())
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d histories in %s, %.0f a second", done.Load(), time.Since(start).Round(time.Millisecond), float64(done.Load())/time.Since(start).Seconds())
	all := slices.Sorted(maps.Keys(failed))
	for i, seed := range all {
		if i == 5 {
			t.Errorf("and %d more: %v", len(all)-i, all[i:min(len(all), i+100)])
			break
		}
		h, v := Shrink(random(seed))
		t.Errorf("seed %d: %s\nin short:\n# %s\n%s", seed, failed[seed], v, h)
	}
}

var historyFile = flag.String("history", "", "the file whose history TestTrace prints, step by step")

// TestTrace prints what happens in a history, to find a fault.
func TestTrace(t *testing.T) {
	if *historyFile == "" {
		t.Skip("-history names no file")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // histories leave much behind
	h := read(t, *historyFile)
	v, log := Trace(h)
	t.Logf("%s\n%s\n%v", h, strings.Join(log, "\n"), v)
}

// TestStories runs the histories that broke a rule once, and others that are worth
// keeping. None breaks one any more.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			if v, log := Trace(read(t, file)); v != nil {
				t.Errorf("%s\n%s", v, strings.Join(log, "\n"))
			}
		})
	}
}

// TestRacks runs the histories that racks run too. Who answers there at which time does not
// depend on chance.
func TestRacks(t *testing.T) {
	files, err := filepath.Glob("testdata/rack/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories in testdata/rack: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			h := read(t, file)
			for h.Seed = range uint64(4) {
				if v := Run(h); v != nil {
					t.Fatalf("seed %d: %s", h.Seed, v)
				}
			}
		})
	}
}

func read(t *testing.T, file string) History {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A wrong expectation breaks a rule.
func TestExpectations(t *testing.T) {
	h := read(t, "testdata/rack/cable.txt")
	for i := range h.Expected {
		was := h.Expected[i].Nodes
		for _, wrong := range [][]int{{2, 1, 2}, {-1, 1, 2}} {
			h.Expected[i].Nodes = wrong
			if v := Run(h); v == nil || v.Rule != Expected {
				t.Errorf("%s, and it is not: %v", h.Expected[i], v)
			}
		}
		h.Expected[i].Nodes = was
	}
	back, err := Parse(h.String())
	if err != nil || back.String() != h.String() {
		t.Errorf("%v\n%s\n%s", err, h, back)
	}
}

// A History that is written down is the same when it is read.
func TestHistoriesAsText(t *testing.T) {
	for seed := range uint64(300) {
		h := Random(seed)
		back, err := Parse(h.String())
		if err != nil || back.String() != h.String() {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, h, back)
		}
	}
}

// One seed, one history.
func TestHistoriesRepeat(t *testing.T) {
	for seed := range uint64(5) {
		_, a := Trace(Random(seed))
		_, b := Trace(Random(seed))
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("seed %d: line %d is\n%s\nand then\n%s", seed, i, a[i], b[i])
			}
		}
	}
}
