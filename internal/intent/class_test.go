package intent_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		flags                []string
		without, edge, other bool
		text                 string
	}{
		{nil, true, false, false, "Services that name no class"},
		{[]string{""}, true, false, false, "Services that name no class"},
		{[]string{"example.org/edge"}, false, true, false, "Services of class example.org/edge"},
		{[]string{"example.org/edge", ""}, true, true, false, "Services of class example.org/edge and those that name none"},
		{[]string{"", "example.org/edge"}, true, true, false, "Services of class example.org/edge and those that name none"},
		{[]string{"example.org/edge,example.org/other"}, false, true, true, "Services of class example.org/edge and example.org/other"},
		{[]string{"example.org/edge,", "example.org/other"}, true, true, true, "Services of class example.org/edge and example.org/other and those that name none"},
	} {
		classes := ""
		add := intent.AddClass(&classes)
		for _, f := range c.flags {
			if err := add(f); err != nil {
				t.Fatal(err)
			}
		}
		for class, want := range map[string]bool{"": c.without, "example.org/edge": c.edge, "example.org/other": c.other, "example.org": false} {
			svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
			if class != "" {
				svc.Spec.LoadBalancerClass = &class
			}
			if intent.Ours(svc, classes) != want {
				t.Errorf("flags %q: a Service of class %q is ours: %t", c.flags, class, !want)
			}
		}
		if have := intent.ClassesText(classes); have != c.text {
			t.Errorf("flags %q: %s", c.flags, have)
		}
	}
}
