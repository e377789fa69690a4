package planner

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// following is a cluster with a pool that follows a prefix.
func following(hosts v1beta1.AddressRange) *moved {
	m := &moved{now: time.Unix(1000, 0), pools: []v1beta1.IPAddressPool{graced("wan", "0s", hosts)}}
	m.pools[0].Spec.Source = &v1beta1.PoolSource{Type: v1beta1.SourcePrefix, Prefix: &v1beta1.PrefixSource{ConfigMap: &v1beta1.PrefixConfigMap{Name: "wan"}, Overlap: "1h"}}
	return m
}

// provide has the ConfigMap say text; "-": it is not there.
func (m *moved) provide(text string) {
	m.maps = []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "wan"}, Data: map[string]string{"prefix": text}}}
	if text == "-" {
		m.maps = nil
	}
}

func sixService(name string, age int64) *corev1.Service {
	svc := aService(name, age)
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	return svc
}

func TestServicesFollowThePrefix(t *testing.T) {
	m := following("::1:0/124")
	m.services = []*corev1.Service{sixService("a", 0), sixService("b", 1)}
	m.services[1].Annotations = map[string]string{v1beta1.AnnotationRenumbering: v1beta1.RenumberingSwitch}
	for _, step := range []struct {
		says   string
		passes time.Duration // before
		want   string
		events string
	}{
		{"-", 0, "a ; b ; ", "NotFound"},
		{"2001:db8:1::/64", 0, "a 2001:db8:1::1:0; b 2001:db8:1::1:1; ", "PrefixKnown"},
		{"2001:db8:2::/64", 0, "a 2001:db8:2::1:0, 2001:db8:1::1:0; b 2001:db8:2::1:1; ", "PrefixChanged"},
		{"2001:db8:1::/64", 0, "a 2001:db8:1::1:0, 2001:db8:2::1:0; b 2001:db8:1::1:1; ", "PrefixChanged"},
		{"192.0.2.0/24", 0, "a 2001:db8:1::1:0, 2001:db8:2::1:0; b 2001:db8:1::1:1; ", "Invalid"},
		{"-", 0, "a 2001:db8:1::1:0, 2001:db8:2::1:0; b 2001:db8:1::1:1; ", "NotFound"},
		{"-", time.Hour, "a 2001:db8:1::1:0; b 2001:db8:1::1:1; ", ""},
		{"2001:db8:3::/64", time.Hour, "a 2001:db8:3::1:0, 2001:db8:1::1:0; b 2001:db8:3::1:1; ", "PrefixChanged PrefixKnown"},
		{"2001:db8:3::/64", time.Hour, "a 2001:db8:3::1:0; b 2001:db8:3::1:1; ", ""},
	} {
		m.provide(step.says)
		m.now = m.now.Add(step.passes)
		before := m.pools[0].DeepCopy()
		m.pass() // the prefix is written
		var events []string
		for _, e := range (StatusChange{Kind: "IPAddressPool", Before: before, After: &m.pools[0]}).Turned() {
			if e.Reason != v1beta1.ReasonProgrammed && !strings.HasPrefix(e.Reason, v1beta1.ReasonAccepted) {
				events = append(events, e.Reason)
			}
		}
		if have := strings.Join(events, " "); have != step.events {
			t.Errorf("%s: events %q, want %q", step.says, have, step.events)
		}
		m.pass()
		if have := m.pass(); have != step.want {
			t.Fatalf("%s: %q, want %q", step.says, have, step.want)
		}
	}
	if u := m.pools[0].Status.IPv6; u.Capacity != "16" || u.Assigned != "2" || u.Available != "14" {
		t.Errorf("the pool counts %+v", u)
	}
}

// What a pool had before counts for nothing.
func TestAddressesOfThePrefixBeforeAreNotCounted(t *testing.T) {
	m := following("::1:0/127")
	m.services = []*corev1.Service{sixService("a", 0), sixService("b", 1)}
	for _, says := range []string{"2001:db8:1::/64", "2001:db8:2::/64"} {
		m.provide(says)
		for range 3 {
			m.pass()
		}
	}
	if u := m.pools[0].Status.IPv6; u.Capacity != "2" || u.Assigned != "2" || u.Available != "0" || len(intent.Holds(m.services[0])) != 2 {
		t.Errorf("the pool counts %+v, and Services have %v", u, intent.Holds(m.services[0]))
	}
}

