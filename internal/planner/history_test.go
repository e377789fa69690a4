package planner

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// TestHistories lets the controller live through long histories of edits, faults
// and foreign writes, and looks at each when all is at rest again.
// CONTROLLER_HISTORIES says how many there are, CONTROLLER_SEED which is the first.
func TestHistories(t *testing.T) {
	number := func(name string, or uint64) uint64 {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		return or
	}
	first, n := number("CONTROLLER_SEED", 0), number("CONTROLLER_HISTORIES", 100)
	seen := map[string]int{}
	seeds := []uint64{124, 2067, 4617, 5342, 6276} // that found faults
	for seed := first; seed < first+n; seed++ {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(seed)
			for range 6 {
				err := s.act(seen)
				for what, n := range s.promises.checked {
					seen[what] += n
				}
				clear(s.promises.checked)
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(s.log, "\n"))
				}
			}
		})
	}
	t.Log(seen)
	for _, d := range deeds() {
		if n >= 20 && seen[d.name] == 0 {
			t.Errorf("no history did this: %s", d.name)
		}
	}
}

// act is a few seconds of deeds, then their end, then rest. It returns what is
// wrong then, or was on the way.
func (s *sim) act(seen map[string]int) error {
	all := deeds()
	end := time.Now().Add(6 * time.Second)
	var next func()
	next = func() {
		if time.Now().After(end) {
			return
		}
		d := all[s.rnd.IntN(len(all))]
		name := fmt.Sprint("s", s.rnd.IntN(6))
		s.logf("%s %s", d.name, name)
		seen[d.name]++
		d.do(s, name)
		s.in(s.upTo(2*time.Second), next)
	}
	s.faulty = true
	s.promises.again()
	s.wake()
	next()
	s.run(end)
	s.logf("peace")
	s.faulty = false
	clear(s.refuses)
	clear(s.overwriter)
	s.run(end.Add(time.Hour))
	for n := 0; s.due && n < 3; n++ { // an address of a foreign host may just be looked at again
		s.run(time.Now().Add(time.Second))
	}
	if s.broken != nil {
		return s.broken
	}
	return s.atRest()
}

// deed is a change that a user makes to a Service.
type deed struct {
	name string
	do   func(s *sim, name string)
}

func deeds() []deed {
	annotate := func(key string, values ...string) func(*sim, string) {
		return func(s *sim, name string) {
			s.edit(name, func(svc *corev1.Service) {
				svc.Annotations = map[string]string{v1beta1.AnnotationPool: svc.Annotations[v1beta1.AnnotationPool]}
				if v := values[s.rnd.IntN(len(values))]; v != "" {
					svc.Annotations[key] = v
				}
			})
		}
	}
	create := func(s *sim, name string) {
		if s.there[name] == nil {
			s.create(name)
		}
	}
	return []deed{
		{"create", create}, {"create", create},
		{"delete", func(s *sim, name string) {
			if s.there[name] != nil {
				s.put(name, nil)
			}
		}},
		{"replace", func(s *sim, name string) {
			if s.there[name] != nil {
				s.put(name, nil)
				s.create(name)
			}
		}},
		{"ask for an address", annotate(v1beta1.AnnotationLoadBalancerIPs, "10.0.0.1", "10.0.0.2", "10.0.1.1", "")},
		{"ask for a pool", annotate(v1beta1.AnnotationAddressPool, "p", "q", "none", "")},
		{"write a foreign status", func(s *sim, name string) { s.overwrite(name, "203.0.113.9") }},
		{"write foreign statuses for a while", func(s *sim, name string) {
			for range s.rnd.IntN(20) {
				s.in(s.upTo(5*time.Second), func() { s.overwrite(name, fmt.Sprint("203.0.113.", s.rnd.IntN(3))) })
			}
		}},
		{"overwrite all that we write for a while", func(s *sim, name string) {
			s.overwriter[name] = true
			s.in(s.upTo(20*time.Second), func() { delete(s.overwriter, name) })
		}},
		{"clear the status", func(s *sim, name string) { s.overwrite(name, "") }},
		{"write an address of ours", func(s *sim, name string) { s.overwrite(name, fmt.Sprint("10.0.0.", 1+s.rnd.IntN(3))) }},
		{"label", func(s *sim, name string) {
			s.edit(name, func(svc *corev1.Service) { svc.Labels = map[string]string{"l": fmt.Sprint(s.version)} })
		}},
		{"be no load balancer for a while", func(s *sim, name string) {
			s.edit(name, func(svc *corev1.Service) {
				svc.Spec.Type, svc.Status = corev1.ServiceTypeClusterIP, corev1.ServiceStatus{}
			})
			s.in(s.upTo(3*time.Second), func() {
				s.edit(name, func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeLoadBalancer })
			})
		}},
		{"refuse", func(s *sim, name string) {
			s.refuses[name] = true
			s.in(s.upTo(10*time.Second), func() { s.refuses[name] = false })
		}},
		{"delete for a while", func(s *sim, name string) {
			if s.there[name] != nil {
				s.put(name, nil)
				s.in(s.upTo(8*time.Second), func() { create(s, name) })
			}
		}},
		{"a foreign host has its address for a while", func(s *sim, name string) {
			if svc := s.there[name]; svc != nil {
				s.meet(intent.Holds(svc))
			}
		}},
		{"resize the pools", func(s *sim, _ string) {
			s.resize()
			s.wake()
		}},
		{"replace the pools", func(s *sim, _ string) { s.replacePools() }},
		{"restart", func(s *sim, _ string) { s.restart() }},
	}
}

