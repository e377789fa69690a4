package bfd_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
)

// faults are harm to host a while the session is Up, and its repair.
var faults = []struct {
	name       string
	want       bfd.Session // for both sides
	harm, mend func(a, b host)
}{
	{
		name: "the device is replaced by another of the same name", want: bfd.Session{Path: bfd.Path{Device: "eth0"}},
		harm: func(a, _ host) { a.ip("link", "del", "eth0") }, mend: join,
	},
	{
		name: "the device goes down",
		harm: func(a, _ host) { a.ip("link", "set", "eth0", "down") },
		mend: func(a, _ host) {
			a.ip("link", "set", "eth0", "up")
			for _, addr := range addresses(1)[1:] { // Linux has removed these
				a.ip("address", "replace", addr, "dev", "eth0", "nodad")
			}
		},
	},
	{
		name: "the addresses are removed",
		harm: func(a, _ host) {
			for _, addr := range addresses(1) {
				a.ip("address", "del", addr, "dev", "eth0")
			}
		},
		mend: func(a, _ host) {
			for _, addr := range addresses(1) {
				a.ip("address", "add", addr, "dev", "eth0", "nodad")
			}
		},
	},
}

func TestRecovery(t *testing.T) {
	for family, addrs := range map[string][2]string{
		"IPv4": {"192.0.2.1", "192.0.2.2"}, "IPv6": {"2001:db8::1", "2001:db8::2"}, "link-local": {"fe80::1%eth0", "fe80::2%eth0"},
	} {
		for _, h := range faults {
			for _, fixed := range []string{"", ", with a fixed local address"} {
				t.Run(family+", "+h.name+fixed, func(t *testing.T) {
					t.Parallel()
					a, b := cable(t)
					e := endsOn(t, a, b, addrs)
					stop := e.run()
					defer stop()
					want := h.want
					want.Transmit, want.Receive = 100*time.Millisecond, 100*time.Millisecond
					e.set(want)
					if want.Peer = e.b.addr; fixed != "" {
						want.Local = e.a.addr
					}
					e.a.Set([]bfd.Session{want})
					e.up()
					h.harm(a, b)
					e.wait("a is Down", e.a.is(bfd.Down))
					e.wait("b is Down", e.b.is(bfd.Down))
					h.mend(a, b)
					e.up()
					e.wait("a has no problem", func() bool { return e.a.state().Problem == "" })
				})
			}
		}
	}
}

// A passive side that has received nothing sends nothing, so that no failed send shows
// that its device was replaced.
func TestAPassiveSideNoticesThatItsDeviceWasReplaced(t *testing.T) {
	t.Parallel()
	a, b := cable(t)
	e := endsOn(t, a, b, [2]string{"192.0.2.1", "192.0.2.2"})
	stop := e.run()
	defer stop()
	e.a.Set([]bfd.Session{{Path: bfd.Path{Peer: e.b.addr, Device: "eth0"}, Passive: true}})
	e.wait("a listens", func() bool { return a.exec("ss", "-Hua", "sport", "3784") != "" })
	a.ip("link", "del", "eth0")
	join(a, b)
	e.b.Set([]bfd.Session{{Path: bfd.Path{Peer: e.a.addr}}})
	e.up()
}

// occupy binds the host's BFD port as another program would.
func occupy(t *testing.T, h host) (leave func()) {
	fd := -1
	done := make(chan error)
	go h.inside(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: bfd.SingleHopPort})
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
}

func TestAPortThatAnotherProgramHasIsReported(t *testing.T) {
	t.Parallel()
	a, b := cable(t)
	leave := occupy(t, a)
	e := endsOn(t, a, b, [2]string{"192.0.2.1", "192.0.2.2"})
	stop := e.run()
	defer stop()
	e.set(bfd.Session{})
	e.wait("a reports it", func() bool { return strings.Contains(e.a.state().Problem, "another program on this host runs BFD") })
	leave()
	e.up()
	if p := e.a.state().Problem; p != "" {
		t.Errorf("still a problem: %s", p)
	}
}

// A problem is reported and logged once, not at each attempt: its text must not change.
func TestAProblemHasTheSameTextEachTime(t *testing.T) {
	t.Parallel()
	a, _ := cable(t)
	for what, path := range map[string]bfd.Path{
		"no route":      {Peer: netip.MustParseAddr("203.0.113.1")},
		"no address":    {Peer: netip.MustParseAddr("192.0.2.2"), Local: netip.MustParseAddr("192.0.2.77")},
		"no IPv6 route": {Peer: netip.MustParseAddr("2001:db8:1::1")},
		"no device":     {Peer: netip.MustParseAddr("192.0.2.2"), Device: "eth7"},
	} {
		var first, second error
		a.visit(func() {
			w := udp.New()
			_, first = w.Open(path)
			_, second = w.Open(path)
		})
		if first == nil || second == nil || first.Error() != second.Error() {
			t.Errorf("%s: first %v, then %v", what, first, second)
		}
	}
}

// A socket whose buffer is full drops the packet, so that other sessions' packets do not
// wait for it.
func TestSendNeverWaits(t *testing.T) {
	t.Parallel()
	a, _ := cable(t)
	a.exec("sysctl", "-qw", "net.ipv4.neigh.eth0.unres_qlen_bytes=100000000")
	a.visit(func() {
		port, err := udp.New().Open(bfd.Path{Peer: netip.MustParseAddr("192.0.2.9")}) // no host has it
		if err != nil {
			t.Error(err)
			return
		}
		for range 100000 {
			if err = port.Send(make([]byte, 24)); err != nil {
				break
			}
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("the last error is %v", err)
		}
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
}

// visit runs f on the host and returns.
func (h host) visit(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.inside(f)
	}()
	<-done
}

func TestAllSocketsAreClosed(t *testing.T) {
	t.Parallel()
	a, b := cable(t)
	e := endsOn(t, a, b, [2]string{"192.0.2.1", "192.0.2.2"})
	stop := e.run()
	sockets := func() string { return a.exec("ss", "-Huan") }
	for i := range 3 {
		var sessions []bfd.Session
		for j := range 100 {
			sessions = append(sessions, bfd.Session{Path: bfd.Path{Peer: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 10+j)), Device: []string{"", "eth0"}[i%2]}})
		}
		e.a.Set(sessions)
		e.wait("all ports are open", func() bool { return strings.Count(sockets(), "\n") == 101 })
		e.a.Set(nil)
		e.wait("all are closed", func() bool { return sockets() == "" })
	}
	e.set(bfd.Session{})
	e.up()
	stop()
	if left := sockets(); left != "" {
		t.Errorf("after Run:\n%s", left)
	}
}
