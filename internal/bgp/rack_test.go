package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// routerNS names, in the environment, the namespace of the router; the test
// binary itself then runs in the node's.
const routerNS = "BGP_TEST_ROUTER_NS"

// inRack runs the calling test in a network namespace of its own: it starts
// the test binary again in there, so that all its goroutines are inside, and
// reports false. In that process it reports true. The namespaces "node" and
// "router" are joined by a cable: 10.9.0.2 to .4 and fd09::2 on the node's side,
// 10.9.0.1, .11, .12 and fd09::1 on the router's.
func inRack(t *testing.T) bool {
	t.Helper()
	if os.Getenv(routerNS) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, tool := range []string{"ip", "bird", "birdc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	t.Parallel() // each test has namespaces and a process of its own
	prefix := fmt.Sprintf("sybgp%d-%s-", os.Getpid(), t.Name())
	node, router := prefix+"node", prefix+"router"
	for _, ns := range []string{node, router} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { removeNamespace(t, ns) })
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	ip(t, "-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", router)
	for _, a := range []string{"10.9.0.2/24", "10.9.0.3/24", "10.9.0.4/24", "fd09::2/64"} {
		addAddr(t, node, a)
	}
	for _, a := range []string{"10.9.0.1/24", "10.9.0.11/24", "10.9.0.12/24", "fd09::1/64"} {
		addAddr(t, router, a)
	}
	ip(t, "-n", node, "link", "set", "eth0", "up")
	ip(t, "-n", router, "link", "set", "eth0", "up")

	args := []string{"netns", "exec", node, os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=3m"}
	cmd := exec.CommandContext(t.Context(), "ip", args...)
	cmd.Env = append(os.Environ(), routerNS+"="+router)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in the rack: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("in the rack:\n%s", out)
	}
	return false
}

// removeNamespace removes a namespace and what may still run in it, which
// is a BIRD whose test has died.
func removeNamespace(t *testing.T, ns string) {
	pids, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		t.Errorf("list what runs in %s: %v", ns, err)
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if n, err := strconv.Atoi(pid); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL) // it may just have ended
		}
	}
	ip(t, "netns", "del", ns)
}

func addAddr(t *testing.T, ns, a string) {
	t.Helper()
	args := []string{"-n", ns, "addr", "add", a, "dev", "eth0"}
	if strings.Contains(a, ":") {
		args = append(args, "nodad")
	}
	ip(t, args...)
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// bird is a BIRD in the router's namespace.
type bird struct {
	dir string
	cmd *exec.Cmd
}

// birdHead is common to all configurations.
const birdHead = "router id 10.9.0.1;\nprotocol device {}\n"

// startBird starts a BIRD with the given protocols.
func startBird(t *testing.T, protocols string) *bird {
	t.Helper()
	b := &bird{dir: t.TempDir()}
	config := birdHead + protocols
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bird", "-p", "-c", filepath.Join(b.dir, "bird.conf")).CombinedOutput(); err != nil {
		t.Fatalf("bird's configuration: %v\n%s", err, out)
	}
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

func (b *bird) start(t *testing.T) {
	t.Helper()
	b.cmd = exec.Command("ip", "netns", "exec", os.Getenv(routerNS), "bird", "-f",
		"-c", filepath.Join(b.dir, "bird.conf"), "-s", filepath.Join(b.dir, "ctl"))
	if err := b.cmd.Start(); err != nil {
		t.Fatalf("start bird: %v", err)
	}
	eventually(t, "bird answers", func() error {
		_, err := b.ask("show", "status")
		return err
	})
}

// stop kills BIRD, which leaves it no time for a goodbye.
func (b *bird) stop() {
	if b.cmd.ProcessState == nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
	}
}

