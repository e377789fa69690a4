package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// record is the Lease that several locks share, as the API server keeps it.
type record struct {
	mu      sync.Mutex
	held    *resourcelock.LeaderElectionRecord
	version int
	writes  int
}

// memoryLock is one replica's view of it.
type memoryLock struct {
	*record
	name string
	cut  bool // the API server can't be reached
	seen int  // the version it read last
}

func (l *memoryLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, nil, errors.New("unreachable")
	}
	if l.held == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, leaseName)
	}
	l.seen = l.version
	out := *l.held
	raw, err := json.Marshal(out)
	return &out, raw, err
}

func (l *memoryLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, r)
}

func (l *memoryLock) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cut:
		return errors.New("unreachable")
	case l.seen != l.version:
		return apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, leaseName, errors.New("somebody was faster"))
	}
	l.held, l.writes = &r, l.writes+1
	l.version++
	l.seen = l.version
	return nil
}

func (l *memoryLock) RecordEvent(string) {}
func (l *memoryLock) Identity() string   { return l.name }
func (l *memoryLock) Describe() string   { return l.name }

// replica is one that takes part in the election.
type replica struct {
	*election
	lock *memoryLock
	stop func() // ends it as a signal does
}

// stand has a replica take part.
func stand(t *testing.T, r *record, name string) replica {
	t.Helper()
	lock := &memoryLock{record: r, name: name}
	log := slog.New(slog.DiscardHandler)
	e := &election{lease: &lease{Interface: lock, log: log}, log: log, changed: make(chan struct{}, 1), drain: func() {}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = e.run(ctx); close(done) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return replica{e, lock, stop}
}

// standTwo has two replicas take part for a minute and more, and makes sure that
// a leads, and b stands by.
func standTwo(t *testing.T) (a, b replica) {
	t.Helper()
	r := &record{}
	a = stand(t, r, "a")
	time.Sleep(time.Second)
	b = stand(t, r, "b")
	time.Sleep(time.Minute)
	if a.leading() == nil || b.leading() != nil {
		t.Fatal("not exactly the first one leads")
	}
	return a, b
}

// cutOff has a replica reach the API server no more, or again.
func (r replica) cutOff(cut bool) {
	r.lock.mu.Lock()
	defer r.lock.mu.Unlock()
	r.lock.cut = cut
}

func (r *record) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

func TestALeaderThatStopsHandsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := standTwo(t)
		a.stop()
		if a.leading() != nil {
			t.Error("it leads after it has stopped")
		}
		time.Sleep(5 * lookEvery / 2) // a look, with the elector's jitter
		if b.leading() == nil {
			t.Error("the standby does not lead")
		}
	})
}

func TestTheLeaseIsWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := standTwo(t)
		before := a.lock.written()
		time.Sleep(time.Minute)
		if n := a.lock.written() - before; n < 25 || n > 42 {
			t.Errorf("%d writes in a minute, want one each %s", n, renewEvery)
		}
		if left := time.Until(a.lease.until()); left < holds-renewEvery-lookEvery || left > holds {
			t.Errorf("the lease holds for %s", left)
		}
		if told := time.Duration(a.lock.held.LeaseDurationSeconds) * time.Second; told != leaseDuration {
			t.Errorf("the Lease tells that it holds for %s", told)
		}
	})
}

// A leader that can't renew must have stopped before another one follows, and
// that one must follow within the duration of the Lease, whenever it happens.
func TestAReplicaThatIsCutOffStopsInTimeAndComesBackAsStandby(t *testing.T) {
	for phase := time.Duration(0); phase < renewEvery+lookEvery; phase += 10 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			a, b := standTwo(t)
			time.Sleep(phase)
			a.cutOff(true)
			start := time.Now()
			for b.leading() == nil {
				if time.Since(start) > leaseDuration {
					t.Fatal("nobody follows")
				}
				time.Sleep(10 * time.Millisecond)
				if b.leading() != nil && (a.leading() != nil || time.Now().Before(a.lease.until())) {
					t.Fatalf("both lead after %s", time.Since(start))
				}
			}
			a.cutOff(false)
			time.Sleep(time.Minute)
			if a.leading() != nil || b.leading() == nil {
				t.Error("the former leader does not stand by")
			}
		})
	}
}

func TestALonelyReplicaThatWasCutOffLeadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := stand(t, &record{}, "a")
		time.Sleep(time.Minute)
		first := a.leading()
		a.cutOff(true)
		time.Sleep(time.Minute)
		if a.leading() != nil || first.Err() == nil || !first.deadline().IsZero() {
			t.Error("it leads without a lease")
		}
		a.cutOff(false)
		time.Sleep(2 * time.Second)
		if second := a.leading(); second == nil || second == first {
			t.Error("it does not begin a new term")
		}
	})
}

func TestALeaseThatIsOverIsNeitherRenewedNorReleased(t *testing.T) {
	for _, c := range []struct {
		name string
		over func(l *lease, other *memoryLock)
	}{
		{"it has lapsed", func(*lease, *memoryLock) { time.Sleep(holds) }},
		{"somebody else has taken it", func(l *lease, other *memoryLock) {
			_, _, _ = other.Get(context.Background())
			_ = other.Update(context.Background(), resourcelock.LeaderElectionRecord{HolderIdentity: "b"})
			_, _, _ = l.Get(context.Background())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				mine, other := &memoryLock{record: r, name: "a"}, &memoryLock{record: r, name: "b"}
				ended, closing := false, false
				l := &lease{Interface: mine, log: slog.New(slog.DiscardHandler)}
				l.begin(func() { ended = true }, func() bool { return closing })
				own, released := resourcelock.LeaderElectionRecord{HolderIdentity: "a"}, resourcelock.LeaderElectionRecord{}
				if err := l.Create(t.Context(), own); err != nil || time.Until(l.until()) != holds {
					t.Fatal("it is not held")
				}
				if err := l.Update(t.Context(), released); err != nil || r.written() != 1 {
					t.Error("it is released by a replica that goes on")
				}
				c.over(l, other)
				closing = true
				before := r.written()
				if err := l.Update(t.Context(), own); !errors.Is(err, errOver) {
					t.Errorf("it is renewed: %v", err)
				}
				if err := l.Update(t.Context(), released); err != nil || r.written() != before {
					t.Error("it is released")
				}
				if !ended || !l.until().IsZero() {
					t.Error("the turn goes on")
				}
				l.begin(func() {}, func() bool { return false })
				_, _, _ = l.Get(t.Context())
				if err := l.Update(t.Context(), own); err != nil || l.until().IsZero() {
					t.Errorf("it can't be taken in another turn: %v", err)
				}
			})
		})
	}
}
