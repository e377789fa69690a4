package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// resolving is a client that looks up the address of a Service, and opens connections to it for a time before it
// looks again.
type resolving struct {
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	used    []string // addresses, as they came into use
	windows int
	failed  []string
}

func (s *story) beginResolving(ts *testscript.TestScript, host, target, ttl string) {
	name, port, ok := strings.Cut(target, ":")
	if !ok {
		ts.Fatalf("%s is no SERVICE:PORT", target)
	}
	r := &resolving{stop: make(chan struct{}), done: make(chan struct{})}
	lookup := []string{"kubectl", "get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"}
	s.until(ts, timeout, lookup, func(o outcome) bool { return o.err == nil && o.stdout != "" })
	get := s.arguments(ts, lookup)
	probe := func(addr string) []string {
		return s.line("probe", "--for", ttl, "--every", "20ms", "--timeout", "900ms", host, net.JoinHostPort(addr, port))
	}
	go func() {
		defer close(r.done)
		for {
			select {
			case <-r.stop:
				return
			default:
				r.window(get, probe)
			}
		}
	}()
	var once sync.Once
	ts.Defer(func() { once.Do(func() { r.halt() }) })
	s.resolving = append(s.resolving, r)
}

// window looks up the address, and uses it until the record ends.
func (r *resolving) window(get []string, probe func(string) []string) {
	out, err := exec.Command(get[0], get[1:]...).Output()
	addr := string(out)
	var text []byte
	if err == nil {
		line := probe(addr)
		text, err = exec.Command(line[0], line[1:]...).CombinedOutput()
	}
	n := summary.FindStringSubmatch(string(text))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.windows++; len(r.used) == 0 || r.used[len(r.used)-1] != addr {
		r.used = append(r.used, addr)
	}
	if err != nil || n == nil || n[1] == "0" || n[2] != "0" {
		r.failed = append(r.failed, fmt.Sprintf("%s, %s: %v: %s", time.Now().UTC().Format(time.TimeOnly), addr, err, text))
	}
}

// halt ends the client, and waits for that.
func (r *resolving) halt() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	<-r.done
}

// end ends the client. Its output are the addresses that it has used.
func (r *resolving) end(ts *testscript.TestScript) {
	r.halt()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.windows == 0 || len(r.failed) > 0 {
		ts.Fatalf("of %d times that the client looked up the address, some connections failed after %d:\n%s", r.windows, len(r.failed), strings.Join(r.failed, "\n"))
	}
	fmt.Fprintln(ts.Stdout(), strings.Join(r.used, " "))
	ts.Logf("looked up %d times", r.windows)
}
