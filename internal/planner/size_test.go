package planner

import (
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/growth"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestSize(t *testing.T)      { growth.Test(t, sizes()) }
func BenchmarkSize(b *testing.B) { growth.Benchmark(b, sizes()) }

// sizes are passes that must cost as much for each Service as of a tenth of them.
func sizes() []growth.Work {
	return []growth.Work{
		{Name: "10,000 Services, 1,000 pools, a new Namespace", Items: 10000, Prepare: func(n int) func() {
			t, s := populated(n, n/10)
			return func() {
				s.Namespaces = maps.Clone(s.Namespaces)
				s.Namespaces[fmt.Sprint("new", len(s.Namespaces))] = nil
				t.Plan(s)
			}
		}},
		{Name: "10,000 Services, 10,000 pools, nothing new", Items: 10000, Prepare: func(n int) func() {
			t, s := populated(n, n)
			return func() { t.Plan(s) }
		}},
		{Name: "10,000 Services of one namespace, 2,000 of them named by reservations", Items: 10000, Prepare: func(n int) func() {
			t, s := populated(n, 1)
			for i := range n / 5 {
				s.Objects.Reservations = append(s.Objects.Reservations, v1beta1.AddressReservation{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("r", i)},
					Spec:       v1beta1.AddressReservationSpec{Namespace: "n0", Services: []string{fmt.Sprint("s", i)}, Addresses: []v1beta1.AddressRange{v1beta1.AddressRange(fmt.Sprintf("10.1.%d.%d", i/256, i%256))}},
				})
			}
			return func() {
				s.Config = parsed(s.Objects)
				s.Reserved = s.Config.Reserved(s.Now, nil, intent.Choosing{})
				t.Plan(s)
			}
		}},
		{Name: "10,000 Services of 1,000 namespaces, each with a quota that is edited", Items: 10000, Prepare: func(n int) func() {
			t, s := populated(n, n/10)
			for i := range n / 10 {
				s.Objects.Quotas = append(s.Objects.Quotas, v1beta1.AddressQuota{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("q", i)},
					Spec:       v1beta1.AddressQuotaSpec{Namespaces: []string{fmt.Sprint("n", i)}, Hard: []v1beta1.AddressLimit{{Addresses: 10}}},
				})
			}
			return func() {
				s.Config = parsed(s.Objects)
				t.Plan(s).Summary()
			}
		}},
		{Name: "10,000 Services, 1,000 pools, an edit of a pool", Items: 10000, Prepare: func(n int) func() {
			t, s := populated(n, n/10)
			return func() {
				s.Config = parsed(s.Objects)
				t.Plan(s)
			}
		}},
	}
}

// populated returns a snapshot of n Services that hold addresses of so many
// pools, each of which serves one namespace by its labels, and who has thought
// about it.
func populated(n, pools int) (*Planner, Snapshot) {
	s, bits := Snapshot{Namespaces: map[string]map[string]string{}}, 28
	if pools == 1 {
		bits = 8
	}
	for i := range pools {
		pool := aPool(fmt.Sprint("p", i), v1beta1.AddressRange(fmt.Sprintf("10.%d.%d.0/%d", i/256, i%256, bits)))
		pool.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": fmt.Sprint(i)}}}}
		s.Objects.Pools = append(s.Objects.Pools, *pool)
		s.Namespaces[fmt.Sprint("n", i)] = map[string]string{"team": fmt.Sprint(i)}
	}
	s.Config = parsed(s.Objects)
	for i := range n {
		svc := aService(fmt.Sprint("s", i), int64(i))
		svc.Namespace = fmt.Sprint("n", i%pools)
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("10.%d.%d.%d", i%pools/256, i%pools%256+i/pools/256, i/pools%256)}}
		s.Services = append(s.Services, svc)
	}
	t := &Planner{}
	for i, x := range t.Plan(s).Services {
		svc := x.Object.DeepCopy()
		x.Change.Apply(svc, Finalizer{})
		s.Services[i] = svc
	}
	if x := t.Plan(s).Services[n-1]; x.Change != nil {
		panic(fmt.Sprintf("nothing is settled: %+v", x.Change))
	}
	return t, s
}
