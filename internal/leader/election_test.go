package leader

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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

func (l *memoryLock) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cut:
		return errors.New("unreachable")
	case l.held != nil:
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "leases"}, leaseName)
	}
	return l.put(r)
}

func (l *memoryLock) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cut:
		return errors.New("unreachable")
	case l.seen != l.version:
		return apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, leaseName, errors.New("some replica was faster"))
	case l.held == nil:
		return apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, leaseName)
	}
	return l.put(r)
}

// put must be called with the record locked.
func (l *memoryLock) put(r resourcelock.LeaderElectionRecord) error {
	if int32(r.LeaderTransitions) < 0 || r.LeaseDurationSeconds < 1 { // as the API server checks
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Lease"}, leaseName, nil)
	}
	l.held, l.writes = &r, l.writes+1
	l.version++
	l.seen = l.version
	return nil
}

// edit has some replica who is no replica write the Lease; nil deletes it.
func (r *record) edit(do func(resourcelock.LeaderElectionRecord) *resourcelock.LeaderElectionRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before resourcelock.LeaderElectionRecord
	if r.held != nil {
		before = *r.held
	}
	r.held = do(before)
	r.version++
}

func (l *memoryLock) RecordEvent(string) {}
func (l *memoryLock) Identity() string   { return l.name }
func (l *memoryLock) Describe() string   { return l.name }

// replica is one that takes part in the election.
type replica struct {
	*Election
	lock *memoryLock
	stop func() // ends it as a signal does
}

// stand has a replica take part.
func stand(t *testing.T, r *record, name string) replica {
	t.Helper()
	lock := &memoryLock{record: r, name: name}
	log := slog.New(slog.DiscardHandler)
	e := &Election{lease: &lease{Interface: lock, log: log}, log: log, Changed: make(chan struct{}, 1), Drain: func() {}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = e.Run(ctx); close(done) }()
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
	if a.Leading() == nil || b.Leading() != nil {
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
		if a.Leading() != nil {
			t.Error("it leads after it has stopped")
		}
		time.Sleep(5 * retryPeriod / 2) // a look, with the elector's jitter
		if b.Leading() == nil {
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
			t.Errorf("%d writes in a minute, want one each %s", n, renewPeriod)
		}
		if left := time.Until(a.lease.until()); left < heldFor-renewPeriod-retryPeriod || left > heldFor {
			t.Errorf("the lease holds for %s", left)
		}
		if reported := time.Duration(a.lock.held.LeaseDurationSeconds) * time.Second; reported != leaseDuration {
			t.Errorf("the Lease tells that it holds for %s", reported)
		}
	})
}

// A leader that can't renew must have stopped before another one follows, and
// that one must follow within the duration of the Lease, whenever it happens.
func TestAReplicaThatIsCutOffStopsInTimeAndComesBackAsStandby(t *testing.T) {
	for phase := time.Duration(0); phase < renewPeriod+retryPeriod; phase += 10 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			a, b := standTwo(t)
			time.Sleep(phase)
			a.cutOff(true)
			start := time.Now()
			for b.Leading() == nil {
				if time.Since(start) > leaseDuration {
					t.Fatal("no replica follows")
				}
				time.Sleep(10 * time.Millisecond)
				if b.Leading() != nil && (a.Leading() != nil || time.Now().Before(a.lease.until())) {
					t.Fatalf("both lead after %s", time.Since(start))
				}
			}
			a.cutOff(false)
			time.Sleep(time.Minute)
			if a.Leading() != nil || b.Leading() == nil {
				t.Error("the former leader does not stand by")
			}
		})
	}
}

func TestALonelyReplicaThatWasCutOffLeadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := stand(t, &record{}, "a")
		time.Sleep(time.Minute)
		first := a.Leading()
		a.cutOff(true)
		time.Sleep(time.Minute)
		if a.Leading() != nil || first.Err() == nil || !first.deadline().IsZero() {
			t.Error("it leads without a lease")
		}
		a.cutOff(false)
		time.Sleep(2 * time.Second)
		if second := a.Leading(); second == nil || second == first {
			t.Error("it does not begin a new term")
		}
	})
}

