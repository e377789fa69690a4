package bfd_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// burn loads every core with a process of its own until the test ends, and for
// two minutes at most.
func burn(t testing.TB) {
	for range runtime.NumCPU() {
		c := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -t 120; while :; do :; done")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // else Linux has them share the test's part of the machine
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait() // says that it was killed
		})
	}
}

// A loaded machine is no reason to think that a path is lost, unless it lets no
// process run for as long as packets may be late.
func TestSessionsHoldUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	our, their := bfd.Session{Transmit: 50 * time.Millisecond, Receive: 50 * time.Millisecond}, manner{tx: 50, rx: 50, multiplier: 3}
	var meetings []*meeting
	for kind, newRouter := range routers() {
		m := &meeting{T: t, kind: kind, router: newRouter()}
		m.near, m.far, m.paths = singleHop(t)
		m.router.start(t, m.far)
		m.meet()
		m.router.hold(t, m.paths, their)
		m.set(our)
		meetings = append(meetings, m)
	}
	m := &meeting{T: t, kind: "ourselves"}
	m.near, m.far, m.paths = singleHop(t)
	m.meet()
	m.set(our)
	peer := &meeting{T: t, kind: "ourselves", near: m.far}
	for _, p := range m.paths {
		peer.paths = append(peer.paths, path{ours: p.theirs, theirs: p.ours})
	}
	peer.meet()
	peer.set(our)
	meetings = append(meetings, m, peer)
	for _, m := range meetings {
		m.ours("Up", isUp)
	}
	watcher := startChild(t, m.near, "watch")
	burn(t)
	time.Sleep(time.Minute)
	var lost []string
	for _, m := range meetings {
		for _, s := range m.engine.States() {
			if s.Ups != 1 || s.Status != bfd.Up {
				lost = append(lost, fmt.Sprintf("%s, %s: %s, Up %d times, lost with %+v", m.kind, s.Session.Peer, s.Status, s.Ups, s.LastOutage))
			}
		}
	}
	switch stalls := watcher.finish(); {
	case len(lost) == 0:
	case len(stalls) > 0:
		t.Skipf("the machine is too busy to tell: a bare process was kept waiting %d times, %q\n%s", len(stalls), stalls, strings.Join(lost, "\n"))
	default:
		t.Error(strings.Join(lost, "\n"))
	}
}
