package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// TestWhatIsKnownOfServicesIsWhatIsThere compares what is kept from pass to pass with what is
// read again, while Services come, change and go, and the configuration changes.
func TestWhatIsKnownOfServicesIsWhatIsThere(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		parsed := func(pool string) *intent.Config {
			out := intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{{
				ObjectMeta: metav1.ObjectMeta{Name: pool}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.0/24"}},
			}}})
			return &out
		}
		config := parsed("a")
		var kept knownServices
		there := map[string]*corev1.Service{}
		always := map[ipam.Key]bool{}
		for range 40 {
			for range rng.IntN(4) {
				name := fmt.Sprint(rng.IntN(8))
				delete(there, name)
				if rng.IntN(4) > 0 {
					there[name] = service(name, rng)
				}
			}
			if rng.IntN(10) == 0 {
				config = parsed(string(rune('a' + rng.IntN(3))))
			}
			var all []*corev1.Service
			for _, svc := range there { // in no order, as in a Store
				all = append(all, svc)
			}
			want := []announce.Service{}
			before := map[ipam.Key]bool{}
			for _, svc := range all {
				if intent.Announceable(svc, "") {
					want = append(want, config.Announced(svc, nil, nil))
					before[intent.KeyOf(svc)] = always[intent.KeyOf(svc)]
				}
			}
			slices.SortFunc(want, func(a, b announce.Service) int { return a.Key.Compare(b.Key) })
			have := []announce.Service{}
			clear(always)
			for _, k := range kept.update(all, "", config) {
				have = append(have, config.AnnouncedAt(k.svc, k.addrs, nil, nil))
				if k.always != before[k.key] {
					t.Fatalf("seed %d: %s was always announced: %t, want %t", seed, k.key, k.always, before[k.key])
				}
				k.always = rng.IntN(2) == 0
				always[k.key] = k.always
			}
			if diff := gocmp.Diff(want, have, cmpopts.EquateComparable(announce.Address{})); diff != "" {
				t.Fatalf("seed %d: -want +have:\n%s", seed, diff)
			}
		}
	}
}

// service returns a Service with that name, for this load balancer or not, with an address or not.
func service(name string, rng *rand.Rand) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if rng.IntN(5) > 0 {
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	}
	if rng.IntN(3) > 0 {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("192.0.2.%d", rng.IntN(256))}}
	}
	if rng.IntN(3) == 0 {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	return svc
}