func TestALeaseThatIsOverIsNeitherRenewedNorReleased(t *testing.T) {
	for _, c := range []struct {
		name string
		over func(l *lease, other *memoryLock)
	}{
		{"it has expired", func(*lease, *memoryLock) { time.Sleep(heldFor) }},
		{"another replica has taken it", func(l *lease, other *memoryLock) {
			_, _, _ = other.Get(context.Background())
			_ = other.Update(context.Background(), resourcelock.LeaderElectionRecord{HolderIdentity: "b", LeaseDurationSeconds: 6})
			_, _, _ = l.Get(context.Background())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				mine, other := &memoryLock{record: r, name: "a"}, &memoryLock{record: r, name: "b"}
				ended, closing := false, false
				l := &lease{Interface: mine, log: slog.New(slog.DiscardHandler)}
				l.start(func() { ended = true }, func() bool { return closing })
				own, released := resourcelock.LeaderElectionRecord{HolderIdentity: "a"}, resourcelock.LeaderElectionRecord{}
				if err := l.Create(t.Context(), own); err != nil || time.Until(l.until()) != heldFor {
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
				l.start(func() {}, func() bool { return false })
				_, _, _ = l.Get(t.Context())
				if err := l.Update(t.Context(), own); err != nil || l.until().IsZero() {
					t.Errorf("it can't be taken in another turn: %v", err)
				}
			})
		})
	}
}

// A Lease is worth no more than its holder: what another replica writes in it must
// not keep every replica from leading for longer than this program's own duration,
// nor make two of them lead for longer than it takes the leader to see it.
func TestAForeignEditOfTheLeaseStopsNoReplicaForLong(t *testing.T) {
	type held = resourcelock.LeaderElectionRecord
	future := metav1.NewTime(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	for _, c := range []struct {
		name string
		edit func(held) *held
	}{
		{"a holder that does not exist, for a day", func(r held) *held {
			r.HolderIdentity, r.LeaseDurationSeconds = "mallory", 86400
			return &r
		}},
		{"the same, in the future", func(r held) *held {
			r.HolderIdentity, r.LeaseDurationSeconds, r.RenewTime, r.AcquireTime = "mallory", 1<<31-1, future, future
			return &r
		}},
		{"a holder that does not exist, without a duration", func(held) *held { return &held{HolderIdentity: "mallory"} }},
		{"the holder's own, for a day", func(r held) *held { r.LeaseDurationSeconds = 86400; return &r }},
		{"the holder's own, for a second", func(r held) *held { r.LeaseDurationSeconds = 1; return &r }},
		{"the holder's own, without a duration", func(r held) *held { r.LeaseDurationSeconds = 0; return &r }},
		{"as many transitions as there can be", func(r held) *held {
			r.HolderIdentity, r.LeaderTransitions = "mallory", 1<<31-1
			return &r
		}},
		{"nothing at all", func(held) *held { return &held{} }},
		{"it is deleted", func(held) *held { return nil }},
		{"the standby's", func(r held) *held { r.HolderIdentity, r.LeaseDurationSeconds = "b", 86400; return &r }},
	} {
		for phase := time.Duration(0); phase < renewPeriod+retryPeriod; phase += 100 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				a, b := standTwo(t)
				time.Sleep(phase)
				a.lock.edit(c.edit)
				edited, both := time.Now(), time.Duration(0)
				var none time.Duration // since when no replica leads
				for time.Since(edited) < time.Minute {
					time.Sleep(10 * time.Millisecond)
					switch leads := a.Leading() != nil; {
					case leads && b.Leading() != nil:
						both += 10 * time.Millisecond
					case leads || b.Leading() != nil:
						none = 0
					default:
						none += 10 * time.Millisecond
					}
					if none > leaseDuration {
						t.Fatalf("%s, %s after a renewal: no replica leads %s later", c.name, phase, time.Since(edited))
					}
				}
				if both > renewPeriod+2*retryPeriod {
					t.Errorf("%s, %s after a renewal: both lead for %s", c.name, phase, both)
				}
			})
		}
	}
}

// A leader that is alive goes on, and no other replica leads. A Lease that is deleted it
// makes again in time for the standby to see it, unless that is done faster than it
// renews.
func TestALeaderKeepsALeaseThatSomeReplicaDeletesOrShortens(t *testing.T) {
	for _, c := range []struct {
		name  string
		every time.Duration
		edit  func(resourcelock.LeaderElectionRecord) *resourcelock.LeaderElectionRecord
	}{
		{"deleted", renewPeriod + 4*retryPeriod, func(resourcelock.LeaderElectionRecord) *resourcelock.LeaderElectionRecord { return nil }},
		{"shortened", 70 * time.Millisecond, func(r resourcelock.LeaderElectionRecord) *resourcelock.LeaderElectionRecord {
			r.LeaseDurationSeconds = 1
			return &r
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := standTwo(t)
			first := a.Leading()
			for range 300 {
				a.lock.edit(c.edit)
				time.Sleep(c.every)
				if b.Leading() != nil {
					t.Fatalf("%s: another replica leads", c.name)
				}
			}
			if a.Leading() != first {
				t.Errorf("%s: the term has ended", c.name)
			}
		})
	}
}
