package planner

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// BenchmarkThink is a pass, but for reading the cache and writing: all Services
// hold their addresses, and in each pass one is new.
func BenchmarkThink(b *testing.B) {
	for _, n := range []int{1000, 10000, 20000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkPasses(b, n, nil, nil) })
	}
	reservations, quotas := limitsFor(10000)
	b.Run("10000, 2,000 reservations and 200 quotas", func(b *testing.B) { benchmarkPasses(b, 10000, reservations, quotas) })
}

// limitsFor returns reservations for every fifth of so many Services, and quotas for 200 namespaces.
func limitsFor(services int) (reservations []v1beta1.AddressReservation, quotas []v1beta1.AddressQuota) {
	for i := range services / 5 {
		reservations = append(reservations, v1beta1.AddressReservation{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("r", i)},
			Spec:       v1beta1.AddressReservationSpec{Namespace: namespaceOf(i), Services: []string{fmt.Sprint("s", i)}, Addresses: []v1beta1.AddressRange{v1beta1.AddressRange(fmt.Sprintf("10.1.%d.%d", i/256, i%256))}},
		})
	}
	for i := range 200 {
		quotas = append(quotas, v1beta1.AddressQuota{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("q", i)},
			Spec:       v1beta1.AddressQuotaSpec{Namespaces: []string{namespaceOf(i)}, Hard: []v1beta1.AddressLimit{{Addresses: int32(services)}, {Addresses: int32(services), IPAddressPools: []string{"p"}}}},
		})
	}
	return reservations, quotas
}

// namespaceOf is the namespace of the ith Service: one of 200.
func namespaceOf(i int) string { return fmt.Sprint("n", i%200) }

func benchmarkPasses(b *testing.B, n int, reservations []v1beta1.AddressReservation, quotas []v1beta1.AddressQuota) {
	var s Snapshot
	s.Config = parsed(intent.Objects{Pools: []v1beta1.IPAddressPool{*aPool("p", "10.0.0.0/8")}, Reservations: reservations, Quotas: quotas})
	s.Reserved = s.Config.Reserved(s.Now, nil, intent.Choosing{})
	s.Occupied = s.Config.Occupied(intent.Others{Reserved: s.Reserved}, nil, "")
	s.Namespaces = map[string]map[string]string{}
	for i := range n {
		svc := aService(fmt.Sprint("s", i), int64(i/100))
		svc.Namespace = namespaceOf(i)
		s.Namespaces[svc.Namespace] = nil
		s.Services = append(s.Services, svc)
	}
	t := &Planner{}
	for i, x := range t.Plan(s).Services {
		svc := x.Object.DeepCopy()
		x.Change.Apply(svc, Finalizer{})
		s.Services[i] = svc
	}
	t.Plan(s)
	b.ResetTimer()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		one := aService(fmt.Sprint("new", i), int64(n))
		one.Namespace = namespaceOf(0)
		next := s
		next.Now, next.Services = time.Unix(1, 0), append(s.Services[:n:n], one)
		p := t.Plan(next)
		if x := p.Services[n]; x.Object != one || x.Change == nil {
			b.Fatalf("the new Service got %+v", p.Grants[n])
		}
	}
}
