package bgp

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestAPanicInASessionsOwnStepsIsContained(t *testing.T) {
	s := &session{status: newStatus()}
	s.want.Store(&announce.Peering{})
	if wait := s.recovered(func(announce.Peering) time.Duration { panic("boom") }); wait != repairPause {
		t.Errorf("looks again in %s", wait)
	}
	if got := s.status.report(); got.Failure != Crashed || !strings.Contains(got.LastError, "boom") {
		t.Errorf("%+v", got)
	}
}

func TestASearchThatPanicsStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, tries := &search{link: "eth0"}, 0
		router := netip.MustParseAddr("fe80::1%eth0")
		go s.run(ctx, make(chan struct{}, 1), func(ctx context.Context, _ string, report func(netip.Addr, string)) {
			if tries++; tries < 3 {
				panic("boom")
			}
			report(router, "")
			<-ctx.Done()
		})
		synctest.Wait()
		if _, problem := s.router(); !strings.Contains(problem, "boom") {
			t.Errorf("the problem is %q", problem)
		}
		time.Sleep(2 * repairPause)
		synctest.Wait()
		if got, problem := s.router(); got != router || problem != "" || tries != 3 {
			t.Errorf("%s, %q after %d tries", got, problem, tries)
		}
		cancel()
		synctest.Wait()
	})
}
