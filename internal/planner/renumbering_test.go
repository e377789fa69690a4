package planner

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// moved is a cluster whose pool "old" is being replaced by "new".
type moved struct {
	pools    []v1beta1.IPAddressPool
	services []*corev1.Service
	now      time.Time
	maps     []corev1.ConfigMap
}

// pass has a new controller, which remembers nothing, decide, and has its writes arrive. It returns what the Services
// show, and what the status of the old pool says.
func (m *moved) pass() string {
	objects := intent.Objects{Pools: slices.Clone(m.pools)}
	in := Input{Now: m.now, Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: map[string]map[string]string{"n": nil}, Services: m.services}
	plan, sends, _ := New(nil, Finalizer{}).Pass(in)
	for _, c := range Statuses(in.Configured, Reports{Now: m.now, ConfigMaps: m.maps}, plan.Summary()) {
		for i := range m.pools {
			if p, is := c.After.(*v1beta1.IPAddressPool); is && p.Name == m.pools[i].Name {
				m.pools[i] = *p
			}
		}
	}
	m.services = slices.Clone(m.services)
	for _, w := range sends {
		i := slices.Index(m.services, w.Service)
		after := w.Service.DeepCopy()
		w.Change.Apply(after, Finalizer{})
		m.services[i] = after
	}
	var out string
	for _, svc := range m.services {
		out += fmt.Sprintf("%s %s; ", svc.Name, intent.Join(intent.Holds(svc)))
	}
	if s := m.pools[0].Status.Renumbering; s != nil {
		out += fmt.Sprintf("%s %d of %d", s.Phase, s.Moved, s.Services)
		if s.Since != nil {
			out += fmt.Sprintf(" since %d", s.Since.Unix())
		}
	}
	m.now = m.now.Add(time.Second)
	return out
}

func TestServicesMoveFromPoolToPool(t *testing.T) {
	m := &moved{now: time.Unix(1000, 0), pools: []v1beta1.IPAddressPool{graced("old", "0s", "192.0.2.0/28"), graced("new", "0s", "198.51.100.0/28")}}
	m.pools[0].Spec.ReplacedBy = "new"
	m.pools[1].CreationTimestamp = metav1.NewTime(time.Unix(5, 0))
	no := false
	m.pools[1].Spec.AutoAssign = &no
	m.services = []*corev1.Service{aService("a", 0), aService("b", 1)}
	m.services[1].Annotations = map[string]string{v1beta1.AnnotationRenumbering: v1beta1.RenumberingSwitch}
	for _, step := range []struct {
		phase v1beta1.RenumberingPhase
		want  string
	}{
		{"", "a 192.0.2.0; b 192.0.2.1; "},
		{v1beta1.RenumberingPlanned, "a 192.0.2.0; b 192.0.2.1; "},
		{v1beta1.RenumberingStarted, "a 192.0.2.0, 198.51.100.0; b 192.0.2.1; Started 0 of 2"},
		{"", "a 192.0.2.0, 198.51.100.0; b 192.0.2.1; Started 1 of 2 since 1003"},
		{"", "a 192.0.2.0, 198.51.100.0; b 192.0.2.1; Started 1 of 2 since 1003"},
		{v1beta1.RenumberingPlanned, "a 192.0.2.0; b 192.0.2.1; "},
		{v1beta1.RenumberingStarted, "a 192.0.2.0, 198.51.100.0; b 192.0.2.1; Started 0 of 2"},
		{v1beta1.RenumberingSwitched, "a 198.51.100.0, 192.0.2.0; b 198.51.100.1; Switched 1 of 2"},
		{"", "a 198.51.100.0, 192.0.2.0; b 198.51.100.1; Switched 1 of 1 since 1008"},
		{v1beta1.RenumberingStarted, "a 192.0.2.0, 198.51.100.0; b 198.51.100.1; Started 1 of 1"},
		{v1beta1.RenumberingSwitched, "a 198.51.100.0, 192.0.2.0; b 198.51.100.1; Switched 1 of 1"},
		{v1beta1.RenumberingFinished, "a 198.51.100.0; b 198.51.100.1; Finished 1 of 1"},
		{"", "a 198.51.100.0; b 198.51.100.1; Finished 0 of 0 since 1012"},
	} {
		if step.phase != "" {
			m.pools[0].Spec.Renumbering = &v1beta1.Renumbering{Phase: step.phase}
		}
		if have := m.pass(); have != step.want {
			t.Fatalf("%s: %q, want %q", step.phase, have, step.want)
		}
	}
}

// Whatever some Services hold when a renumbering starts, all have the addresses at its end that its start said, and
// no address is ever on two.
func TestARenumberingEndsWhereItsPlanSays(t *testing.T) {
	m := &moved{now: time.Unix(1000, 0), pools: []v1beta1.IPAddressPool{graced("old", "0s", "192.0.2.0/28"), graced("new", "0s", "198.51.100.0/28", "203.0.113.0/29")}}
	m.pools[0].Spec.ReplacedBy = "new"
	m.pools[1].CreationTimestamp = metav1.NewTime(time.Unix(5, 0))
	for i := range 12 {
		svc := aService(fmt.Sprint("s", i), int64(i))
		if i%4 == 3 {
			svc.Annotations = map[string]string{v1beta1.AnnotationAddressCount: "2"}
		}
		m.services = append(m.services, svc)
	}
	m.pass()
	m.pools[0].Spec.Renumbering = &v1beta1.Renumbering{Phase: v1beta1.RenumberingStarted}
	m.pass()
	planned := map[string][]netip.Addr{}
	for _, svc := range m.services {
		for _, a := range intent.Holds(svc) {
			if !netip.MustParsePrefix("192.0.2.0/28").Contains(a) {
				planned[svc.Name] = append(planned[svc.Name], a)
			}
		}
	}
	for _, phase := range []v1beta1.RenumberingPhase{v1beta1.RenumberingSwitched, v1beta1.RenumberingFinished} {
		m.pools[0].Spec.Renumbering.Phase = phase
		m.pass()
		has := map[netip.Addr]string{}
		for _, svc := range m.services {
			for _, a := range intent.Holds(svc) {
				if has[a] != "" {
					t.Errorf("%s: %s is on %s and %s", phase, a, has[a], svc.Name)
				}
				has[a] = svc.Name
			}
		}
	}
	for _, svc := range m.services {
		if have := intent.Holds(svc); !slices.Equal(have, planned[svc.Name]) || len(have) == 0 {
			t.Errorf("%s has %v, and the start said %v", svc.Name, have, planned[svc.Name])
		}
	}
}
