package bfd_test

import (
	"os/exec"
	"runtime"
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

// A loaded machine is no reason to think that a path is lost.
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
	m := &meeting{T: t}
	m.near, m.far, m.paths = singleHop(t)
	m.meet()
	m.set(our)
	peer := &meeting{T: t, near: m.far}
	for _, p := range m.paths {
		peer.paths = append(peer.paths, path{ours: p.theirs, theirs: p.ours})
	}
	peer.meet()
	peer.set(our)
	meetings = append(meetings, m, peer)
	for _, m := range meetings {
		m.ours("Up", isUp)
	}
	burn(t)
	time.Sleep(time.Minute)
	for _, m := range meetings {
		m.unbroken()
	}
}
