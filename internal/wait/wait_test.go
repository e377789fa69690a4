package wait

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !Sleep(t.Context(), time.Minute) || time.Since(start) != time.Minute {
			t.Errorf("it slept for %s", time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if start = time.Now(); Sleep(ctx, time.Minute) || time.Since(start) != time.Second {
			t.Errorf("when its context had ended, it had slept for %s", time.Since(start))
		}
	})
}

func TestSignalsMerge(t *testing.T) {
	c := make(chan struct{}, 1)
	Signal(c)
	Signal(c)
	if <-c; len(c) != 0 {
		t.Error("a second signal is left")
	}
}

func TestSoonest(t *testing.T) {
	for _, c := range []struct {
		waits []time.Duration
		want  time.Duration
	}{
		{nil, 0}, {[]time.Duration{0, 0}, 0}, {[]time.Duration{0, 3}, 3}, {[]time.Duration{3, 0}, 3}, {[]time.Duration{3, 2, 5}, 2}, {[]time.Duration{-1, 4}, 4},
	} {
		if got := Soonest(c.waits...); got != c.want {
			t.Errorf("of %v: %d, want %d", c.waits, got, c.want)
		}
	}
}
