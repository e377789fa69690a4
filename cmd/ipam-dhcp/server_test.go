package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/dhcp/fake"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/logs"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// fakeLink has a DHCP server, which answers after a millisecond.
type fakeLink struct {
	mu       sync.Mutex
	server   *fake.Server
	down     error
	received chan dhcp.Message
}

func (l *fakeLink) send(m dhcp.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return l.down
	}
	for _, r := range l.server.Answer(m) {
		time.AfterFunc(time.Millisecond, func() { l.received <- r })
	}
	return nil
}

func (l *fakeLink) run(ctx context.Context, received func(dhcp.Message)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.received:
			received(m)
		}
	}
}

// change changes the server.
func (l *fakeLink) change(how func(*fake.Server)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	how(l.server)
}

// lines are the log.
type lines struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

// within runs a test with a server, in virtual time.
func within(t *testing.T, test func(*testing.T, *server, *fakeLink, *lines)) {
	synctest.Test(t, func(t *testing.T) {
		ranges := map[string][]ipam.Range{dhcp.UserClass("lan"): {ipam.RangeOf(netip.MustParsePrefix("192.0.2.64/26")), ipam.RangeOf(netip.MustParsePrefix("2001:db8::/120"))}}
		l := &fakeLink{server: &fake.Server{ID: netip.MustParseAddr("192.0.2.1"), Ranges: ranges, Lease: time.Hour, Now: time.Now}, received: make(chan dhcp.Message, 100)}
		log := &lines{}
		s := newServer(logs.New(log, slog.LevelInfo, logs.Text), map[string]string{"lan": "eth0"}, l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.run(ctx) }()
		test(t, s, l, log)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func request(uid string, f ipam.Family) ledger.Request {
	return ledger.Request{Cluster: "c", Pool: "lan", Holder: ledger.Holder{UID: uid, Namespace: "n", Name: uid}, Family: f}
}

// allocate asks with the controller's timeout.
func allocate(t *testing.T, s *server, r ledger.Request) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	a, err := s.Allocate(ctx, r)
	if ctx.Err() != nil {
		t.Errorf("%s: it has waited until the caller has given up", r.UID)
	}
	return a.Addr, err
}

// Many calls at once: each Service gets an address of its own, of both families.
func TestManyCalls(t *testing.T) {
	within(t, func(t *testing.T, s *server, l *fakeLink, _ *lines) {
		var mu sync.Mutex
		var all sync.WaitGroup
		holders := map[netip.Addr]string{}
		for i := range 60 {
			for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
				for range 2 { // a call that is repeated at once
					all.Go(func() {
						uid := fmt.Sprint("u", i)
						a, err := allocate(t, s, request(uid, f))
						mu.Lock()
						defer mu.Unlock()
						if other := holders[a]; err != nil || other != "" && other != uid {
							t.Errorf("%s gets %s, which %q has, %v", uid, a, other, err)
						}
						holders[a] = uid
					})
				}
			}
		}
		all.Wait()
		if n := len(s.List("c")); n != 120 || len(holders) != 120 {
			t.Errorf("%d allocations, %d addresses", n, len(holders))
		}
	})
}

// While a controller watches, leases are renewed; what is lost is passed on to it, and logged.
func TestWatch(t *testing.T) {
	within(t, func(t *testing.T, s *server, l *fakeLink, log *lines) {
		ctx, end := context.WithCancel(t.Context())
		changes, done := make(chan time.Time, 10), make(chan error)
		go func() {
			done <- s.Watch(ctx, "c", func() error {
				changes <- time.Now()
				return nil
			})
		}()
		<-changes // the program has begun
		a, err := allocate(t, s, request("u", ipam.IPv4))
		if err != nil {
			t.Fatal(err)
		}
		<-changes
		time.Sleep(10 * time.Hour)
		if len(changes) > 0 || len(s.List("c")) != 1 {
			t.Errorf("%d changes, %v", len(changes), s.List("c"))
		}
		l.change(func(s *fake.Server) { s.Ranges = nil })
		<-changes
		if len(s.List("c")) != 0 || !strings.Contains(log.String(), `level=WARN msg="lost a lease" service=n/u address=`+a.String()) {
			t.Errorf("%v\n%s", s.List("c"), log)
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A call is answered before its time is over; the exchange goes on, and the next call finds the address.
func TestAServerThatIsSlow(t *testing.T) {
	within(t, func(t *testing.T, s *server, l *fakeLink, log *lines) {
		l.change(func(s *fake.Server) { s.Away = true })
		_, err := allocate(t, s, request("u", ipam.IPv4))
		if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "no DHCPv4 server has offered an address on eth0 yet" {
			t.Error(err)
		}
		l.change(func(s *fake.Server) { s.Away = false })
		time.Sleep(30 * time.Second)
		begun := time.Now()
		if a, err := allocate(t, s, request("u", ipam.IPv4)); err != nil || time.Since(begun) > 0 {
			t.Errorf("it gets %s, %v after %s", a, err, time.Since(begun))
		}
		l.mu.Lock()
		l.down = errors.New("the network is \x1b[2Jdown")
		l.mu.Unlock()
		_, err = allocate(t, s, request("v", ipam.IPv4))
		if status.Convert(err).Message() != `no DHCPv4 server has offered an address on eth0 yet: the network is \x1b[2Jdown` {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "can't send"); n != 1 {
			t.Errorf("it is logged %d times", n)
		}
	})
}

func TestFlags(t *testing.T) {
	o := options{links: map[string]string{}}
	for text, good := range map[string]bool{"lan=eth0": true, "lan=": false, "=eth0": false, "lan": false} {
		if err := o.addPool(text); (err == nil) != good {
			t.Errorf("--pool %s: %v", text, err)
		}
	}
	if err := o.addPool("lan=eth1"); err == nil {
		t.Error("a pool has two links")
	}
	if _, err := openWires([]string{"none"}); err == nil || err.Error() != "find the link none: route ip+net: no such network interface" {
		t.Errorf("a link that is not there: %v", err)
	}
	for text, want := range map[string]string{"eth7": "eth7", "127.0.0.0/8": "lo", "192.0.2.255/32": ""} {
		if link, err := named(text); link != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", text, link, err)
		}
	}
}
