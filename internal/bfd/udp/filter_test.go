package udp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// harvest records what a wire delivers.
type harvest struct {
	mu  sync.Mutex
	got []string
}

func (h *harvest) take(ds []bfd.Datagram) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		h.got = append(h.got, d.From.String()+" "+string(d.Payload[12:15]))
	}
}

func (h *harvest) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got
}

// packet returns a packet of a length, with flags; mark is in octets that the filter ignores.
func packet(length int, first, flags byte, mark string) []byte {
	b := make([]byte, max(length, 16))
	b[0], b[1], b[3] = first, flags, byte(length)
	copy(b[12:], mark)
	return b[:length]
}

func sender(t testing.TB, from string, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestTheFilterPassesOnlyWhatMayComeFromAPeer(t *testing.T) {
	const auth = 1 << 2
	for _, c := range []struct {
		name          string
		authenticated bool
		peers         []string
		from          string
		packet        []byte
		passes        bool
	}{
		{"a peer's authenticated packet", true, []string{"127.0.0.2", "127.0.0.3"}, "127.0.0.3", packet(52, 1<<5, auth, "one"), true},
		{"the other peer's packet", true, []string{"127.0.0.2", "127.0.0.3"}, "127.0.0.2", packet(52, 1<<5, auth, "one"), true},
		{"a packet from another address", true, []string{"127.0.0.2", "127.0.0.3"}, "127.0.0.4", packet(52, 1<<5, auth, "one"), false},
		{"a packet without authentication", true, []string{"127.0.0.2"}, "127.0.0.2", packet(24, 1<<5, 0, "one"), false},
		{"one of that length without the authentication bit", true, []string{"127.0.0.2"}, "127.0.0.2", packet(52, 1<<5, 0, "one"), false},
		{"one with that bit and a shorter length", true, []string{"127.0.0.2"}, "127.0.0.2", packet(24, 1<<5, auth, "one"), false},
		{"a packet without authentication where none is wanted", false, []string{"127.0.0.2"}, "127.0.0.2", packet(24, 1<<5, 0, "one"), true},
		{"one with a password", false, []string{"127.0.0.2"}, "127.0.0.2", packet(33, 1<<5, auth, "one"), true},
		{"one too short", false, []string{"127.0.0.2"}, "127.0.0.2", packet(23, 1<<5, 0, "one"), false},
		{"one too long", false, []string{"127.0.0.2"}, "127.0.0.2", packet(256, 1<<5, 0, "one"), false},
		{"of another version", false, []string{"127.0.0.2"}, "127.0.0.2", packet(24, 2<<5, 0, "one"), false},
		{"by IPv6", true, []string{"::1"}, "::1", packet(52, 1<<5, auth, "one"), true},
		{"by IPv6 from another address", true, []string{"::2"}, "::1", packet(52, 1<<5, auth, "one"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := New()
			w.Authenticated = c.authenticated
			var h harvest
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- w.Deliver(ctx, h.take) }()
			defer func() { stop(); <-ended }()
			const port = 47480
			self := netip.MustParseAddr(c.from)
			if self.Is4() {
				self = netip.MustParseAddr("127.0.0.1")
			}
			var last bfd.Port
			for _, p := range c.peers {
				local := self
				if self.Is6() {
					local = netip.Addr{}
				}
				var err error
				if last, err = w.Open(bfd.Path{Peer: netip.MustParseAddr(p), Local: local, Port: port}); err != nil {
					t.Skip("this host has no such address: ", err)
				}
			}
			s := sender(t, c.from, netip.AddrPortFrom(self, port))
			if _, err := s.Write(c.packet); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			w.Drain()
			if got := h.all(); (len(got) == 1) != c.passes {
				t.Errorf("delivered %q; want it delivered: %t", got, c.passes)
			}
			if len(c.peers) > 1 { // packets of the closed port's peer are dropped, the other's are not
				if err := last.Close(); err != nil {
					t.Fatal(err)
				}
				_, _ = sender(t, c.peers[0], netip.AddrPortFrom(self, port)).Write(packet(52, 1<<5, auth, "two"))
				_, _ = sender(t, c.peers[1], netip.AddrPortFrom(self, port)).Write(packet(52, 1<<5, auth, "two"))
				time.Sleep(20 * time.Millisecond)
				w.Drain()
				if got := h.all(); got[len(got)-1] != c.peers[0]+" two" && c.passes {
					t.Errorf("after a port was closed: %q", got)
				}
			}
		})
	}
}

func TestDrainDoesNotWaitForAFloodToEnd(t *testing.T) {
	const port = 47481
	w := New()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	slow := func(ds []bfd.Datagram) { time.Sleep(time.Duration(len(ds)) * 20 * time.Microsecond) } // slower than the flood
	go func() { ended <- w.Deliver(ctx, slow) }()
	defer func() { stop(); <-ended }()
	if _, err := w.Open(bfd.Path{Peer: netip.MustParseAddr("127.0.0.2"), Local: netip.MustParseAddr("127.0.0.1"), Port: port}); err != nil {
		t.Fatal(err)
	}
	s := sender(t, "127.0.0.2", netip.MustParseAddrPort("127.0.0.1:47481"))
	var flood sync.WaitGroup
	defer flood.Wait()
	defer stop()
	flood.Go(func() {
		for b := packet(24, 1<<5, 0, "one"); ctx.Err() == nil; {
			_, _ = s.Write(b)
		}
	})
	time.Sleep(100 * time.Millisecond)
	drained := make(chan struct{})
	go func() { w.Drain(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(5 * time.Second):
		t.Error("Drain has not returned in 5 s")
	}
}