// Whatever becomes of the prefix: no address is on two Services, each Service has the same host part under the current
// prefix as ever, and loses none before its prefix ends.
func TestWhateverBecomesOfThePrefixNoServiceLosesAnAddress(t *testing.T) {
	for seed := range int64(60) {
		rng := rand.New(rand.NewSource(seed))
		m := following("::1:0/123")
		host := map[string]netip.Addr{}
		for step := range 40 {
			switch n := rng.Intn(10); {
			case n < 4:
				m.provide(fmt.Sprintf("2001:db8:%d::/64", 1+rng.Intn(4)))
			case n < 5:
				m.provide([]string{"-", "words", "fe80::/64", "2001:db8:9::/120"}[rng.Intn(4)])
			case n < 7:
				m.now = m.now.Add(time.Duration(rng.Intn(60)) * time.Minute)
			case n < 8 && len(m.services) > 0:
				i := rng.Intn(len(m.services))
				delete(host, m.services[i].Name)
				m.services = slices.Delete(slices.Clone(m.services), i, i+1)
			default:
				svc := sixService(fmt.Sprint("s", step), int64(step))
				if rng.Intn(3) == 0 {
					svc.Annotations = map[string]string{v1beta1.AnnotationRenumbering: v1beta1.RenumberingSwitch}
				}
				m.services = append(m.services, svc)
			}
			for range 1 + rng.Intn(3) {
				if err := m.keepsItsPromise(); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			}
			if err := m.settled(host); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

// keepsItsPromise makes a pass, and says who lost an address of a prefix that had not ended.
func (m *moved) keepsItsPromise() error {
	had := map[string][]netip.Addr{}
	for _, svc := range m.services {
		had[svc.Name] = intent.Holds(svc)
	}
	m.pass()
	users := map[netip.Addr]string{}
	for _, svc := range m.services {
		has := intent.Holds(svc)
		for _, a := range has {
			if users[a] != "" {
				return fmt.Errorf("%s is on %s and %s", a, users[a], svc.Name)
			}
			users[a] = svc.Name
		}
		for _, a := range had[svc.Name] {
			switches := switchesAtOnce(svc) && len(has) > 0
			if m.stays(a) && !switches && !slices.Contains(has, a) {
				return fmt.Errorf("%s had %v and has %v, under %s", svc.Name, had[svc.Name], has, prefixesOf(&m.pools[0]))
			}
		}
	}
	return nil
}

func switchesAtOnce(svc *corev1.Service) bool {
	return svc.Annotations[v1beta1.AnnotationRenumbering] == v1beta1.RenumberingSwitch
}

// stays reports whether a is under the current prefix, or one before that has not ended.
func (m *moved) stays(a netip.Addr) bool {
	return slices.ContainsFunc(prefixesOf(&m.pools[0]), func(p netip.Prefix) bool { return p.Contains(a) })
}

func prefixesOf(o *v1beta1.IPAddressPool) (out []netip.Prefix) {
	if s := o.Status.Prefix; s != nil {
		out = append(out, netip.MustParsePrefix(s.Current))
		for _, p := range s.Previous {
			out = append(out, netip.MustParsePrefix(p.Prefix))
		}
	}
	return out
}

// settled lets two passes go by, and says whose first address is not the one with its host part under the current
// prefix.
func (m *moved) settled(host map[string]netip.Addr) error {
	m.pass()
	m.pass()
	all := prefixesOf(&m.pools[0])
	if len(all) == 0 {
		return nil
	}
	for _, svc := range m.services {
		has := intent.Holds(svc)
		if len(has) == 0 || !all[0].Contains(has[0]) {
			return fmt.Errorf("%s has %v, under %s", svc.Name, has, all)
		}
		part := has[0].As16()
		copy(part[:8], make([]byte, 8))
		if before := host[svc.Name]; before.IsValid() && before != netip.AddrFrom16(part) {
			return fmt.Errorf("%s had the host part %s, and has %v", svc.Name, before, has)
		}
		host[svc.Name] = netip.AddrFrom16(part)
		if switchesAtOnce(svc) && len(has) > 1 {
			return fmt.Errorf("%s switches, and has %v", svc.Name, has)
		}
	}
	return nil
}
