package bgp

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
	"github.com/steelyard-lb/steelyard/internal/bgp/fsm"
)

func newStatus() *status {
	return &status{log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
}

func TestLastErrorIsKeptUntilTheSessionHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatus()
		r := s.begin(announce.Peer{Name: "p"})
		last := func(want string) {
			t.Helper()
			if got := s.report().LastError; got != want {
				t.Errorf("last error %q, want %q", got, want)
			}
		}
		r.ConnectFailed("refused")
		last("refused")
		r.Failed("bad peer AS", "")
		last("bad peer AS")
		r.ConnectFailed("refused") // the router waits after the error
		last("bad peer AS")
		time.Sleep(routerErrorTimeout + time.Second)
		r.ConnectFailed("refused")
		last("refused")

		r.StateChanged(Established, 64601)
		last("refused")
		if got := s.settle(time.Now()); got != errorClearedAfter {
			t.Errorf("settles in %s", got)
		}
		last("refused")
		time.Sleep(errorClearedAfter)
		if got := s.settle(time.Now()); got != 0 {
			t.Errorf("settles in %s more", got)
		}
		last("")

		r.Failed("hold timer expired", "")
		s.begin(announce.Peer{Name: "p"})
		last("hold timer expired")
		s.begin(announce.Peer{Name: "p", Port: 1179})
		last("") // a changed peer starts without the old errors
	})
}

func TestLateNewsOfAnEarlierRunAreIgnored(t *testing.T) {
	s := newStatus()
	old := s.begin(announce.Peer{Name: "p"})
	s.end()
	old.StateChanged(Established, 64601)
	old.Failed("late", "")
	old.ConnectFailed("late")
	old.Crashed("late")
	if got := s.report(); got.Session != Idle || got.LastError != "" {
		t.Errorf("%+v", got)
	}
	got := s.seen()
	if want := (view{session: Idle, since: got.since, down: got.down}); got != want {
		t.Errorf("%+v", got)
	}
}

func TestRoutesCountAsAdvertisedWhileEstablishedOnly(t *testing.T) {
	s := newStatus()
	r := s.begin(announce.Peer{Name: "p"})
	s.offers(3, "no IPv6")
	var got []int
	for _, state := range []SessionState{Active, OpenSent, OpenConfirm, Established, Idle} {
		r.StateChanged(state, 0)
		got = append(got, s.report().Advertised)
	}
	if d := cmp.Diff([]int{0, 0, 0, 3, 0}, got); d != "" {
		t.Error(d)
	}
	if got := s.report().LastError; got != "no IPv6" {
		t.Errorf("what is missing is not reported: %q", got)
	}
}

func TestChangedSignalsChangesOnly(t *testing.T) {
	s := newStatus()
	signaled := func() bool {
		select {
		case <-s.changes:
			return true
		default:
			return false
		}
	}
	r := s.begin(announce.Peer{Name: "p"})
	signaled()
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"a new state", func() { r.StateChanged(Active, 0) }, true},
		{"the same state", func() { r.StateChanged(Active, 0) }, false},
		{"a new error", func() { r.Failed("x", "") }, true},
		{"the same error", func() { r.Failed("x", "") }, false},
		{"a number of routes", func() { s.offers(1, "") }, true},
		{"the same number of routes", func() { s.offers(1, "") }, false},
	} {
		step.do()
		if got := signaled(); got != step.want {
			t.Errorf("%s: signaled %t", step.name, got)
		}
	}
}

func TestStatesBeforeRunAreIdleAndSorted(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler), "node1", bfd.New(udp.New(), slog.New(slog.DiscardHandler)))
	s.Set([]announce.Peering{{Peer: announce.Peer{Name: "b"}}, {Peer: announce.Peer{Name: "a"}}})
	want := []State{{Peer: "a", Session: Idle}, {Peer: "b", Session: Idle}}
	if d := cmp.Diff(want, s.States(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestALossByBFDIsCountedOnce(t *testing.T) {
	s := newStatus()
	r := s.begin(announce.Peer{Name: "p"})
	if _, was := s.lose("BFD"); was || s.report().Drops != 0 {
		t.Errorf("before it was up: %+v", s.report())
	}
	r.StateChanged(Established, 64601)
	if _, was := s.lose("BFD"); !was {
		t.Error("it was up, and that was not seen")
	}
	r.Failed("NOTIFICATION", fsm.NotificationReceived)
	r.StateChanged(Idle, 0)
	if got := s.report(); got.Drops != 1 || got.DropsBy[fsm.PathLost] != 1 || got.LastError != "BFD" || got.Session != Idle {
		t.Errorf("%+v", got)
	}
	r = s.begin(announce.Peer{Name: "p"})
	r.StateChanged(Established, 64601)
	r.StateChanged(Idle, 0)
	if _, was := s.lose("BFD"); was || s.report().Drops != 2 || s.report().DropsBy[fsm.PathLost] != 1 {
		t.Errorf("lost before BFD saw it: %+v", s.report())
	}
}

func TestLossesAreCountedByCause(t *testing.T) {
	s := newStatus()
	r := s.begin(announce.Peer{Name: "p"})
	lose := func(reason string, cause Cause) {
		r.StateChanged(Established, 64601)
		if reason != "" {
			r.Failed(reason, cause)
		}
		r.StateChanged(Idle, 0)
	}
	r.Failed("refused before it was up", fsm.NotificationReceived)
	lose("", "")
	lose("silence", fsm.HoldTimerExpired)
	lose("", "") // what was said of the loss before says nothing of this one
	lose("shutdown", fsm.NotificationReceived)
	lose("odd", "")
	want := map[Cause]int{fsm.Unknown: 3, fsm.HoldTimerExpired: 1, fsm.NotificationReceived: 1}
	if d := cmp.Diff(want, s.report().DropsBy); d != "" || s.report().Drops != 5 {
		t.Errorf("%d drops:\n%s", s.report().Drops, d)
	}
}

func TestRoutesAreCountedAsTheRouterHearsThem(t *testing.T) {
	s := newStatus()
	r := s.begin(announce.Peer{Name: "p"})
	r.StateChanged(Established, 64601)
	r.Sent(3, 0)
	r.Sent(1, 1)
	s.end()
	r.Sent(1, 1) // late news of an earlier run
	if got := s.report(); got.Announced != 4 || got.Withdrawn != 1 {
		t.Errorf("announced %d, withdrawn %d; want 4 and 1", got.Announced, got.Withdrawn)
	}
}
