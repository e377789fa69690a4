package network

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// inside is set if the test process runs in its own network namespace. It names the namespace
// at the other end of the veth pair.
const inside = "STEELYARD_MEMBERSHIP_INSIDE"

// onHost runs body in a separate process on a host with 192.0.2.1 and 2001:db8::1, which a
// veth pair connects to a host with .2 and ::2.
func onHost(t *testing.T, body func()) {
	if os.Getenv(inside) != "" {
		body()
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name()))
	name := fmt.Sprintf("members-%d-%08x", os.Getpid(), h.Sum32())
	host, peer := name+"-a", name+"-b"
	for _, ns := range []string{host, peer} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
	}
	// The peer's address must remain while its link is set down.
	ip(t, "netns", "exec", peer, "sysctl", "-qw", "net.ipv6.conf.all.keep_addr_on_down=1", "net.ipv6.conf.default.keep_addr_on_down=1")
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
	cmd.Env = append(os.Environ(), inside+"="+peer)
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

// A router in another subnet of the link answers only requests from that subnet. It is a
// gateway of that segment, but not a default one.
func TestTheGatewayOfASegment(t *testing.T) {
	onHost(t, func() {
		peer := os.Getenv(inside)
		ip(t, "-n", peer, "address", "del", "192.0.2.2/24", "dev", "eth0")
		ip(t, "-n", peer, "address", "add", "198.51.100.2/24", "dev", "eth0")
		ip(t, "netns", "exec", peer, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
		ip(t, "address", "add", "198.51.100.1/24", "dev", "eth0")
		w := NewHostProber(slog.Default(), 0)
		first, second := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
		for end := time.Now().Add(10 * time.Second); w.Probe(t.Context(), netip.Prefix{}, netip.MustParseAddr("198.51.100.2")) != membership.Answered; {
			if time.Now().After(end) {
				t.Fatal("the router does not answer")
			}
		}
		if have := w.Probe(t.Context(), second, netip.Addr{}); have != membership.Inconclusive {
			t.Errorf("without a route there is no gateway: %d", have)
		}
		ip(t, "route", "add", "203.0.113.0/24", "via", "198.51.100.2")
		for subnet, want := range map[netip.Prefix]membership.Reply{first: membership.Inconclusive, second: membership.Answered, {}: membership.Inconclusive} {
			if have := w.Probe(t.Context(), subnet, netip.Addr{}); have != want {
				t.Errorf("the gateway of %s: %d, want %d", subnet, have, want)
			}
		}
	})
}

func TestHostProber(t *testing.T) {
	onHost(t, func() {
		w := NewHostProber(slog.Default(), 0)
		ask := func(addr string, want membership.Reply) {
			t.Helper()
			var a netip.Addr
			if addr != "" {
				a = netip.MustParseAddr(addr)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // addresses and links take a moment
				have := w.Probe(t.Context(), netip.Prefix{}, a)
				if have == want {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("asking %q came to %d, want %d", addr, have, want)
				}
			}
		}
		ask("192.0.2.2", membership.Answered)
		ask("2001:db8::2", membership.Answered)
		ask("192.0.2.9", membership.Unanswered)
		ask("2001:db8::9", membership.Unanswered)
		ask("198.51.100.1", membership.Inconclusive) // no route
		ask("", membership.Inconclusive)             // no gateway
		has := func(addr string, links ...string) membership.Reply {
			a := netip.MustParseAddr(addr)
			return w.Has(t.Context(), []netip.Addr{a}, links)[a].Reply
		}
		for addr, want := range map[string]membership.Reply{
			"192.0.2.2": membership.Answered, "2001:db8::2": membership.Answered, "192.0.2.9": membership.Unanswered, "2001:db8::9": membership.Unanswered,
			"198.51.100.1": membership.Unanswered, // no route, but the link is named
		} {
			if have := has(addr, "eth0"); have != want {
				t.Errorf("who has %s? %d, want %d", addr, have, want)
			}
		}
		if have := has("192.0.2.9", "eth0", "eth7"); have != membership.Inconclusive {
			t.Errorf("a link that is not there told %d", have)
		}
		ip(t, "address", "del", "192.0.2.1/24", "dev", "eth0") // a probe needs none
		if have := has("192.0.2.2", "eth0"); have != membership.Answered {
			t.Errorf("asked from a link without an address: %d", have)
		}
		ip(t, "address", "add", "192.0.2.1/24", "dev", "eth0")
		ip(t, "route", "add", "default", "via", "192.0.2.9")
		ask("", membership.Unanswered)
		ask("198.51.100.1", membership.Inconclusive) // behind a router
		ip(t, "-6", "route", "add", "default", "via", "2001:db8::2")
		ask("", membership.Answered)
		ip(t, "link", "set", "eth0", "down")
		ask("", membership.Inconclusive) // the routes are gone with the link
		if have := has("192.0.2.9", "eth0"); have != membership.Inconclusive {
			t.Errorf("a link that is down told %d", have)
		}
	})
}

func TestNeighborsOutlastALossOfCarrier(t *testing.T) {
	onHost(t, func() {
		n := NewNeighbors(slog.Default())
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
			n.Set([]netip.Addr{netip.MustParseAddr(addr)})
			conn, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
			if err != nil {
				t.Fatal(err)
			}
			remembered := func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return len(n.known) == 1
			}
			until(t, "the neighbor is known", func() bool { _, _ = conn.Write([]byte("x")); return remembered() })
			for range 5 {
				ip(t, "-n", os.Getenv(inside), "link", "set", "eth0", "down")
				until(t, "the carrier is lost", func() bool { return !carrier() })
				ip(t, "-n", os.Getenv(inside), "link", "set", "eth0", "up")
				until(t, "the neighbor is back, though nothing was sent", func() bool { return carrier() && kernelKnows(t, addr) })
			}
			// The host no longer answers, so its entry must not be restored.
			until(t, "it is forgotten", func() bool {
				ip(t, "neigh", "replace", addr, "dev", "eth0", "nud", "failed") // again: what came of the last loss may be under way
				return !remembered()
			})
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func carrier() bool {
	link, err := net.InterfaceByName("eth0")
	return err == nil && link.Flags&net.FlagRunning != 0
}

func kernelKnows(t *testing.T, addr string) bool {
	out, err := exec.Command("ip", "neigh", "show", addr, "dev", "eth0").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), "lladdr")
}

// So many neighbors change that the kernel drops messages about them (ENOBUFS). Later changes
// must be seen all the same.
func TestNeighborsOutlastAFlood(t *testing.T) {
	onHost(t, func() {
		flooded := make(chan string, 100)
		n := NewNeighbors(slog.New(slog.NewTextHandler(lines(flooded), nil)))
		n.Set([]netip.Addr{netip.MustParseAddr("192.0.2.77")})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		change := func(mac int) string {
			return fmt.Sprintf("neigh replace 192.0.2.77 lladdr 02:00:00:00:%02x:%02x dev eth0 nud permanent\n", mac>>8, mac&0xff)
		}
		known := func(mac int) func() bool {
			return func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return net.HardwareAddr(n.known[netip.MustParseAddr("192.0.2.77")].mac).String() == fmt.Sprintf("02:00:00:00:%02x:%02x", mac>>8, mac&0xff)
			}
		}
		ip(t, strings.Fields(change(1))...)
		until(t, "the neighbor is known", known(1))
		n.mu.Lock() // nothing is read meanwhile
		var batch strings.Builder
		for mac := range 5000 {
			batch.WriteString(change(mac))
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch.String())
		out, err := cmd.CombinedOutput()
		n.mu.Unlock()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if line := <-flooded; !strings.Contains(line, "no buffer space") {
			t.Fatalf("logged %s", line)
		}
		until(t, "what was dropped is known", known(4999))
		ip(t, strings.Fields(change(6000))...)
		until(t, "what comes later is known", known(6000))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// lines is a writer that records lines.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestTransport(t *testing.T) {
	onHost(t, func() {
		transport := NewTransport(7481)
		ctx, stop := context.WithCancel(t.Context())
		got, done := make(chan string, 10), make(chan error)
		go func() { done <- transport.Deliver(ctx, func(b []byte) { got <- string(b) }) }()
		for _, to := range []string{"127.0.0.1", "::1"} {
			for end := time.Now().Add(10 * time.Second); transport.Send(netip.Addr{}, netip.MustParseAddr(to), []byte("to "+to)) != nil; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("can't send to " + to)
				}
			}
			if b := <-got; b != "to "+to {
				t.Errorf("got %q", b)
			}
		}
		if err := NewTransport(7481).Deliver(ctx, nil); err == nil {
			t.Error("two could listen on one port")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The receiver identifies the sender by its source address, which the kernel alone might
// choose differently.
func TestTheSourceOfDatagrams(t *testing.T) {
	onHost(t, func() {
		for _, c := range []struct{ to, kernels, other string }{
			{"192.0.2.1", "192.0.2.1", "192.0.2.7"}, {"2001:db8::1", "2001:db8::1", "2001:db8::7"},
		} {
			ip(t, "address", "replace", c.other+map[bool]string{true: "/24", false: "/64"}[netip.MustParseAddr(c.to).Is4()], "dev", "eth0", "nodad")
			receiver, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.to), 0)))
			if err != nil {
				t.Fatal(err)
			}
			sender, err := net.ListenUDP("udp", &net.UDPAddr{})
			if err != nil {
				t.Fatal(err)
			}
			transport := NewTransport(receiver.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			transport.conn.Store(sender)
			for from, want := range map[netip.Addr]string{{}: c.kernels, netip.MustParseAddr(c.other): c.other} {
				if err := transport.Send(from, netip.MustParseAddr(c.to), []byte("x")); err != nil {
					t.Fatal(err)
				}
				_, source, err := receiver.ReadFromUDPAddrPort(make([]byte, 10))
				if have := source.Addr().Unmap().String(); err != nil || have != want {
					t.Errorf("from %s it came from %s, %v; want %s", from, have, err, want)
				}
			}
			if err := transport.Send(netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("192.0.2.1"), nil); err == nil {
				t.Error("sent from an address that this host does not have")
			}
		}
	})
}
