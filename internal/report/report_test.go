package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// bench is a Reporter on a fake API server that records every request for a write,
// and every list past the cache.
type bench struct {
	*Reporter
	api      client.Client
	term     *leader.Term
	deadline time.Time // of the term
	plan     *planner.Summary
	gone     []types.NamespacedName // what Released returns next

	presences planner.Presences
	events    []string

	mu       sync.Mutex
	requests []string
	counted  []string         // by kind, and whether it failed
	fails    map[string]error // by request
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{plan: &planner.Summary{}, fails: map[string]error{}}
	b.newTerm(t)
	b.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1beta1.IPAddressPool{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				if err := b.request(ctx, "patch", o); err != nil {
					return err
				}
				data, err := p.Data(o)
				if err == nil {
					err = c.SubResource(sub).Patch(ctx, o, p, opts...)
				}
				if _, ok := o.(*corev1.Service); !ok || err != nil {
					return err
				}
				// A real API server takes annotations and finalizers from the same patch.
				rest := regexp.MustCompile(`"resourceVersion":"\d+"`).ReplaceAll(data, []byte(`"x":null`))
				return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, rest))
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				var set client.DeleteOptions
				set.ApplyOptions(opts)
				if p := set.Preconditions; p == nil || p.UID == nil || *p.UID != o.GetUID() || p.ResourceVersion == nil || *p.ResourceVersion != o.GetResourceVersion() {
					t.Errorf("%s is deleted whatever has become of it", o.GetName())
				}
				if err := b.request(ctx, "delete", o); err != nil {
					return err
				}
				return c.Delete(ctx, o)
			},
		}).Build()
	listed := func(ctx context.Context) ([]*corev1.Service, error) { // as the controller's cache: load balancers only
		var list corev1.ServiceList
		err := b.api.List(ctx, &list)
		var out []*corev1.Service
		for i := range list.Items {
			if list.Items[i].Spec.Type == corev1.ServiceTypeLoadBalancer {
				out = append(out, &list.Items[i])
			}
		}
		return out, err
	}
	b.Reporter = New(Options{
		Client: b.api, Log: slog.New(slog.DiscardHandler), Finalizer: planner.Finalizer{Wanted: true},
		Direct: interceptor.NewClient(b.api.(client.WithWatch), interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := b.request(ctx, "list", nil); err != nil {
				return err
			}
			var set client.ListOptions
			set.ApplyOptions(opts)
			if set.FieldSelector.String() != "spec.type!=LoadBalancer" {
				t.Errorf("it lists %s past the cache", set.FieldSelector)
			}
			if err := c.List(ctx, list); err != nil { // the fake server knows no such selector
				return err
			}
			all := list.(*corev1.ServiceList)
			all.Items = slices.DeleteFunc(all.Items, func(s corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer })
			return nil
		}}),
		Configuration: cluster.NewConfiguration(cluster.Listed(b.api, "steelyard-system")), Services: listed,
		Leading: func() *leader.Term { return b.term }, Plan: func(*leader.Term) *planner.Summary { return b.plan },
		Presences: func() planner.Presences { return b.presences }, Programmed: func() map[intent.Ref]v1beta1.AdvertisementCount { return nil },
		Record:   func(e cluster.Event) { b.events = append(b.events, e.Type+" "+e.About.Name+" "+e.Reason) },
		Released: func() []types.NamespacedName { out := b.gone; b.gone = nil; return out },
		Count:    func(kind string, err error) { b.note(&b.counted, fmt.Sprintf("%s %v", kind, err == nil)) },
	})
	return b
}

func (b *bench) newTerm(t *testing.T) {
	b.deadline = time.Now().Add(time.Hour)
	b.term = leader.NewTerm(t.Context(), func() time.Time { return b.deadline })
}

func (b *bench) note(to *[]string, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*to = append(*to, text)
}

// request records a request, and returns how it fails.
func (b *bench) request(ctx context.Context, verb string, o client.Object) error {
	text := verb
	if o != nil {
		text += " " + reflect.TypeOf(o).Elem().Name() + " " + o.GetName()
	}
	b.note(&b.requests, text)
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.fails[text]
}

// report has one report made, and returns the requests of it, sorted, and when the
// next one is due.
func (b *bench) report(t *testing.T) ([]string, time.Duration) {
	t.Helper()
	b.requests = []string{}
	again, err := b.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.requests)
	return b.requests, again
}

// wants fails the test unless the next report makes exactly these requests.
func (b *bench) wants(t *testing.T, when string, again time.Duration, requests ...string) {
	t.Helper()
	have, due := b.report(t)
	if diff := cmp.Diff(append([]string{}, requests...), have); diff != "" || due != again {
		t.Errorf("%s: due again in %s, want %s; want -, have +:\n%s", when, due, again, diff)
	}
}

