package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// begin opens connections, one each 20 ms, until answered. The first SYN must be
// answered: the second would follow after a second. A client that is given a Service looks up
// its address, which is the first in its status, and uses it for so long, before it looks again.
func (s *story) begin(ts *testscript.TestScript, neg bool, args []string) {
	if !neg && len(args) == 4 && args[2] == "for" {
		s.beginResolving(ts, args[0], args[1], args[3])
		return
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: traffic HOST ADDRESS:PORT, or traffic HOST SERVICE:PORT for TIME")
	}
	probe := s.line("probe", append([]string{"--for", "10m", "--every", "20ms", "--timeout", "900ms"}, args...)...)
	cmd := exec.Command(probe[0], probe[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	s.traffic = append(s.traffic, cmd)
}

// summary is the last line of a probe.
var summary = regexp.MustCompile(`([0-9]+) connections answered, ([0-9]+) not`)

func (s *story) answered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 || len(s.traffic)+len(s.resolving) == 0 {
		ts.Fatalf("usage: answered, after traffic")
	}
	for _, r := range s.resolving {
		r.end(ts)
	}
	s.resolving = nil
	for _, cmd := range s.traffic {
		ts.Check(cmd.Process.Signal(syscall.SIGINT))
		ts.Check(cmd.Wait())
		out := cmd.Stdout.(*strings.Builder).String()
		n := summary.FindStringSubmatch(out)
		if n == nil || n[1] == "0" || n[2] != "0" {
			ts.Fatalf("some connections failed:\n%s", out)
		}
		ts.Logf("%s connections", n[1])
	}
	s.traffic = nil
}

// upgrade restarts the speakers as a rolling update of their DaemonSet does: the
// next one stops when the BGP sessions of the one before are up again, and BFD
// beside them where it is wanted.
func (s *story) upgrade(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: upgrade TIME")
	}
	away, err := time.ParseDuration(args[0])
	ts.Check(err)
	r := s.rack(ts)
	for _, h := range r.Hosts() {
		if h.Node == 0 {
			continue
		}
		before, _ := s.sessions(ts, h.Name)
		ts.Check(r.Kill(h.Name, "speaker", syscall.SIGTERM))
		time.Sleep(away)
		ts.Check(r.Start(h.Name, "speaker"))
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			since, up := s.sessions(ts, h.Name)
			restarted := up && len(since) == len(before)
			for name := range since {
				restarted = restarted && since[name] != before[name]
			}
			if restarted {
				ts.Logf("%s is back after %.1fs", h.Name, time.Since(start).Seconds())
				break
			}
			if time.Since(start) > timeout {
				ts.Fatalf("%s: its sessions are not up again after %s", h.Name, timeout)
			}
		}
	}
}

// sessions returns since when each BGP session of a node has been as it is, and
// whether all are up.
func (s *story) sessions(ts *testscript.TestScript, node string) (since map[string]string, up bool) {
	o := s.look(ts, []string{"kubectl", "get", "bgpsessions", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.since} {.status.state} {.status.bfd}{"\n"}{end}`})
	ts.Check(o.err)
	since, up = map[string]string{}, true
	for line := range strings.Lines(o.stdout) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, node+".") {
			continue
		}
		at, state, _ := strings.Cut(rest, " ")
		since[name] = at
		up = up && (state == "Established" || state == "Established Up")
	}
	return since, up
}
