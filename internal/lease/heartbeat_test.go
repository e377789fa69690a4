package lease

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/overlay"
)

func newHeartbeat(t *testing.T, objects ...client.Object) *Heartbeat {
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "self", UID: "u"}})...).Build()
	return New(Options{
		Client: api, Direct: api, Log: slog.New(slog.DiscardHandler), Node: "self", Namespace: "ns", Interval: time.Second,
		Claims: new(overlay.Objects[*v1beta1.L2Claim]), Restarts: func() bool { return false },
		Watch: func(context.Context, bool, func()) (client.Reader, error) { return api, nil },
		Peers: func() ([]Peer, bool) { return nil, false },
	})
}

// held returns the Lease of that name, held by node's speaker.
func held(name, node string) *coordinationv1.Lease {
	renewed := metav1.NewMicroTime(time.Unix(1, 0))
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &node, RenewTime: &renewed}}
}

// Only the Lease that is named after a node counts for its speaker.
func TestALeaseOfAnotherNameIsIgnored(t *testing.T) {
	h := newHeartbeat(t, held("speaker-a", "a"), held("speaker-mallory", "b"), held("c", "c"))
	h.watching = watch{Reader: h.Client, all: true}
	have, err := h.Leases(t.Context())
	want := map[string]failover.Lease{"a": {Renewed: time.Unix(1, 0)}}
	if diff := cmp.Diff(want, have); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestALeaseIsRenewedUntilTheEndAndThenReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeartbeat(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		read := func() *coordinationv1.Lease {
			l := &coordinationv1.Lease{}
			if err := h.Client.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: intent.LeaseName("self")}, l); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			return l
		}
		time.Sleep(time.Minute)
		if l := read(); l.Name != "" {
			t.Errorf("before Begin there is a Lease: %+v", l)
		}
		h.Begin()
		h.Begin()
		time.Sleep(time.Minute)
		l := read()
		if intent.LeaseNode(l) != "self" || time.Since(l.Spec.RenewTime.Time) > time.Second || !slices.ContainsFunc(l.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == "u" }) {
			t.Errorf("the Lease is %+v", l)
		}
		if api := h.API(time.Now()); !api.Reachable || !api.Synced {
			t.Errorf("the API server is %+v", api)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if l := read(); intent.LeaseNode(l) != "" {
			t.Errorf("at the end the Lease is %+v", l)
		}
	})
}

// slowList is an API server that lists L2Claims slowly.
type slowList struct {
	client.Reader
	takes time.Duration
	lists *atomic.Int32
}

func (s slowList) List(ctx context.Context, l client.ObjectList, o ...client.ListOption) error {
	s.lists.Add(1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.takes):
		return s.Reader.List(ctx, l, o...)
	}
}

// While the L2Claims are listed, the Lease is renewed, and no other Lease expires.
func TestRenewalsDoNotWaitForLists(t *testing.T) {
	for _, c := range []struct {
		name      string
		takes     time.Duration
		reachable bool
		lists     int32
	}{
		{"8 s", 8 * time.Second, true, 1},
		{"too long", time.Minute, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHeartbeat(t)
				var lists atomic.Int32
				h.Direct = slowList{h.Direct, c.takes, &lists}
				h.Begin()
				start := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- h.Run(ctx) }()
				for range 60 {
					time.Sleep(250 * time.Millisecond)
					var l coordinationv1.Lease
					if err := h.Client.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: intent.LeaseName("self")}, &l); err != nil {
						t.Fatal(err)
					}
					if since := time.Since(l.Spec.RenewTime.Time); since > time.Second {
						t.Fatalf("not renewed for %s", since)
					}
					if h.API(time.Now()).Reachable && time.Since(start) < c.takes {
						t.Fatal("it counts what it has not read")
					}
				}
				if api := h.API(time.Now()); api.Reachable != c.reachable || lists.Load() != c.lists {
					t.Errorf("the API server is %+v after %d lists", api, lists.Load())
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A speaker that was stalled while a list was under way lists once more.
func TestARestartReadsTheClaimsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeartbeat(t)
		var lists atomic.Int32
		h.Direct = slowList{h.Direct, 5 * time.Second, &lists}
		h.Begin()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(4 * time.Second)
		h.Restart()
		time.Sleep(3 * time.Second)
		if h.API(time.Now()).Reachable {
			t.Error("it counts what was read before it stood still")
		}
		time.Sleep(4 * time.Second)
		if !h.API(time.Now()).Reachable || lists.Load() != 2 {
			t.Errorf("reachable: %t, after %d lists", h.API(time.Now()).Reachable, lists.Load())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Where the lists of all speakers after an outage take long, they are spread. A speaker that
// was stalled does not wait.
func TestListsAfterAnOutageAreSpread(t *testing.T) {
	for _, c := range []struct {
		speakers, claims int
		want             time.Duration
	}{{3, 3000, 0}, {99, 100, 0}, {100, 100, 100 * time.Millisecond}, {10, 10_000, time.Second}, {200, 10_000, 20 * time.Second}, {1000, 10_000, latest}} {
		if have := listsTake(c.speakers, c.claims); have != c.want {
			t.Errorf("%d speakers and %d L2Claims: %s, want %s", c.speakers, c.claims, have, c.want)
		}
	}
	for _, stalled := range []bool{false, true} {
		waits := map[time.Duration]bool{}
		for range 8 {
			synctest.Test(t, func(t *testing.T) {
				h := newHeartbeat(t)
				h.Peers = func() ([]Peer, bool) { return make([]Peer, 200_000), false }
				claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.1"}}
				away := &awayServer{Client: h.Client}
				if err := h.Client.Create(t.Context(), claim); err != nil {
					t.Fatal(err)
				}
				var lists atomic.Int32
				h.Client, h.Direct = away, slowList{h.Direct, 0, &lists}
				h.Begin()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- h.Run(ctx) }()
				time.Sleep(5 * time.Second)
				if lists.Load() != 1 {
					t.Fatalf("%d lists at the start", lists.Load())
				}
				away.is.Store(true)
				time.Sleep(10 * time.Second)
				away.is.Store(false)
				start := time.Now()
				if stalled {
					time.Sleep(300 * time.Millisecond)
					h.Restart()
				}
				for lists.Load() == 1 && time.Since(start) < time.Minute {
					time.Sleep(50 * time.Millisecond)
				}
				waits[time.Since(start).Truncate(500*time.Millisecond)] = true
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		}
		if stalled != (len(waits) == 1 && waits[0]) {
			t.Errorf("stalled: %t; the lists came after %v", stalled, waits)
		}
	}
}

// awayServer is an API server that can be made unreachable for writes.
type awayServer struct {
	client.Client
	is atomic.Bool
}

func (a *awayServer) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if a.is.Load() {
		return context.DeadlineExceeded
	}
	return a.Client.Patch(ctx, o, p, opts...)
}
