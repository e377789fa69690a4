package lease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// round has the n-th own renewal come back, and reads the due Leases. held has the time of
// renewal of each Lease, by node.
func (t *Tracker) round(n int, peers []Peer, held map[string]int) (due []string, changed bool) {
	now := time.Unix(int64(n), 0)
	t.Echo(now, now)
	due = t.Due(peers)
	var read []Renewal
	for _, node := range due {
		if at, ok := held[node]; ok {
			read = append(read, Renewal{node, time.Unix(int64(at), 0)})
		}
	}
	_, changed = t.ObserveRead(due, read, now)
	return due, changed
}

// Each step of a story is a number of own renewals that came back, while another speaker is
// in the state of the step.
func TestALeaseInDoubtIsRead(t *testing.T) {
	type step struct {
		heard  bool
		held   bool
		renews bool
		calls  int // when it was last heard
		while  int // own renewals
		reads  int
		lease  *failover.Lease // at the end; nil: none is known
	}
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"of a reachable speaker it is read once, to know that it is held", []step{{heard: true, held: true, renews: true, while: 50, reads: 1, lease: &failover.Lease{}}}},
		{"of an unreachable speaker that renews it does not expire", []step{{held: true, renews: true, while: 6, reads: 6, lease: &failover.Lease{Renewed: at(5)}}}},
		{"after a while it is read less often", []step{{held: true, renews: true, while: 6, reads: 6, lease: &failover.Lease{Renewed: at(5)}}, {held: true, renews: true, while: 30, reads: 10, lease: &failover.Lease{Renewed: at(35)}}}},
		{"of an unreachable speaker it expires after three missed renewals", []step{
			{heard: true, held: true, renews: true, while: 20, reads: 1, lease: &failover.Lease{}},
			{held: true, while: 3, reads: 3, lease: &failover.Lease{Renewed: at(19)}},
			{held: true, while: 1, reads: 1, lease: &failover.Lease{Renewed: at(19), Expired: true}},
		}},
		{"an expired one counts again when the speaker is reachable", []step{
			{held: true, while: 5, reads: 5, lease: &failover.Lease{Renewed: at(-1), Expired: true}},
			{heard: true, held: true, while: 1, lease: &failover.Lease{}},
		}},
		{"an expired one that is renewed counts again within three renewals", []step{
			{held: true, while: 20, reads: 10, lease: &failover.Lease{Renewed: at(-1), Expired: true}},
			{held: true, renews: true, while: 3, reads: 1, lease: &failover.Lease{Renewed: at(20)}},
		}},
		{"an expired one is read at once when the speaker calls", []step{
			{held: true, while: 20, reads: 10, lease: &failover.Lease{Renewed: at(-1), Expired: true}},
			{held: true, renews: true, calls: 7, while: 1, reads: 1, lease: &failover.Lease{Renewed: at(20)}},
		}},
		{"a released one is not held", []step{
			{held: true, renews: true, while: 2, reads: 2, lease: &failover.Lease{Renewed: at(1)}},
			{while: 1, reads: 1},
		}},
		{"one that does not exist yet is read", []step{{while: 6, reads: 6}, {held: true, renews: true, while: 3, reads: 1, lease: &failover.Lease{Renewed: at(8)}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracker := settled()
			tracker.echoes = fresh // long ago
			n, renewed := 0, -1
			for i, s := range c.steps {
				reads := 0
				for range s.while {
					if s.renews {
						renewed = n
					}
					held := map[string]int{}
					if s.held {
						held["a"] = renewed
					}
					due, _ := tracker.round(n, []Peer{{Node: "self"}, {"a", s.heard, at(s.calls)}}, held)
					reads += len(due)
					n++
				}
				lease, known := tracker.Leases()["a"]
				var have *failover.Lease
				if known {
					have = &lease
				}
				if diff := cmp.Diff(s.lease, have); diff != "" || reads != s.reads {
					t.Errorf("step %d: %d reads, want %d; the Lease: %s", i+1, reads, s.reads, diff)
				}
			}
		})
	}
}

// A read that started before a stall of this speaker does not count.
func TestARestartVoidsAReadUnderWay(t *testing.T) {
	tracker := settled()
	now := time.Unix(10, 0)
	tracker.Echo(now, now)
	due := tracker.Due([]Peer{{Node: "a"}})
	tracker.Restart()
	if _, changed := tracker.ObserveRead(due, []Renewal{{"a", now}}, now); changed || tracker.Reachable(now) || len(tracker.Leases()) > 0 {
		t.Errorf("it counts: %t, %v", changed, tracker.Leases())
	}
}

