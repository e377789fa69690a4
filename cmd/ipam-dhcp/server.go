package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source/adapter"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// early is how long before the end of a call it is answered that nothing has come: else the caller
// would learn only that nothing was answered.
const early = 300 * time.Millisecond

// link is where messages go, and come from.
type link interface {
	send(dhcp.Message) error
	run(ctx context.Context, received func(dhcp.Message)) error
}

// server is a State with its clock and its wires.
type server struct {
	log     *slog.Logger
	link    link
	wake    chan struct{}   // a pass is due
	listed  adapter.Changes // of what List returns
	settled adapter.Changes // of what a call may wait for

	mu    sync.Mutex
	state *dhcp.State
	down  map[place]string // why messages can't be sent
}

func newServer(log *slog.Logger, pools map[string]string, l link) *server {
	return &server{log: log, link: l, wake: make(chan struct{}, 1), state: dhcp.New(dhcp.Config{Links: pools, Own: own, Random: random}), down: map[place]string{}}
}

// random returns what others can't guess.
func random() uint32 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	return binary.BigEndian.Uint32(b[:])
}

// run sends and receives until ctx ends.
func (s *server) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		done <- s.link.run(ctx, func(m dhcp.Message) {
			s.mu.Lock()
			s.state.Receive(m, time.Now())
			s.mu.Unlock()
			wait.Signal(s.wake)
		})
	}()
	for timer := time.NewTimer(0); ; {
		select {
		case err := <-done:
			return err
		case <-timer.C:
		case <-s.wake:
		}
		if again := s.pass(); again > 0 {
			timer.Reset(again)
		} else {
			timer.Stop()
		}
	}
}

// pass sends what is due, and reports what has happened.
func (s *server) pass() (again time.Duration) {
	s.mu.Lock()
	out, again := s.state.Pass(time.Now())
	events := s.state.Events()
	s.mu.Unlock()
	for _, m := range out {
		s.send(m)
	}
	for _, e := range events {
		args := []any{"service", e.Namespace + "/" + e.Name, "address", e.Addr, "pool", e.Pool, "link", e.Link, "server", e.Server, "client", hex.EncodeToString(e.Client)}
		if e.Kind == dhcp.Lost {
			s.log.Warn("lost a lease", append(args, "reason", e.Text)...)
		} else {
			s.log.Info(e.Kind.String(), args...)
		}
	}
	if len(events) > 0 {
		s.listed.Notify()
	}
	s.settled.Notify()
	return again
}

// send sends a message. That a link can't send is logged when that changes.
func (s *server) send(m dhcp.Message) {
	at, text := place{m.Link, m.Family}, ""
	if err := s.link.send(m); err != nil {
		text = printable.Message(err.Error())
	}
	s.mu.Lock()
	was := s.down[at]
	s.down[at] = text
	s.mu.Unlock()
	if text != was && text != "" {
		s.log.Warn("can't send", "link", m.Link, "error", text)
	}
}

// Allocate implements adapter.IPAM. What it has begun goes on when the call ends: the next one finds
// what has come of it.
func (s *server) Allocate(ctx context.Context, r ledger.Request) (ledger.Allocation, error) {
	if end, is := ctx.Deadline(); is {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-min(early, time.Until(end)/2)))
		defer cancel()
	}
	defer wait.Signal(s.wake) // a lease may have another holder now
	for {
		settled := s.settled.Next()
		a, err := s.ask(r)
		var pending *dhcp.PendingError
		if !errors.As(err, &pending) {
			return a, err
		}
		if pending.Begun {
			wait.Signal(s.wake)
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return a, status.Error(codes.FailedPrecondition, pending.Error())
		}
	}
}

// ask asks the State, and adds to what it waits for why nothing can be sent.
func (s *server) ask(r ledger.Request) (ledger.Allocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.state.Allocate(r, time.Now())
	var pending *dhcp.PendingError
	if down := s.down[place{s.state.Links[r.Pool], r.Family}]; down != "" && errors.As(err, &pending) {
		pending.Text += ": " + down
	}
	return a, err
}

// Release implements adapter.IPAM.
func (s *server) Release(cluster, uid string, a netip.Addr) error {
	s.mu.Lock()
	s.state.Release(cluster, uid, a, time.Now())
	s.mu.Unlock()
	wait.Signal(s.wake)
	return nil
}

// List implements adapter.IPAM.
func (s *server) List(cluster string) []ledger.Allocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.List(cluster)
}

// Watch implements adapter.IPAM. While it runs, what the cluster has is renewed. It begins with a
// change: this program may have begun as well, and know nothing.
func (s *server) Watch(ctx context.Context, cluster string, changed func() error) error {
	watch := func(note func(cluster string)) {
		s.mu.Lock()
		note(cluster)
		s.mu.Unlock()
		wait.Signal(s.wake)
	}
	watch(s.state.Watch)
	defer watch(s.state.Unwatch)
	if err := changed(); err != nil {
		return err
	}
	return s.listed.Follow(ctx, changed)
}
