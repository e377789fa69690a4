package layer2

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// envClient tells a test process that it runs on a node, and names the
// network namespace of the client that is joined to it.
const envClient = "STEELYARD_LAYER2_CLIENT"

const timeout = 10 * time.Second // for what must happen

// rig is a node, which is the namespace that the test process runs in, with
// an Announcer, joined by veth n0-c0 to a client in another namespace.
type rig struct {
	*testing.T
	*Announcer
	client string // namespace
	stop   func() // ends Run
}

// onWire runs body in a process of its own that lives in a fresh network
// namespace, so that all its goroutines do.
func onWire(t *testing.T, body func(*rig)) {
	if client := os.Getenv(envClient); client != "" {
		body(startWire(t, client))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	t.Parallel() // they mostly wait
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name()))
	name := fmt.Sprintf("layer2-%d-%08x", os.Getpid(), h.Sum32())
	node, client := name+"-node", name+"-client"
	for _, ns := range []string{node, client} {
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	cable(t, "ip", node, client)
	self, err := os.Executable()
	must(err)
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", node, self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), envClient+"="+client)
	out, err := cmd.CombinedOutput()
	t.Logf("on the node:\n%s", out)
	if err != nil {
		t.Fatalf("test on the node: %v", err)
	}
}

// cable joins node and client by n0-c0. It is run from outside or, with node
// "", on the node.
func cable(t testing.TB, ip, node, client string) {
	onNode := func(args ...string) {
		if node != "" {
			args = append([]string{"-n", node}, args...)
		}
		run(t, ip, args...)
	}
	onClient := func(args ...string) { run(t, ip, append([]string{"-n", client}, args...)...) }
	onNode("link", "add", "n0", "address", nodeMAC, "type", "veth", "peer", "name", "c0", "address", clientMAC, "netns", client)
	onNode("addr", "add", "192.0.2.11/24", "dev", "n0")
	onNode("addr", "add", "2001:db8::11/64", "dev", "n0", "nodad")
	onClient("addr", "add", "192.0.2.1/24", "dev", "c0")
	onClient("addr", "add", "2001:db8::1/64", "dev", "c0", "nodad")
	onClient("link", "set", "c0", "up")
	onNode("link", "set", "n0", "up")
}

func startWire(t *testing.T, client string) *rig {
	w := &rig{T: t, Announcer: New(slog.New(slog.NewTextHandler(t.Output(), nil)), Options{Ignore: link.Ignored()}), client: client}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Announcer.Run(ctx) }()
	w.stop = func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
		case <-time.After(timeout):
			t.Fatal("Run did not return")
		}
		w.stop = func() {}
		var stacks strings.Builder
		must(pprof.Lookup("goroutine").WriteTo(&stacks, 1))
		for _, leftover := range []string{"(*worker)", "(*Watcher)", "(*Announcer)"} {
			if strings.Contains(stacks.String(), leftover) {
				t.Errorf("a goroutine outlives Run:\n%s", stacks.String())
			}
		}
	}
	t.Cleanup(func() { w.stop() })
	w.until("n0 is up", func() bool { return w.up("n0") })
	return w
}

func (w *rig) up(name string) bool {
	for _, l := range w.Links() {
		if l.Name == name {
			return l.Up
		}
	}
	return false
}

// sum adds up the counts of a family over all links.
func (w *rig) sum(f family) (all Stats) {
	for _, s := range w.Stats() {
		if s.Family == string(f) {
			all.Frames += s.Frames
			all.Requests += s.Requests
			all.Answers += s.Answers
			all.Limited += s.Limited
			all.Announced += s.Announced
			all.Probes += s.Probes
			all.Malformed += s.Malformed
			all.Conflicts += s.Conflicts
			all.Defenses += s.Defenses
			all.DuplicateOwners += s.DuplicateOwners
		}
	}
	return all
}

// until polls for what must come true.
func (w *rig) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(timeout); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not within %v: %s; links %+v, stats %+v", timeout, what, w.Links(), w.Stats())
		}
	}
}

// onClient runs a command in the client's namespace.
func (w *rig) onClient(args ...string) string {
	w.Helper()
	return run(w, "ip", append([]string{"netns", "exec", w.client}, args...)...)
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tap sees and sends one protocol's frames at the client's end of a cable.
type tap struct {
	*rig
	*packet.Conn
}

func (w *rig) tap(link string, p neighbor.Protocol) tap {
	w.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	must(err)
	defer here.Close()
	there, err := netns.GetFromName(w.client)
	must(err)
	defer there.Close()
	must(netns.Set(there))
	defer func() { must(netns.Set(here)) }()
	ifi, err := net.InterfaceByName(link)
	must(err)
	c, err := packet.Listen(ifi, packet.Raw, int(p.EtherType), nil)
	must(err)
	w.Cleanup(func() { _ = c.Close() })
	return tap{w, c}
}

func (t tap) send(f []byte) {
	t.Helper()
	_, err := t.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
	must(err)
}

// receive returns the next frame, in words; "" if none comes for so long.
func (t tap) receive(timeout time.Duration) string {
	t.Helper()
	return describe(t.frame(timeout))
}

// frame returns the next ARP or advertisement frame from the node that is not
// about the node's own addresses; nil if none comes for so long.
func (t tap) frame(timeout time.Duration) []byte {
	t.Helper()
	must(t.SetReadDeadline(time.Now().Add(timeout)))
	for {
		f := make([]byte, neighbor.MaxFrame)
		n, _, err := t.ReadFrom(f)
		if errors.Is(err, unix.ENETDOWN) {
			continue // said once when the cable is cut
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		must(err)
		f = f[:n]
		isARP := f[12] == 8 && f[13] == 6
		isNA := f[12] == 0x86 && f[20] == 58 && f[54] == 136
		if f[6] != 2 || f[11] == 1 || !isARP && !isNA {
			continue // not from a node, or something else
		}
		if text := describe(f); !strings.Contains(text, " 192.0.2.11 is at") && !strings.Contains(text, "target=2001:db8::11 ") {
			return f
		}
	}
}

// silent fails if anything comes for a while.
func (t tap) silent(when string) {
	t.Helper()
	if got := t.receive(250 * time.Millisecond); got != "" {
		t.Errorf("%s: got %s, want silence", when, got)
	}
}

// expect fails unless the next frame is the wanted one.
func (t tap) expect(when, want string) {
	t.Helper()
	if got := t.receive(timeout); got != want {
		t.Errorf("%s:\n got %s\nwant %s", when, got, want)
	}
}
