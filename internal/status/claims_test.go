package status

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/overlay"
)

func TestConflictOf(t *testing.T) {
	s := layer2.AddressStatus{Addr: netip.MustParseAddr("192.0.2.1"), State: layer2.Announced}
	if got := conflictOf(s, "a"); got != "" {
		t.Errorf("without a foreign host: %q", got)
	}
	s.Foreign = []layer2.Foreign{{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Link: "eth0"}}
	if got, want := conflictOf(s, "a"), "host 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1 as well"; got != want {
		t.Errorf("announced: %q, want %q", got, want)
	}
	s.State = layer2.Conflict
	if got, want := conflictOf(s, "a"), "host 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1, so that it is not announced"; got != want {
		t.Errorf("taken: %q, want %q", got, want)
	}
	for i := range byte(2) {
		s.Foreign = append(s.Foreign, layer2.Foreign{MAC: net.HardwareAddr{2, 0, 0, 0, 1, i}, Link: "eth0"})
	}
	if got, want := conflictOf(s, "a"), "host 02:00:00:00:00:09 on link eth0 of node a has 192.0.2.1 (and so have 02:00:00:00:01:00, 02:00:00:00:01:01), so that it is not announced"; got != want {
		t.Errorf("several: %q, want %q", got, want)
	}
}

// Writes of claims for new addresses leave a busy API server time for other requests. Writes
// for addresses that move wait no longer than each write takes.
func TestWritesOfClaimsYieldToABusyAPIServer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name       string
		before     []time.Duration // what writes took
		took, want time.Duration
		urgent     bool
	}{
		{"the first write", nil, 4 * ms, 4 * ms, false},
		{"an idle API server", []time.Duration{4 * ms, 5 * ms}, 4 * ms, 4 * ms, false},
		{"one that takes five times as long", []time.Duration{4 * ms}, 20 * ms, 100 * ms, false},
		{"the same, and the address moves", []time.Duration{4 * ms}, 20 * ms, 20 * ms, true},
		{"one that hangs", []time.Duration{4 * ms}, time.Second, longestYield, false},
		{"one that hangs, and the address moves", []time.Duration{4 * ms}, 3 * time.Second, longestYield, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var y yield
			for _, took := range c.before {
				y.after(took, false)
			}
			if have := y.after(c.took, c.urgent); have < c.want*99/100 || have > c.want {
				t.Errorf("want %s, have %s", c.want, have)
			}
		})
	}
	var y yield
	y.after(4*ms, false)
	for range 3 * slower {
		y.after(20*ms, false)
	}
	if have := y.after(20*ms, false); have > 21*ms {
		t.Errorf("one that has become slower for good: still %s", have)
	}
}

// Of many claims that are due at once those that move an address come first. A report ends
// after a while although there is more to write: sessions must also be reported.
func TestAReportOfManyClaimsEndsAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var wrote []string
		write := func(o client.Object) {
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			wrote = append(wrote, o.GetName())
		}
		r := New(Options{Node: "a", Claims: new(overlay.Objects[*v1beta1.L2Claim]), Client: fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
			Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
				write(o)
				return nil
			},
			Patch: func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
				write(o)
				return nil
			},
		}).Build()})
		moved := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.250"}, Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.250", Node: "b"}}
		moved.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}
		var claims []announce.Claim
		for i := range byte(251) {
			claims = append(claims, announce.Claim{Addr: netip.AddrFrom4([4]byte{192, 0, 2, i})})
		}
		start := time.Now()
		_, errs := r.writeClaims(t.Context(), start, claims, map[string]*v1beta1.L2Claim{moved.Name: moved}, func(c announce.Claim, _ *v1beta1.L2Claim) (written, bool) {
			return written{standing: layer2.AddressStatus{Addr: c.Addr, State: layer2.Probing}}, true
		})
		if err := joinErrors(errs); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); !slices.Contains(wrote[:parallel], moved.Name) || took > longestReport+time.Second || !r.more || len(wrote) < 2*parallel {
			t.Errorf("after %s %d were written, the first of them %v; more: %v", took, len(wrote), wrote[:parallel], r.more)
		}
	})
}