func (b *bird) ask(words ...string) (string, error) {
	args := append([]string{"-s", filepath.Join(b.dir, "ctl")}, words...)
	out, err := exec.Command("birdc", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// shows waits until BIRD has the route as learned from a protocol, with every
// one of the lines in its details.
func (b *bird) shows(t *testing.T, protocol, prefix string, lines ...string) {
	t.Helper()
	eventually(t, protocol+" shows "+prefix, func() error {
		out, err := b.ask("show", "route", prefix, "protocol", protocol, "all")
		if err != nil {
			return err
		}
		for _, line := range append(lines, prefix) {
			if !strings.Contains(out, line) {
				return fmt.Errorf("no %q in\n%s", line, out)
			}
		}
		return nil
	})
}

// counts waits until BIRD has exactly n routes of a protocol.
func (b *bird) counts(t *testing.T, protocol string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d routes", protocol, n), func() error {
		out, err := b.ask("show", "route", "protocol", protocol)
		if err != nil {
			return err
		}
		if got := strings.Count(out, "["+protocol+" "); got != n {
			return fmt.Errorf("%d routes:\n%s", got, out)
		}
		return nil
	})
}

// eventually polls until check is content, for half a minute at most.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not so within 30s: %s: %v", what, err)
}

// output is a test's, until it ends: BFD goes on after Run where the router is graceful.
type output struct {
	mu sync.Mutex
	t  *testing.T // nil: it has ended
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.t == nil {
		return len(b), nil
	}
	return o.t.Output().Write(b)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t = nil
}

// startSessions runs Sessions until the test ends.
func startSessions(t *testing.T) (*Sessions, context.CancelFunc) {
	t.Helper()
	out := &output{t: t}
	t.Cleanup(out.end)
	log := slog.New(slog.NewTextHandler(out, nil))
	s := New(log, "node1", bfd.New(udp.New(), log))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		ended <- nil
	}
	t.Cleanup(stop)
	return s, stop
}

// state returns the state of one peer, by polling States.
func state(s *Sessions, peer string) State {
	for _, st := range s.States() {
		if st.Peer == peer {
			return st
		}
	}
	return State{}
}

// establish waits for a session, by listening to Changed, and returns its state.
func establish(t *testing.T, s *Sessions, peer string) State {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if st := state(s, peer); st.Session == Established {
			return st
		}
		select {
		case <-s.Changed():
		case <-deadline:
			t.Fatalf("%s is not established after 30s: %+v", peer, s.States())
		}
	}
}

// fails waits for an error that contains all the words.
func fails(t *testing.T, s *Sessions, peer string, words ...string) {
	t.Helper()
	eventually(t, peer+" fails", func() error {
		for _, w := range words {
			if e := state(s, peer).LastError; !strings.Contains(e, w) {
				return fmt.Errorf("no %q in %q", w, e)
			}
		}
		return nil
	})
}

func peer(name, addr string) announce.Peer {
	return announce.Peer{Name: name, Addr: netip.MustParseAddr(addr), LocalASN: 64512, PeerASN: 64601,
		ConnectTime: time.Second}
}

func routes(prefixes ...string) []announce.Route {
	var list []announce.Route
	for _, p := range prefixes {
		list = append(list, announce.Route{Prefix: netip.MustParsePrefix(p)})
	}
	return list
}

// showsIn is shows for a route in a table that is not the main one.
func (b *bird) showsIn(t *testing.T, table, protocol, prefix string, lines ...string) {
	t.Helper()
	b.shows(t, protocol+" table "+table, prefix, lines...)
}

// updates returns how many routes BIRD received by a protocol.
func (b *bird) updates(t *testing.T, protocol string) int {
	t.Helper()
	out, err := b.ask("show", "protocols", "all", protocol)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Import" && f[1] == "updates:" {
			var n int
			if _, err := fmt.Sscan(f[2], &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no import updates in\n%s", out)
	return 0
}

// says waits until BIRD's account of a protocol has the words.
func (b *bird) says(t *testing.T, protocol, words string) {
	t.Helper()
	eventually(t, protocol+" says "+words, func() error {
		out, err := b.ask("show", "protocols", "all", protocol)
		if err == nil && !strings.Contains(out, words) {
			err = fmt.Errorf("in\n%s", out)
		}
		return err
	})
}