func pool(name string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.1-192.0.2.9"}}}
}

func claim(address string) *v1beta1.L2Claim {
	return &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: address, UID: types.UID(address)}, Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address)}}
}

// service has a type, and the marks that the controller leaves if marked.
func service(name string, kind corev1.ServiceType, marked bool) *corev1.Service {
	out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: corev1.ServiceSpec{Type: kind}}
	if marked {
		out.Annotations = map[string]string{v1beta1.AnnotationPool: "lan", v1beta1.AnnotationFinalizer: planner.Finalizer{}.Mark(out), "example.org/theirs": "stays"}
		out.Finalizers = []string{v1beta1.FinalizerCleanup, "example.org/theirs"}
		out.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue}, {Type: "example.org/theirs", Status: metav1.ConditionTrue}}
	}
	return out
}

// marks returns what of a Service is ours, and whether all that is others' is there.
func (b *bench) marks(t *testing.T, name string) (ours, theirs bool) {
	t.Helper()
	svc := &corev1.Service{}
	if err := b.api.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc); err != nil {
		t.Fatal(err)
	}
	ours = svc.Annotations[v1beta1.AnnotationPool] != "" || svc.Annotations[v1beta1.AnnotationFinalizer] != "" || slices.Contains(svc.Finalizers, v1beta1.FinalizerCleanup) ||
		meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated) != nil
	theirs = svc.Annotations["example.org/theirs"] != "" && slices.Contains(svc.Finalizers, "example.org/theirs") && meta.FindStatusCondition(svc.Status.Conditions, "example.org/theirs") != nil
	return ours, theirs
}

func TestStatusesAreWrittenOnce(t *testing.T) {
	b := newBench(t, pool("lan"))
	b.wants(t, "the first report", 0, "list", "patch IPAddressPool lan")
	b.wants(t, "nothing has changed", 0)
	var p v1beta1.IPAddressPool
	if err := b.api.Get(t.Context(), client.ObjectKey{Name: "lan"}, &p); err != nil {
		t.Fatal(err)
	}
	if !meta.IsStatusConditionTrue(p.Status.Conditions, v1beta1.ConditionAccepted) {
		t.Errorf("the pool's conditions: %v", p.Status.Conditions)
	}
	if diff := cmp.Diff([]string{"IPAddressPool true"}, b.counted); diff != "" {
		t.Errorf("counted patches: %s", diff)
	}
}

func TestAWriteThatFailsIsTriedAgain(t *testing.T) {
	b := newBench(t, pool("lan"), claim("192.0.2.9"))
	b.fails["patch IPAddressPool lan"] = errors.New("cut off")
	b.wants(t, "it fails, and the others do not wait for it", retryAfter, "delete L2Claim 192.0.2.9", "list", "patch IPAddressPool lan")
	clear(b.fails)
	b.wants(t, "again", 0, "patch IPAddressPool lan")
	if diff := cmp.Diff([]string{"IPAddressPool false", "IPAddressPool true"}, b.counted); diff != "" {
		t.Errorf("counted patches: %s", diff)
	}
	b = newBench(t, claim("192.0.2.9"))
	b.fails["delete L2Claim 192.0.2.9"] = apierrors.NewNotFound(v1beta1.GroupVersion().WithResource("l2claims").GroupResource(), "192.0.2.9")
	b.wants(t, "what is deleted already needs no deletion", 0, "delete L2Claim 192.0.2.9", "list")
}

func TestOnlyTheLeaderWritesAndOnlyInItsTerm(t *testing.T) {
	b := newBench(t, pool("lan"))
	term := b.term
	b.term = nil
	b.wants(t, "a standby", 0)
	b.term, b.plan = term, nil
	b.wants(t, "before the first plan of the term", 0)
	b.plan = &planner.Summary{}
	b.deadline = time.Now().Add(-time.Second)
	if requests, again := b.report(t); slices.Contains(requests, "patch IPAddressPool lan") || again != retryAfter {
		t.Errorf("after the end of the Lease: %q, due in %s", requests, again)
	}
}

func TestClaimsOfAddressesThatNoServiceHasAreDeleted(t *testing.T) {
	foreign := service("foreign", corev1.ServiceTypeLoadBalancer, false)
	class := "example.org/other"
	foreign.Spec.LoadBalancerClass = &class
	foreign.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.3"}}
	b := newBench(t, claim("192.0.2.1"), claim("192.0.2.2"), claim("192.0.2.3"), claim("nonsense"), foreign)
	b.plan.Holders = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}
	b.wants(t, "the plan has .1, and another class's Service shows .3", 0, "delete L2Claim 192.0.2.2", "delete L2Claim nonsense", "list")
}