// The claim of a node that must not announce names the command that ends that, on this node
// alone: of another reason there is none.
func TestAnExcludedNodesClaimNamesTheRemedy(t *testing.T) {
	addr, key := netip.MustParseAddr("192.0.2.1"), ipam.Key{Namespace: "shop", Name: "web"}
	const short = "no node can announce the address; this is the reason of node a"
	for _, c := range []struct {
		name     string
		reason   announce.Reason
		excluded string
		want     string
	}{
		{"a label", announce.NodeExcluded, "label x (kubectl label node a x- takes it off)", short + ": label x (kubectl label node a x- takes it off)"},
		{"the exclusion has just ended", announce.NodeExcluded, "", short},
		{"another reason", announce.NoLinkUp, "label x", short},
	} {
		t.Run(c.name, func(t *testing.T) {
			claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.1"}, Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.1", Node: "a"}, Status: v1beta1.L2ClaimStatus{Node: "a"}}
			scheme := runtime.NewScheme()
			if err := v1beta1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(claim).WithStatusSubresource(claim).Build()
			r := New(Options{Node: "a", Claims: new(overlay.Objects[*v1beta1.L2Claim]), Client: api})
			d := &Applied{Excluded: c.excluded}
			d.Plan.Results = []announce.Result{{Key: key, Layer2: []announce.Ownership{{Addr: addr, Reason: c.reason}}}}
			if err := r.reportUnannounced(t.Context(), claim, d, map[netip.Addr]users{addr: {keys: []ipam.Key{key}}}); err != nil {
				t.Fatal(err)
			}
			var now v1beta1.L2Claim
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(claim), &now); err != nil {
				t.Fatal(err)
			}
			got := meta.FindStatusCondition(now.Status.Conditions, v1beta1.ConditionAnnounced)
			if got == nil || got.Status != metav1.ConditionFalse || got.Reason != string(c.reason) || got.Message != c.want {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Of a new address, and of one that is not announced, the controller has an event: one of
// the speaker would say the same again.
func TestASpeakerHasEventsOfMovesAlone(t *testing.T) {
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	announcedBy := func(node string) v1beta1.L2ClaimStatus {
		return v1beta1.L2ClaimStatus{Node: node, Conditions: []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}}
	}
	conflict := announcedBy("a")
	conflict.Conditions = []metav1.Condition{
		{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonAddressConflict},
		{Type: v1beta1.ConditionConflict, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAddressConflict},
	}
	foreign := []layer2.Foreign{{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Link: "eth0"}}
	for _, c := range []struct {
		name   string
		before *v1beta1.L2ClaimStatus // nil: there is no claim
		now    layer2.AddressStatus
		named  bool   // it names this node already
		alive  bool   // the owner before is
		event  string // "": none
		former string // owner, and why it gave way; "": none
	}{
		{name: "a new address", now: layer2.AddressStatus{State: layer2.Announced}},
		{name: "its claim was written while it was probed", before: &v1beta1.L2ClaimStatus{}, now: layer2.AddressStatus{State: layer2.Announced}},
		{name: "it moves here", before: new(announcedBy("b")), now: layer2.AddressStatus{State: layer2.Announced}, alive: true, event: "node a answers for 192.0.2.1, after node b (Handover)", former: "b Handover"},
		{name: "its owner is dead", before: new(announcedBy("b")), now: layer2.AddressStatus{State: layer2.Announced}, event: "node a answers for 192.0.2.1, after node b (NodeNotLive)", former: "b NodeNotLive"},
		{name: "an administrator names this node", before: new(announcedBy("b")), named: true, now: layer2.AddressStatus{State: layer2.Announced}, event: "node a answers for 192.0.2.1, after node b (OwnerNamed)", former: "b OwnerNamed"},
		{name: "a foreign host has it", before: new(announcedBy("a")), now: layer2.AddressStatus{State: layer2.Announced, Foreign: foreign}},
		{name: "so that it is not announced", now: layer2.AddressStatus{State: layer2.Conflict, Foreign: foreign}},
		{name: "the foreign host is gone", before: &conflict, now: layer2.AddressStatus{State: layer2.Announced}, event: "node a answers for 192.0.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1beta1.L2Claim{}).
				WithObjects(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "web"}}).Build()
			var have *v1beta1.L2Claim
			if c.before != nil {
				have = &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.1"}, Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.1", Node: c.before.Node}, Status: *c.before}
				if c.named || have.Spec.Node == "" {
					have.Spec.Node = "a"
				}
				if err := api.Create(t.Context(), have); err != nil {
					t.Fatal(err)
				}
			}
			var events []string
			var log strings.Builder
			r := New(Options{Node: "a", Client: api, Claims: new(overlay.Objects[*v1beta1.L2Claim]), Log: slog.New(slog.NewTextHandler(&log, nil)), Record: func(e cluster.Event) { events = append(events, e.Message) }})
			r.alive = map[string]bool{"b": c.alive}
			c.now.Addr = netip.MustParseAddr("192.0.2.1")
			wrote, err := r.reportClaim(t.Context(), have, v1beta1.L2ClaimStatus{Node: "a", Services: []string{"n/web"}}, c.now)
			if err != nil || !wrote {
				t.Fatalf("it wrote: %t, %v", wrote, err)
			}
			if got := strings.Join(events, "; "); got != c.event {
				t.Errorf("its events are %q, want %q", got, c.event)
			}
			var claim v1beta1.L2Claim
			if err := api.Get(t.Context(), client.ObjectKey{Name: "192.0.2.1"}, &claim); err != nil {
				t.Fatal(err)
			}
			former := ""
			for _, f := range claim.Status.FormerOwners {
				former += f.Node + " " + f.Reason
			}
			if former != c.former {
				t.Errorf("its former owners are %q, want %q", former, c.former)
			}
			isNew := c.before == nil || c.before.Node != "a"
			if logs := strings.Contains(log.String(), `msg="address changed" address=192.0.2.1 change=Owned service=n/web was="" node=a`); logs != isNew {
				t.Errorf("its log: %s", log.String())
			}
		})
	}
}
