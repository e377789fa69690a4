package main

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/report"
	"github.com/steelyard-lb/steelyard/internal/writer"
)

// waiting is a Service of type LoadBalancer, created at second at.
func waiting(name string, at int64) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(at, 0))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

// rig is a reconciler on a fake API server that refuses to patch the Services in
// refused, that never gets those of the Services in dropped, takes its time for
// those in slow, answers late about those in late, and whose answer about those in
// lost never arrives. What a real one makes of the patches, the stories tell.
type rig struct {
	*reconciler
	refused, dropped, lost map[string]bool
	slow, late             map[string]time.Duration
	notes                  []cluster.Event
	leader                 *leader.Term
	deadline               time.Time
}

// newTerm begins another term, which lasts for an hour.
func (b *rig) newTerm(ctx context.Context) {
	b.deadline = time.Now().Add(time.Hour)
	b.leader = leader.NewTerm(ctx, func() time.Time { return b.deadline })
}

func newRig(t *testing.T, objects ...client.Object) *rig {
	t.Helper()
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	b := &rig{refused: map[string]bool{}, dropped: map[string]bool{}, lost: map[string]bool{}, slow: map[string]time.Duration{}, late: map[string]time.Duration{}}
	b.newTerm(t.Context())
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}).
		WithIndex(&corev1.Service{}, "spec.type", func(o client.Object) []string { return []string{string(o.(*corev1.Service).Spec.Type)} }).
		WithStatusSubresource(&corev1.Service{}, &v1beta1.IPAddressPool{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if _, isService := o.(*corev1.Service); isService && b.refused[o.GetName()] {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, o.GetName(), errors.New("a policy says no"))
			}
			if d := b.slow[o.GetName()]; d > 0 {
				time.Sleep(d)
			}
			if b.dropped[o.GetName()] {
				return context.DeadlineExceeded
			}
			err := c.SubResource(sub).Patch(ctx, o, p, opts...)
			if err == nil { // a real API server takes the annotation from the same patch
				data, _ := p.Data(o)
				status := o.DeepCopyObject().(client.Object)
				err = c.Patch(ctx, status, client.RawPatch(types.MergePatchType, regexp.MustCompile(`"resourceVersion":"\d+"`).ReplaceAll(data, []byte(`"x":null`))))
				if svc, ok := o.(*corev1.Service); ok && err == nil {
					svc.ObjectMeta = status.(*corev1.Service).ObjectMeta
				}
			}
			time.Sleep(b.late[o.GetName()])
			if b.lost[o.GetName()] {
				return context.DeadlineExceeded
			}
			return err
		}}).Build()
	log := slog.New(slog.DiscardHandler)
	var mu sync.Mutex
	w := writer.New(writer.Options{Client: api, Log: log, Record: func(n cluster.Event) {
		mu.Lock()
		defer mu.Unlock()
		b.notes = append(b.notes, n)
	}, Count: func(string, error) {}})
	b.reconciler = newReconciler(api, api, w, planner.New(nil, planner.Finalizer{}))
	b.log, b.observePass = log, func(time.Duration) {}
	b.leading = func() *leader.Term { return b.leader }
	b.configuration = cluster.NewConfiguration(cluster.Listed(api, "steelyard-system")).Allocating()
	b.claims = func(ctx context.Context) ([]*v1beta1.L2Claim, error) {
		var list v1beta1.L2ClaimList
		err := api.List(ctx, &list)
		var out []*v1beta1.L2Claim
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
		return out, err
	}
	b.services = func(ctx context.Context) ([]*corev1.Service, error) {
		var list corev1.ServiceList
		err := api.List(ctx, &list)
		var out []*corev1.Service
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
		return out, err
	}
	return b
}

// reporter writes what else follows from the plans.
func (b *rig) reporter() *report.Reporter {
	return report.New(report.Options{
		Client: b.client, Direct: b.direct, Log: b.log, Finalizer: b.state.Finalizer(), Configuration: b.configuration,
		Services: func(ctx context.Context) ([]*corev1.Service, error) { return b.services(ctx) },
		Leading:  b.leading, Plan: b.summary, Released: b.released, Planned: b.planned, Count: func(string, error) {},
		Presences: func() planner.Presences { return nil }, Programmed: func() map[intent.Ref]v1beta1.AdvertisementCount { return nil }, Record: func(cluster.Event) {},
	})
}

// lag has the cache show those Services and no later ones.
func (b *rig) delayCache(services []*corev1.Service) {
	b.services = func(context.Context) ([]*corev1.Service, error) { return slices.Clone(services), nil }
}

// pass makes one pass, waits for its writes to land, and returns when the next
// one is due: 0 if nothing is left to do.
func (b *rig) pass(t *testing.T) time.Duration {
	t.Helper()
	again, err := b.reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	select {
	case <-b.writer.Written:
		return time.Nanosecond
	default:
		return again
	}
}

// settle makes passes until nothing is to be done at once, and returns the
// address of each Service.
func (b *rig) settle(t *testing.T) map[string]string {
	t.Helper()
	for b.pass(t) == time.Nanosecond {
	}
	return b.addresses(t)
}

func (b *rig) addresses(t *testing.T) map[string]string {
	t.Helper()
	var list corev1.ServiceList
	if err := b.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range list.Items {
		if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
			out[s.Name] = in[0].IP
		}
	}
	return out
}

