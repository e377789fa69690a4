package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// inside says that the test process runs in a network namespace of its own.
const inside = "STEELYARD_MEMBERSHIP_INSIDE"

// onHost runs body in a process of its own on a host with 192.0.2.1 and
// 2001:db8::1, whose cable leads to a host with ::2 and .2.
func onHost(t *testing.T, body func()) {
	if os.Getenv(inside) != "" {
		body()
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	name := fmt.Sprintf("members-%d", os.Getpid())
	host, peer := name+"-a", name+"-b"
	for _, ns := range []string{host, peer} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
	}
	ip(t, "-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer)
	for i, ns := range []string{host, peer} {
		for _, prefix := range []string{"192.0.2.%d/24", "2001:db8::%d/64"} {
			ip(t, "-n", ns, "address", "add", fmt.Sprintf(prefix, i+1), "dev", "eth0", "nodad")
		}
		ip(t, "-n", ns, "link", "set", "lo", "up")
		ip(t, "-n", ns, "link", "set", "eth0", "up")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", host, self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("on the host:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestWitness(t *testing.T) {
	onHost(t, func() {
		w := Witness{Log: slog.Default()}
		ask := func(addr string, want membership.Reply) {
			t.Helper()
			var a netip.Addr
			if addr != "" {
				a = netip.MustParseAddr(addr)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // addresses and links take a moment
				have := w.Ask(t.Context(), a)
				if have == want {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("asking %q came to %d, want %d", addr, have, want)
				}
			}
		}
		ask("192.0.2.2", membership.Sign)
		ask("2001:db8::2", membership.Sign)
		ask("192.0.2.9", membership.Silence)
		ask("2001:db8::9", membership.Silence)
		ask("198.51.100.1", membership.CantTell) // no route
		ask("", membership.CantTell)             // no gateway
		ip(t, "route", "add", "default", "via", "192.0.2.9")
		ask("", membership.Silence)
		ask("198.51.100.1", membership.CantTell) // behind a router
		ip(t, "-6", "route", "add", "default", "via", "2001:db8::2")
		ask("", membership.Sign)
		ip(t, "link", "set", "eth0", "down")
		ask("", membership.CantTell) // the routes are gone with the link
	})
}

func TestPost(t *testing.T) {
	onHost(t, func() {
		post := NewPost(7481)
		ctx, stop := context.WithCancel(t.Context())
		got, done := make(chan string, 10), make(chan error)
		go func() { done <- post.Deliver(ctx, func(b []byte) { got <- string(b) }) }()
		for _, to := range []string{"127.0.0.1", "::1"} {
			for end := time.Now().Add(10 * time.Second); post.Send(netip.MustParseAddr(to), []byte("to "+to)) != nil; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("can't send to " + to)
				}
			}
			if b := <-got; b != "to "+to {
				t.Errorf("got %q", b)
			}
		}
		if err := NewPost(7481).Deliver(ctx, nil); err == nil {
			t.Error("two could listen on one port")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
