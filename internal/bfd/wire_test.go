package bfd_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// timeout is how long a test waits for what must happen.
const timeout = 20 * time.Second

// host is a network namespace.
type host struct {
	t    testing.TB
	name string
}

// cable makes two hosts that are joined by a veth pair, each end named eth0, with the
// addresses 192.0.2.1 and .2, 2001:db8::1 and ::2, fe80::1 and ::2.
func cable(t testing.TB) (a, b host) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	name := fmt.Sprintf("bfd-%d-%08x", os.Getpid(), rand.Uint32())
	a, b = host{t, name + "-a"}, host{t, name + "-b"}
	for _, h := range []host{a, b} {
		command(t, "ip", "netns", "add", h.name)
		t.Cleanup(func() { command(t, "ip", "netns", "del", h.name) })
		h.ip("link", "set", "lo", "up")
	}
	join(a, b)
	return a, b
}

// join makes the veth pair between two hosts.
func join(a, b host) {
	a.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
	for i, h := range []host{a, b} {
		for _, addr := range addresses(i + 1) {
			h.ip("address", "add", addr, "dev", "eth0", "nodad")
		}
		h.ip("link", "set", "eth0", "up", "addrgenmode", "none")
	}
}

func addresses(n int) []string {
	return []string{fmt.Sprintf("192.0.2.%d/24", n), fmt.Sprintf("2001:db8::%d/64", n), fmt.Sprintf("fe80::%d/64", n)}
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h host) ip(args ...string) { command(h.t, "ip", append([]string{"-n", h.name}, args...)...) }

// exec runs a program on the host.
func (h host) exec(args ...string) string {
	return command(h.t, "ip", append([]string{"netns", "exec", h.name}, args...)...)
}

// drop has the host drop, or no longer drop, all UDP packets that it receives.
func (h host) drop(lose bool) {
	if !lose {
		h.exec("nft", "delete", "table", "inet", "cut")
		return
	}
	h.exec("nft", "add", "table", "inet", "cut")
	h.exec("nft", "add", "chain", "inet", "cut", "input", "{ type filter hook input priority 0; }")
	h.exec("nft", "add", "rule", "inet", "cut", "input", "meta", "l4proto", "udp", "drop")
}

// inside runs f in the host's network namespace. Goroutines that f starts are not in it.
func (h host) inside(f func()) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	ns, err := netns.GetFromName(h.name)
	if err == nil {
		err = netns.Set(ns)
	}
	if err != nil {
		h.t.Errorf("enter %s: %v", h.name, err)
		return
	}
	f()
}

func eventually(t *testing.T, what string, until func() bool, states ...func() bfd.State) {
	t.Helper()
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if until() {
			return
		}
	}
	for _, state := range states {
		t.Logf("%+v", state())
	}
	t.Fatalf("never happened: %s", what)
}

func TestPairOverVeth(t *testing.T) {
	for family, addrs := range map[string][2]string{
		"IPv4":       {"192.0.2.1", "192.0.2.2"},
		"IPv6":       {"2001:db8::1", "2001:db8::2"},
		"link-local": {"fe80::1%eth0", "fe80::2%eth0"},
	} {
		for name, body := range pairTests {
			t.Run(family+", "+name, func(t *testing.T) {
				t.Parallel()
				a, b := cable(t)
				e := endsOn(t, a, b, addrs)
				stop := e.run()
				defer stop()
				body(e)
			})
		}
	}
}

func endsOn(t *testing.T, a, b host, addrs [2]string) *ends {
	newEnd := func(h host, addr string) *end {
		return &end{Engine: bfd.New(udp.New(), slog.New(slog.DiscardHandler)), addr: netip.MustParseAddr(addr), inside: h.inside}
	}
	e := &ends{T: t, a: newEnd(a, addrs[0]), b: newEnd(b, addrs[1])}
	e.cut = func(cut bool) { a.drop(cut); b.drop(cut) }
	e.wait = func(what string, until func() bool) {
		t.Helper()
		eventually(t, what, until, e.a.state, e.b.state)
	}
	return e
}
