package lease

import (
	"context"
	"log/slog"
	"slices"
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
	})
}

// held is the Lease of that name, which a node's speaker holds.
func held(name, node string) *coordinationv1.Lease {
	renewed := metav1.NewMicroTime(time.Unix(1, 0))
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &node, RenewTime: &renewed}}
}

// Only the Lease that bears a node's name tells of its speaker.
func TestALeaseOfAnotherNameTellsNothing(t *testing.T) {
	h := newHeartbeat(t, held("speaker-a", "a"), held("speaker-mallory", "b"), held("c", "c"))
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
