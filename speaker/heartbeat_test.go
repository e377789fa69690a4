package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// lease is the Lease of a node's speaker, renewed at second at; at -1 it was
// released.
func lease(node string, at int) coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + node}}
	renewed := metav1.NewMicroTime(time.Unix(int64(at), 0))
	l.Spec.RenewTime = &renewed
	if at >= 0 {
		l.Spec.HolderIdentity = &node
	}
	return l
}

// Each step of a story is one own renewal that came back: when the other
// speakers were last seen to renew, and who counts as gone then.
func TestJudge(t *testing.T) {
	type step struct {
		renewed map[string]int
		gone    []string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one that renews is there", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 3}, nil}, {map[string]int{"a": 4}, nil}}},
		{"one that misses two renewals is there, after three it is gone", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}},
		}},
		{"one that renews in time is counted anew", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil},
			{map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 2}, []string{"a"}},
		}},
		{"one that comes back is there at once", []step{
			{map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 1}, []string{"a"}}, {map[string]int{"a": 9}, nil},
		}},
		{"one whose clock is set back, or ahead, is there as long as it renews", []step{
			{map[string]int{"a": 5000}, nil}, {map[string]int{"a": 1}, nil}, {map[string]int{"a": 2}, nil}, {map[string]int{"a": 9000}, nil}, {map[string]int{"a": 9001}, nil},
		}},
		{"one that released its Lease needs no counting", []step{{map[string]int{"a": 1}, nil}, {map[string]int{"a": -1}, nil}, {map[string]int{"a": -1}, nil}, {map[string]int{"a": -1}, nil}}},
		{"one that fell silent does not take another with it", []step{
			{map[string]int{"a": 1, "b": 1}, nil}, {map[string]int{"a": 1, "b": 2}, nil}, {map[string]int{"a": 1, "b": 3}, nil}, {map[string]int{"a": 1, "b": 4}, []string{"a"}},
		}},
		{"the own Lease is not judged", []step{{map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}, {map[string]int{"self": 1}, nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat{node: "self", log: slog.New(slog.DiscardHandler), peers: map[string]*pulse{}, changed: make(chan struct{}, 1)}
			h.echoes.Store(settledAfter)
			before := ""
			for i, s := range c.steps {
				var leases []coordinationv1.Lease
				for node, at := range s.renewed {
					leases = append(leases, lease(node, at))
				}
				h.judge(leases)
				got := slices.Sorted(maps.Keys(h.gone()))
				if diff := cmp.Diff(s.gone, got); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
				told := len(h.changed) > 0
				if told {
					<-h.changed
				}
				if now := fmt.Sprint(got); told != (now != before) && i > 0 {
					t.Errorf("step %d: told of a change: %t; before %s, now %s", i, told, before, now)
				}
				before = fmt.Sprint(got)
			}
		})
	}
}

// After an outage of the API nobody is taken for gone for what was missed in
// it, and those that were gone before stay so until they are heard.
func TestJudgeForgivesUntilSettled(t *testing.T) {
	h := &heartbeat{node: "self", log: slog.New(slog.DiscardHandler), peers: map[string]*pulse{}, changed: make(chan struct{}, 1)}
	h.echoes.Store(settledAfter)
	leases := []coordinationv1.Lease{lease("slow", 5), lease("dead", 1)}
	h.peers["speaker-slow"] = &pulse{renewed: time.Unix(5, 0), missed: missedBeats - 1}
	h.peers["speaker-dead"] = &pulse{renewed: time.Unix(1, 0), missed: missedBeats}
	h.lost.Store(&map[string]bool{"dead": true})
	for echo := int64(1); echo < settledAfter; echo++ {
		h.echoes.Store(echo)
		h.judge(leases)
		if diff := cmp.Diff([]string{"dead"}, slices.Sorted(maps.Keys(h.gone()))); diff != "" {
			t.Errorf("echo %d: %s", echo, diff)
		}
	}
}

// Only the Lease that bears a node's name tells of its speaker.
func TestALeaseOfAnotherNameTellsNothing(t *testing.T) {
	h := &heartbeat{node: "self", log: slog.New(slog.DiscardHandler), peers: map[string]*pulse{}, changed: make(chan struct{}, 1)}
	h.echoes.Store(settledAfter)
	for at := range 2 * missedBeats {
		forged, absent := lease("a", 1), lease("b", at)
		forged.Name, absent.Name = "speaker-mallory", "b"
		h.judge([]coordinationv1.Lease{lease("a", at), forged, absent})
		if gone := h.gone(); len(gone) != 0 {
			t.Fatalf("a Lease of another name has %v count as gone", gone)
		}
	}
	if _, watched := h.peers["b"]; watched || len(h.peers) != 1 {
		t.Errorf("watched are %v", h.peers)
	}
}

func TestSame(t *testing.T) {
	first, renewed, released := lease("a", 1), lease("a", 2), lease("a", -1)
	if !same(&first, &renewed) {
		t.Error("a renewal must not start a pass")
	}
	if same(&first, &released) {
		t.Error("a release must start a pass")
	}
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	used, labelled, edited := pool.DeepCopy(), pool.DeepCopy(), pool.DeepCopy()
	used.Status.IPv4 = &v1beta1.PoolUsage{Assigned: "1"}
	labelled.Labels = map[string]string{"a": "b"}
	edited.Generation = 2
	if !same(pool, used) {
		t.Error("the use of a pool must not start a pass")
	}
	if same(pool, labelled) || same(pool, edited) {
		t.Error("other labels, and another spec, must start a pass")
	}
}

func TestEndpointsStartAPassOnlyIfTheyMatter(t *testing.T) {
	services := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	for name, policy := range map[string]corev1.ServiceExternalTrafficPolicy{"local": corev1.ServiceExternalTrafficPolicyLocal, "cluster": corev1.ServiceExternalTrafficPolicyCluster} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ExternalTrafficPolicy: policy}}
		if err := services.Add(svc); err != nil {
			t.Fatal(err)
		}
	}
	slice := func(of, node string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: of}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &node}},
		}
	}
	for _, c := range []struct {
		name          string
		before, after client.Object
		idle          bool
	}{
		{"an endpoint of a Local Service moves", slice("local", "a"), slice("local", "b"), false},
		{"a Local Service's endpoints come", nil, slice("local", "a"), false},
		{"a Local Service's endpoints go", slice("local", "a"), nil, false},
		{"nothing of note changes", slice("local", "a"), slice("local", "a"), true},
		{"an endpoint of another Service moves", slice("cluster", "a"), slice("cluster", "b"), true},
		{"an endpoint of what is no load balancer comes", nil, slice("web", "a"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := idle(services)(c.before, c.after); got != c.idle {
				t.Errorf("idle is %v", got)
			}
		})
	}
}
