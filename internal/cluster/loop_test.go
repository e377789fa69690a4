package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// runs starts a loop and returns the channel that makes it due, and the times
// of its runs so far.
func runs(t *testing.T, l Loop, reconcile func() (time.Duration, error)) (chan<- struct{}, func() []time.Duration) {
	t.Helper()
	return runsOf(t, l, new(atomic.Int64), reconcile)
}

// runsOf is runs with the count of the events that a run takes in.
func runsOf(t *testing.T, l Loop, events *atomic.Int64, reconcile func() (time.Duration, error)) (chan<- struct{}, func() []time.Duration) {
	t.Helper()
	start := time.Now()
	var mu sync.Mutex
	var at []time.Duration
	l.Log = slog.New(slog.DiscardHandler)
	l.Reconcile = func(context.Context) (time.Duration, error) {
		mu.Lock()
		at = append(at, time.Since(start))
		mu.Unlock()
		return reconcile()
	}
	due := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.run(ctx, due, events); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return due, func() []time.Duration {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(at)
	}
}

func expect(t *testing.T, want, have []time.Duration) {
	t.Helper()
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestALoopRunsAtOnceAndThenWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due, at := runs(t, Loop{}, func() (time.Duration, error) { return 0, nil })
		expect(t, []time.Duration{0}, at())
		time.Sleep(time.Hour)
		wait.Signal(due)
		expect(t, []time.Duration{0, time.Hour}, at())
	})
}

func TestEventsOfOneRunMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due, at := runs(t, Loop{}, func() (time.Duration, error) { time.Sleep(time.Second); return 0, nil })
		for range 9 {
			time.Sleep(100 * time.Millisecond)
			wait.Signal(due)
		}
		time.Sleep(time.Hour)
		expect(t, []time.Duration{0, time.Second}, at())
	})
}

func TestALoopRestsInProportion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due, at := runs(t, Loop{MinInterval: Share(4, 10*time.Millisecond)}, func() (time.Duration, error) { time.Sleep(10 * time.Millisecond); return 0, nil })
		for range 100 { // events never end
			time.Sleep(time.Millisecond)
			wait.Signal(due)
		}
		expect(t, []time.Duration{0, 40 * time.Millisecond, 80 * time.Millisecond}, at())
		time.Sleep(time.Hour)
		wait.Signal(due) // after a quiet time it does not rest first
		if have := at(); have[len(have)-1] != time.Hour+100*time.Millisecond {
			t.Errorf("it ran at %s", have)
		}
	})
}

// On a busy machine a run takes long and uses little: it is not to rest for that.
func TestALoopRestsInProportionToWhatItUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		l := Loop{MinInterval: Share(4, 5*time.Millisecond), Used: func() time.Duration { return time.Duration(used.Load()) }}
		due, at := runs(t, l, func() (time.Duration, error) {
			used.Add(int64(2 * time.Millisecond))
			time.Sleep(4 * time.Millisecond) // others had half of it
			return 0, nil
		})
		for range 30 {
			time.Sleep(time.Millisecond)
			wait.Signal(due)
		}
		expect(t, []time.Duration{0, 8 * time.Millisecond, 16 * time.Millisecond, 24 * time.Millisecond}, at())
	})
}

func TestSomethingUrgentEndsARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		urgent := make(chan struct{}, 1)
		due, at := runs(t, Loop{MinInterval: func(time.Duration) time.Duration { return time.Second }, Priority: urgent}, func() (time.Duration, error) { return 0, nil })
		time.Sleep(100 * time.Millisecond)
		wait.Signal(urgent)
		expect(t, []time.Duration{0, 100 * time.Millisecond}, at())
		wait.Signal(due) // it rests as long as ever: what was cut short is not made up for
		time.Sleep(time.Hour)
		wait.Signal(urgent)
		expect(t, []time.Duration{0, 100 * time.Millisecond, 1100 * time.Millisecond, time.Hour + 100*time.Millisecond}, at())
	})
}

func TestALoopPutsOffRestsWithinItsCredit(t *testing.T) {
	reconcile := func() (time.Duration, error) { time.Sleep(10 * time.Millisecond); return 0, nil }
	for _, c := range []struct {
		name        string
		every       time.Duration
		events      int
		least, most int           // runs
		late        time.Duration // the last run after the last event, at most
	}{
		{"a pair of events", 15 * time.Millisecond, 2, 2, 2, 0},
		{"events that come more seldom than a run and its rest take", 41 * time.Millisecond, 100, 100, 100, 0},
		{"a stream of events uses up the credit", time.Millisecond, 4000, 100, 104, 40 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				due, at := runs(t, Loop{MinInterval: Share(4, 10*time.Millisecond), Burst: 50 * time.Millisecond}, reconcile)
				time.Sleep(time.Hour)
				before, last := len(at()), time.Duration(0)
				for i := range c.events {
					time.Sleep(c.every)
					wait.Signal(due)
					last = time.Hour + time.Duration(i+1)*c.every
				}
				time.Sleep(time.Hour)
				have := at()[before:]
				if late := have[len(have)-1] - last; len(have) < c.least || len(have) > c.most || late > c.late {
					t.Errorf("%d runs, and the last one %s after its event; want %d to %d and at most %s", len(have), late, c.least, c.most, c.late)
				}
			})
		})
	}
}

// A run that takes in many events is followed by a longer rest, which lets the next take in more.
func TestALoopRestsLongerAfterACrowd(t *testing.T) {
	for _, c := range []struct {
		each int // events in a millisecond
		want []time.Duration
	}{
		{1, []time.Duration{0, 5 * time.Millisecond, 10 * time.Millisecond, 15 * time.Millisecond, 20 * time.Millisecond, 25 * time.Millisecond, 30 * time.Millisecond}},
		{2, []time.Duration{0, 5 * time.Millisecond, 25 * time.Millisecond}}, // the second run takes in ten
	} {
		synctest.Test(t, func(t *testing.T) {
			events := new(atomic.Int64)
			l := Loop{MinInterval: Share(1, 5*time.Millisecond), Crowded: 20 * time.Millisecond}
			due, at := runsOf(t, l, events, func() (time.Duration, error) { return 0, nil })
			for range 30 {
				time.Sleep(time.Millisecond)
				events.Add(int64(c.each))
				wait.Signal(due)
			}
			expect(t, c.want, at())
		})
	}
}

func TestALoopLooksAgainWhenItSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, at := runs(t, Loop{}, func() (time.Duration, error) { n++; return time.Duration(3-n) * time.Second, nil })
		time.Sleep(time.Hour)
		expect(t, []time.Duration{0, 2 * time.Second, 3 * time.Second}, at())
	})
}

func TestALoopRepeatsWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, at := runs(t, Loop{}, func() (time.Duration, error) {
			if n++; n < 4 {
				return 0, errors.New("no")
			}
			return 0, nil
		})
		time.Sleep(time.Hour)
		expect(t, []time.Duration{0, firstRetry, 3 * firstRetry, 7 * firstRetry}, at())
	})
}
