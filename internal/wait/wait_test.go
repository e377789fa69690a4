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
