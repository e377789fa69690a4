package pulse

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(500 * time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		time.Sleep(time.Hour)
		if p.Beat() != 0 || len(p.Lapsed()) != 0 {
			t.Error("a lapse, though all the time somebody ran")
		}
		stop()
		<-ended // from now on nobody runs
		time.Sleep(500 * time.Millisecond)
		if p.Beat() != 0 {
			t.Error("a lapse, though no more time passed than may")
		}
		time.Sleep(501 * time.Millisecond)
		if p.Count() != 0 || p.Beat() != 1 || p.Count() != 1 || len(p.Lapsed()) != 1 {
			t.Error("whoever runs first after a lapse does not know of it")
		}
		if p.Beat() != 1 {
			t.Error("one lapse counts twice")
		}
	})
}

func TestWithoutALimitThereAreNoLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(0)
		p.Run(t.Context())
		p.Beat()
		time.Sleep(time.Hour)
		if p.Beat() != 0 {
			t.Error("a lapse")
		}
	})
}
