package main

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestVacancies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := netip.MustParseAddr("192.0.2.1")
		var asked atomic.Int64
		var reply atomic.Int64
		reply.Store(int64(membership.Sign))
		v := newVacancies(func(context.Context, netip.Addr, []string) membership.Reply {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond)
			return membership.Reply(reply.Load())
		})
		free := func(what string, want bool, questions int64) {
			t.Helper()
			got := v.free(t.Context(), a, []string{"eth0"})
			synctest.Wait()
			if got != want || asked.Load() != questions {
				t.Errorf("%s: free %t after %d questions, want %t after %d", what, got, asked.Load(), want, questions)
			}
		}
		free("unknown", false, 1)
		free("while it is asked", false, 1)
		time.Sleep(200 * time.Millisecond)
		if len(v.changed) != 0 {
			t.Error("told of an address that somebody has")
		}
		free("somebody had it a moment ago", false, 1)
		time.Sleep(takenFor)
		reply.Store(int64(membership.CantTell))
		free("somebody has it: asked again", false, 2)
		time.Sleep(200*time.Millisecond + takenFor)
		reply.Store(int64(membership.Silence))
		free("nobody could be asked: asked again", false, 3)
		time.Sleep(200 * time.Millisecond)
		if len(v.changed) != 1 {
			t.Error("not told of a free address")
		}
		free("nobody has it", true, 3)
		time.Sleep(vacantFor)
		free("nobody had it some time ago: asked again", false, 4)
		time.Sleep(time.Second)
	})
}
