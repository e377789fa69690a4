package bgp

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Errors that take turns, as those of an unreachable router do, are shown a few
// times; the reader is not signaled again.
func TestErrorsThatTakeTurnsAreShownOnceEach(t *testing.T) {
	for _, c := range []struct {
		name string
		text func(i int) string
		most int
	}{
		{"one", func(int) string { return "no answer" }, 1},
		{"two in turn", func(i int) string { return []string{"no answer", "unreachable"}[i%2] }, 2},
		{"three, one of them seldom", func(i int) string { return []string{"no answer", "unreachable", "closed", "unreachable"}[i%4] }, 3},
		// Each is new, and the one before is met no more: one at a time is shown.
		{"no two alike", func(i int) string { return fmt.Sprint("attempt ", i) }, maxShown + int(time.Hour/recurs)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStatus()
				changes, last := 0, ""
				for i := range int(time.Hour / (5 * time.Second)) {
					s.begin(announce.Peer{Name: "p"}).ConnectFailed(c.text(i))
					if state := s.report(); state.LastError != last {
						changes, last = changes+1, state.LastError
					} else if state.Failure != Unreachable {
						t.Fatalf("the class is %q", state.Failure)
					}
					time.Sleep(5 * time.Second)
				}
				if changes == 0 || changes > c.most {
					t.Errorf("%d changes in an hour, want %d at most", changes, c.most)
				}
			})
		})
	}
}

func TestAnErrorThatIsMetNoMoreGivesWay(t *testing.T) {
	now := time.Unix(0, 0)
	a, b := sessionError{Unreachable, "no answer"}, sessionError{Unreachable, "refused"}
	var f failure
	for _, step := range []struct {
		met  sessionError
		want sessionError
	}{{a, a}, {b, b}, {a, b}, {b, b}, {a, b}, {a, b}, {a, b}, {a, a}, {a, a}, {b, a}} {
		now = now.Add(recurs / 4)
		if f, _ = f.meet(step.met, now); f.sessionError != step.want {
			t.Errorf("after %s: %v is shown, want %v", now.Sub(time.Unix(0, 0)), f.sessionError, step.want)
		}
	}
}

func TestTheClassOfAnError(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*status, run)
		want Failure
	}{
		"none":              {func(*status, run) {}, ""},
		"no connection":     {func(_ *status, r run) { r.ConnectFailed("x") }, Unreachable},
		"a loss":            {func(_ *status, r run) { r.Failed("x", "HoldTimerExpired") }, "HoldTimerExpired"},
		"a cause not known": {func(_ *status, r run) { r.Failed("x", "") }, "Unknown"},
		"a crash":           {func(_ *status, r run) { r.Crashed("x") }, Crashed},
		"a path that BFD has lost": {func(s *status, r run) {
			r.StateChanged(Established, 1)
			s.lose("x")
		}, "PathLost"},
		"routes not offered":                  {func(s *status, _ run) { s.offers(0, "x") }, Incomplete},
		"routes not offered, and another one": {func(s *status, r run) { s.offers(0, "x"); r.ConnectFailed("y") }, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatus()
			c.do(s, s.begin(announce.Peer{Name: "p"}))
			if state := s.report(); state.Failure != c.want || (state.LastError == "") != (c.want == "") {
				t.Errorf("class %q of %q, want %q", state.Failure, state.LastError, c.want)
			}
		})
	}
}

// An error that ends a session that was up is shown, whatever was shown before.
func TestALossIsAlwaysShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatus()
		r := s.begin(announce.Peer{Name: "p"})
		for range 3 {
			for _, text := range []string{"a", "b"} {
				r.StateChanged(Established, 1)
				r.Failed(text, "HoldTimerExpired")
				r.StateChanged(Idle, 0)
				if state := s.report(); state.LastError != text {
					t.Errorf("shown is %q, want %q", state.LastError, text)
				}
				time.Sleep(time.Second)
			}
		}
	})
}