// words returns the message of a Service's condition.
func (b *rig) words(t *testing.T, name string) string {
	t.Helper()
	svc := &corev1.Service{}
	if err := b.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated); c != nil {
		return c.Message
	}
	return ""
}

// annotate sets an annotation of a Service.
func (b *rig) annotate(t *testing.T, name, key, value string) {
	t.Helper()
	svc := &corev1.Service{}
	if err := b.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc); err != nil {
		t.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value)
	if err := b.client.Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, want, have map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

// poolOf is a pool that keeps nothing for Services that are deleted.
func poolOf(name string, addresses ...v1beta1.AddressRange) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses, GraceTime: "0s"}}
}

func TestAServiceThatCantBeWrittenDelaysNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1-10.0.0.3"), waiting("a", 1), waiting("b", 2), waiting("c", 3))
		b.refused["b"] = true
		expect(t, map[string]string{"a": "10.0.0.1", "c": "10.0.0.3"}, b.settle(t))
		delete(b.refused, "b")
		expect(t, map[string]string{"a": "10.0.0.1", "c": "10.0.0.3"}, b.settle(t)) // not before its pause is over
		time.Sleep(planner.LongestRefusedPause)
		expect(t, map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}, b.settle(t))
	})
}

// While it can't be written it must not keep the last address from others.
func TestARefusedServiceDoesNotReserveAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1), waiting("b", 2))
		b.refused["a"] = true
		expect(t, map[string]string{"b": "10.0.0.1"}, b.settle(t))
		reported := 0
		for range 5 {
			time.Sleep(planner.LongestRefusedPause)
			b.settle(t)
		}
		for _, n := range b.notes {
			if n.Reason == v1beta1.ReasonStatusRefused && n.About.Name == "a" {
				reported++
			}
		}
		if reported != 1 {
			t.Errorf("the refusal was reported %d times, want once: %v", reported, b.notes)
		}
	})
}

// A write whose answer is lost may have arrived: no other client may get its address.
func TestALostAnswerKeepsTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1-10.0.0.9"), waiting("b", 2))
		stale, err := b.services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fresh := b.services
		b.services = func(context.Context) ([]*corev1.Service, error) { return slices.Clone(stale), nil }
		b.lost["b"] = true
		b.settle(t)
		// An older Service comes, which would get the lowest address. The cache
		// does not show yet that b has it.
		if err := b.client.Create(t.Context(), waiting("a", 1)); err != nil {
			t.Fatal(err)
		}
		stale = append(stale, waiting("a", 1))
		stale[1].ResourceVersion = "1"
		b.settle(t)
		b.services = fresh
		expect(t, map[string]string{"a": "10.0.0.2", "b": "10.0.0.1"}, b.settle(t))
	})
}

// An address that could not be taken from one Service must not be seen on two.
func TestWhatCouldNotBeTakenAwayIsNotGivenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), poolOf("q", "10.0.0.9"), waiting("a", 1), waiting("b", 2))
		expect(t, map[string]string{"a": "10.0.0.1", "b": "10.0.0.9"}, b.settle(t))
		// Now b goes, a comes to want the other pool, and c the address that a has.
		if err := b.client.Delete(t.Context(), waiting("b", 2)); err != nil {
			t.Fatal(err)
		}
		c := waiting("c", 3)
		c.Annotations = map[string]string{v1beta1.AnnotationLoadBalancerIPs: "10.0.0.1"}
		if err := b.client.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "q")
		b.refused["a"] = true
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		delete(b.refused, "a")
		time.Sleep(planner.LongestRefusedPause)
		expect(t, map[string]string{"a": "10.0.0.9", "c": "10.0.0.1"}, b.settle(t))
	})
}

// Two that swap addresses can do it only if one of them has none for a moment.
func TestTwoServicesSwapAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1-10.0.0.2"), waiting("a", 1), waiting("b", 2))
		expect(t, map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"}, b.settle(t))
		b.annotate(t, "a", v1beta1.AnnotationLoadBalancerIPs, "10.0.0.2")
		b.annotate(t, "b", v1beta1.AnnotationLoadBalancerIPs, "10.0.0.1")
		for range 10 {
			again := b.pass(t)
			have := b.addresses(t)
			if have["a"] == have["b"] && have["a"] != "" {
				t.Fatalf("both show %s", have["a"])
			}
			if again == 0 {
				break
			}
		}
		expect(t, map[string]string{"a": "10.0.0.2", "b": "10.0.0.1"}, b.addresses(t))
	})
}

// What a replica tried in a former term says nothing about what others did since.
func TestANewTermForgetsWhatTheFormerOneTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1-10.0.0.9"), waiting("a", 1))
		b.dropped["a"] = true
		expect(t, map[string]string{}, b.settle(t)) // 10.0.0.1 may be on a
		other := waiting("b", 2)
		other.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}} // by another leader
		if err := b.client.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if err := b.client.Status().Update(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		delete(b.dropped, "a")
		b.newTerm(t.Context())
		expect(t, map[string]string{"a": "10.0.0.2", "b": "10.0.0.1"}, b.settle(t))
	})
}

func TestAFormerLeaderWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1))
		b.deadline = time.Now()
		expect(t, map[string]string{}, b.settle(t))
		b.newTerm(t.Context())
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
	})
}