// quiet runs a cluster of n speakers in which some nodes have long been dead. It returns how
// many events of Leases, and reads of single Leases, a speaker has each second.
func quiet(n, lost int) (events, reads float64) {
	const before, seconds = 100, 100
	tracker, held := NewTracker("n0", time.Second), map[string]int{}
	var peers []Peer
	for i := range n {
		peers = append(peers, Peer{Node: fmt.Sprint("n", i), Heard: i < n-lost})
		held[peers[i].Node] = 0
	}
	for second := range before + seconds {
		for i := range n - lost {
			held[peers[i].Node] = second
		}
		if n <= Largest {
			var all []Renewal
			for _, node := range slices.Sorted(maps.Keys(held)) {
				all = append(all, Renewal{node, time.Unix(int64(held[node]), 0)})
			}
			tracker.renewal(second, all...)
			if second >= before {
				events += float64(n - lost)
			}
			continue
		}
		due, _ := tracker.round(second, peers, held)
		if second >= before {
			events++
			reads += float64(len(due))
		}
	}
	return events / seconds, reads / seconds
}

// In a steady state a speaker reads few Leases, however many speakers there are.
func TestInASteadyStateASpeakerReadsFewLeases(t *testing.T) {
	for _, c := range []struct {
		speakers, lost int
		most           float64 // events and reads a second
	}{{10, 0, 10}, {Largest, 0, Largest}, {Largest + 1, 0, 1}, {100, 0, 1}, {1000, 0, 1}, {1000, 1, 1.1}, {1000, 10, 2}} {
		events, reads := quiet(c.speakers, c.lost)
		t.Logf("%d speakers, and %d that are lost: %.1f events and %.1f reads a second and speaker", c.speakers-c.lost, c.lost, events, reads)
		if events+reads > c.most || events == 0 {
			t.Errorf("%d speakers: %.2f events and %.2f reads a second, want at most %.1f", c.speakers, events, reads, c.most)
		}
	}
}

// asked counts the requests past the cache.
type asked struct {
	client.Reader
	gets, lists atomic.Int32
}

func (a *asked) Get(ctx context.Context, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	a.gets.Add(1)
	return a.Reader.Get(ctx, k, o, opts...)
}

func (a *asked) List(ctx context.Context, l client.ObjectList, o ...client.ListOption) error {
	if _, leases := l.(*coordinationv1.LeaseList); leases {
		a.lists.Add(1)
	}
	return a.Reader.List(ctx, l, o...)
}

// With many speakers each watches its own Lease, and reads those in doubt: a few one by one,
// more by a list.
func TestWithManySpeakersTheLeasesInDoubtAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const speakers = 40
		h := newHeartbeat(t)
		var watched []bool
		own := h.Client
		h.Watch = func(_ context.Context, all bool, _ func()) (client.Reader, error) {
			watched = append(watched, all)
			return onlyOwn{own, all}, nil
		}
		direct := &asked{Reader: h.Direct}
		h.Direct = direct
		var heard, large atomic.Bool
		large.Store(true)
		h.Peers = func() (out []Peer, _ bool) {
			for i := range speakers {
				out = append(out, Peer{Node: fmt.Sprint("n", i), Heard: i != 7 && heard.Load()})
			}
			return out, large.Load()
		}
		for i := range speakers - 1 { // the last has none
			l := held(fmt.Sprint("speaker-n", i), fmt.Sprint("n", i))
			l.Labels = map[string]string{cluster.LabelLease: "speaker"}
			if err := h.Client.Create(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		h.Begin()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(10 * time.Second)
		if leases, err := h.Leases(ctx); err != nil || len(leases) != speakers || !leases["n7"].Expired || !leases["n8"].Expired || !h.API(time.Now()).Synced {
			t.Errorf("%d Leases are known, %+v; %v", len(leases), leases["n7"], err)
		}
		if direct.lists.Load() < 6 || direct.gets.Load() > 1 { // of the own Node
			t.Errorf("%d lists and %d reads", direct.lists.Load(), direct.gets.Load())
		}
		heard.Store(true)
		before, reads := direct.lists.Load(), direct.gets.Load()
		time.Sleep(10 * time.Second)
		if leases, err := h.Leases(ctx); err != nil || !leases["n7"].Expired || leases["n8"].Expired {
			t.Errorf("n7 and n8 are %+v and %+v; %v", leases["n7"], leases["n8"], err)
		}
		if direct.lists.Load() != before || direct.gets.Load() == reads {
			t.Errorf("%d more lists, and %d reads", direct.lists.Load()-before, direct.gets.Load()-reads)
		}
		large.Store(false)
		time.Sleep(3 * time.Second)
		if leases, err := h.Leases(ctx); err != nil || len(leases) != speakers || leases["n8"].Renewed.IsZero() || !slices.Equal(watched, []bool{false, true}) {
			t.Errorf("%d Leases are known, %+v, watched: %v; %v", len(leases), leases["n8"], watched, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// onlyOwn is a watch of this speaker's Lease, or of all.
type onlyOwn struct {
	client.Reader
	all bool
}

func (o onlyOwn) List(ctx context.Context, l client.ObjectList, opts ...client.ListOption) error {
	err := o.Reader.List(ctx, l, opts...)
	if leases, ok := l.(*coordinationv1.LeaseList); ok && !o.all {
		leases.Items = slices.DeleteFunc(leases.Items, func(l coordinationv1.Lease) bool { return l.Name != intent.LeaseName("self") })
	}
	return err
}