// overwrite has another client write a status.
func (s *sim) overwrite(name, address string) {
	s.edit(name, func(svc *corev1.Service) {
		if svc.Status.LoadBalancer.Ingress = nil; address != "" {
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
		}
		if a, err := netip.ParseAddr(address); err == nil {
			s.promises.tainted[a] = true
		}
		svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "k3s\x1b[2J"}}
		s.foreign[svc.UID] = true
		s.logf("    another client writes %q to %s", address, name)
	})
}

// meet has a foreign host answer at addresses, as the speakers say, until it leaves.
func (s *sim) meet(addrs []netip.Addr) {
	for _, a := range addrs {
		if slices.ContainsFunc(s.config.Claims, func(c *v1beta1.L2Claim) bool { return string(c.Spec.Address) == a.String() }) {
			continue
		}
		claim := &v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(a.String())}}
		claim.Status.Conditions = []metav1.Condition{{
			Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonAddressConflict,
			Message: intent.ConflictText("02:00:00:00:00:01", "eth0", "node1", a),
		}}
		s.config.Claims = append(slices.Clone(s.config.Claims), claim)
		s.promises.tainted[a] = true
		s.logf("    a foreign host has %s", a)
		s.wake()
		s.in(s.upTo(20*time.Second), func() {
			s.config.Claims = slices.DeleteFunc(slices.Clone(s.config.Claims), func(c *v1beta1.L2Claim) bool { return c == claim })
			s.promises.tainted[a] = true
			s.wake()
		})
	}
}

// resize makes pools with a few addresses.
func (s *sim) resize() {
	pools := []v1beta1.IPAddressPool{
		*fixedPool("p", v1beta1.AddressRange(fmt.Sprint("10.0.0.1-10.0.0.", 1+s.rnd.IntN(4)))),
		*fixedPool("q", v1beta1.AddressRange(fmt.Sprint("10.0.1.1-10.0.1.", 1+s.rnd.IntN(2)))),
	}
	grace := []string{"0s", "2s", "20s", "5m"}[s.rnd.IntN(4)]
	for i := range pools {
		pools[i].Spec.GraceTime = v1beta1.Duration(grace)
	}
	s.resized, s.pools = s.resized+1, pools
	s.config.Configured = readyMade(intent.Objects{Pools: pools})
	s.promises.grace, _ = time.ParseDuration(grace)
	s.promises.doubt = true
	clear(s.promises.kept)
	clear(s.promises.back)
}
