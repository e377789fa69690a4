package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// press is a client that connects to an address all the time.
type press struct {
	probe  *exec.Cmd
	out    strings.Builder
	forget func() // ends what empties the neighbor cache
}

// press begins. What the client is still asking for stays in its cache: to remove
// that would fail the connections that wait for it. A connection has failed if it
// is not there after four seconds.
func (s *story) press(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || s.pressing != nil {
		ts.Fatalf("usage: press HOST ADDRESS:PORT, until pressed")
	}
	ctx, stop := context.WithCancel(context.Background())
	forget := onHost(ctx, s, args[0], "sh", "-c", "while sleep 0.2; do ip neigh flush dev eth0 nud reachable nud stale nud delay nud probe; done")
	ts.Check(forget.Start())
	p := &press{forget: func() { stop(); _ = forget.Wait() }} // it was killed
	probe := s.line("probe", "--for", "10m", "--every", "5ms", "--timeout", "4s", args[0], args[1])
	p.probe = exec.Command(probe[0], probe[1:]...)
	p.probe.Stdout, p.probe.Stderr = &p.out, &p.out
	ts.Check(p.probe.Start())
	s.pressing = p
	ts.Defer(func() {
		if s.pressing == p { // the story has failed
			p.forget()
			_ = p.probe.Process.Kill() // it may have ended
			_ = p.probe.Wait()
			s.pressing = nil
		}
	})
	time.Sleep(500 * time.Millisecond) // so that some connections come before what the story does next
}

// pressed ends what press began.
func (s *story) pressed(ts *testscript.TestScript, neg bool, args []string) {
	p := s.pressing
	if neg || len(args) != 0 || p == nil {
		ts.Fatalf("usage: pressed, after press")
	}
	s.pressing = nil
	p.forget()
	ts.Check(p.probe.Process.Signal(syscall.SIGTERM))
	if err := p.probe.Wait(); err != nil {
		ts.Fatalf("probe: %v: %s", err, p.out.String())
	}
	ts.Logf("%s", p.out.String())
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	fmt.Fprint(ts.Stdout(), lines[len(lines)-1])
}
