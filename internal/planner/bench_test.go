package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// BenchmarkThink is a pass, but for reading the cache and writing: all Services
// hold their addresses, and in each pass one is new.
func BenchmarkThink(b *testing.B) {
	for _, n := range []int{1000, 10000, 20000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var s Snapshot
			s.Config = parsed(intent.Objects{Pools: []v1beta1.IPAddressPool{*aPool("p", "10.0.0.0/8")}})
			s.Namespaces = map[string]map[string]string{"n": nil}
			for i := range n {
				s.Services = append(s.Services, aService(fmt.Sprint("s", i), int64(i/100)))
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
				p := t.Plan(Snapshot{Now: time.Unix(1, 0), Configured: s.Configured, Namespaces: s.Namespaces, Services: append(s.Services[:n:n], one)})
				if x := p.Services[n]; x.Object != one || x.Change == nil {
					b.Fatalf("the new Service got %+v", p.Grants[n])
				}
			}
		})
	}
}
