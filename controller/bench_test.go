package main

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
			var s snapshot
			s.Config = parsed(intent.Objects{Pools: []v1beta1.IPAddressPool{*poolOf("p", "10.0.0.0/8")}})
			s.namespaces = map[string]map[string]string{"n": nil}
			for i := range n {
				s.services = append(s.services, waiting(fmt.Sprint("s", i), int64(i/100)))
			}
			t := &thinker{}
			for i, x := range t.think(s).services {
				svc := x.svc.DeepCopy()
				written(svc, *x.change)
				s.services[i] = svc
			}
			t.think(s)
			b.ResetTimer()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				one := waiting(fmt.Sprint("new", i), int64(n))
				p := t.think(snapshot{now: time.Unix(1, 0), Configured: s.Configured, namespaces: s.namespaces, services: append(s.services[:n:n], one)})
				if x := p.services[n]; x.svc != one || x.change == nil {
					b.Fatalf("the new Service got %+v", p.grants[n])
				}
			}
		})
	}
}