func TestAServiceThatWasReleasedLosesOurMarks(t *testing.T) {
	again := service("again", corev1.ServiceTypeLoadBalancer, true)
	b := newBench(t, again)
	b.wants(t, "the sweep of the term", 0, "list")
	for _, name := range []string{"left", "plain"} {
		if err := b.api.Create(t.Context(), service(name, corev1.ServiceTypeClusterIP, name == "left")); err != nil {
			t.Fatal(err)
		}
		b.gone = append(b.gone, types.NamespacedName{Namespace: "n", Name: name})
	}
	b.gone = append(b.gone, types.NamespacedName{Namespace: "n", Name: "again"}, types.NamespacedName{Namespace: "n", Name: "deleted"})
	b.fails["patch Service left"] = errors.New("cut off")
	b.wants(t, "one was ours, one has no mark, one is ours again, one is deleted", retryAfter, "patch Service left")
	clear(b.fails)
	b.wants(t, "what failed is tried again", 0, "patch Service left")
	if ours, theirs := b.marks(t, "left"); ours || !theirs {
		t.Errorf("ours %t, want none; others' %t, want all", ours, theirs)
	}
	if ours, _ := b.marks(t, "again"); !ours {
		t.Error("a Service that is created again has lost our marks")
	}
	b.wants(t, "nothing is left to do", 0)
}

func TestASweepFindsWhatLeftWithoutALeader(t *testing.T) {
	other := service("other", corev1.ServiceTypeLoadBalancer, true)
	class := "example.org/other"
	other.Spec.LoadBalancerClass = &class
	unmarked := service("unmarked", corev1.ServiceTypeLoadBalancer, false)
	unmarked.Spec.LoadBalancerClass = &class
	b := newBench(t, service("left", corev1.ServiceTypeClusterIP, true), service("plain", corev1.ServiceTypeNodePort, false), other, unmarked)
	b.fails["list"] = errors.New("cut off")
	b.wants(t, "the list fails; what the cache shows is found already", retryAfter, "list")
	clear(b.fails)
	b.wants(t, "the list succeeds", 0, "list", "patch Service left", "patch Service other")
	b.wants(t, "one sweep a term", 0)
	for _, name := range []string{"left", "other"} {
		if ours, theirs := b.marks(t, name); ours || !theirs {
			t.Errorf("%s: ours %t, want none; others' %t, want all", name, ours, theirs)
		}
	}
	b.newTerm(t)
	b.wants(t, "the next term sweeps again", 0, "list")
}

func TestASweepStartsAgainWhenItsPageHasExpired(t *testing.T) {
	b := newBench(t)
	b.page = "old"
	b.Reporter.term = b.term
	b.fails["list"] = apierrors.NewResourceExpired("the continue token is too old")
	b.wants(t, "the page has expired", retryAfter, "list")
	if b.page != "" {
		t.Errorf("it goes on from page %q", b.page)
	}
	clear(b.fails)
	b.wants(t, "from the first page", 0, "list")
}

func TestManyReleasedServicesAreSweptFor(t *testing.T) {
	b := newBench(t)
	b.wants(t, "the sweep of the term", 0, "list")
	want := []string{"list"}
	for i := range limit + 1 {
		name := fmt.Sprintf("s%02d", i)
		if err := b.api.Create(t.Context(), service(name, corev1.ServiceTypeClusterIP, true)); err != nil {
			t.Fatal(err)
		}
		b.gone = append(b.gone, types.NamespacedName{Namespace: "n", Name: name})
		want = append(want, "patch Service "+name)
	}
	b.wants(t, "one list instead of a look at each", 0, want...)
}

func TestPatchesAreCountedByKindAndCode(t *testing.T) {
	counters := NewCounters()
	counters.Patch("Service", nil)
	counters.Patch("Service", errors.New("no answer"))
	counters.Patch("Service", fmt.Errorf("wrapped: %w", apierrors.NewConflict(corev1.Resource("services"), "web", errors.New("modified"))))
	have := map[string]float64{}
	for _, code := range []string{"0", "409"} {
		have[code] = value(t, counters.errors.WithLabelValues("Service", code))
	}
	have["all"] = value(t, counters.patches.WithLabelValues("Service"))
	if want := map[string]float64{"0": 1, "409": 1, "all": 3}; !maps.Equal(have, want) {
		t.Errorf("errors by code: %v, want %v", have, want)
	}
}

func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
