package layer2

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWatchdog(500 * time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		time.Sleep(time.Hour)
		if p.Check() != 0 || len(p.Stalled()) != 0 {
			t.Error("a stall, though all the time some host ran")
		}
		stop()
		<-ended // from now on no host runs
		time.Sleep(500 * time.Millisecond)
		if p.Check() != 0 {
			t.Error("a stall, though no more time passed than may")
		}
		time.Sleep(501 * time.Millisecond)
		if p.Stalls() != 0 || p.Check() != 1 || p.Stalls() != 1 || len(p.Stalled()) != 1 {
			t.Error("whichever host runs first after a stall does not know of it")
		}
		if p.Check() != 1 {
			t.Error("one stall counts twice")
		}
	})
}

func TestWithoutALimitThereAreNoStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWatchdog(0)
		p.Run(t.Context())
		p.Check()
		time.Sleep(time.Hour)
		if p.Check() != 0 {
			t.Error("a stall")
		}
	})
}
