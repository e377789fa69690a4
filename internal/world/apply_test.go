package world_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/world"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// services is a world with one Service, that was applied by kubectl.
func services(t *testing.T) *world.Snapshot {
	w := parseWorld(t, "pool lan 192.0.2.0/24\nl2 lan\nnode a\nsvc s has 192.0.2.1 on a")
	s := &w.Services[0]
	s.Annotations["steelyard.dev/address-pool"] = "lan"
	s.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = `{"metadata":{"annotations":{"steelyard.dev/address-pool":"lan"}}}`
	s.Spec.ExternalTrafficPolicy = "Local"
	return w
}

func TestApplyMergesAsKubectlDoes(t *testing.T) {
	w := services(t)
	after := w.Clone()
	matters, err := after.Apply(object(t, `
apiVersion: v1
kind: Service
metadata: {name: s, namespace: "n", labels: {new: "yes"}}
spec: {type: LoadBalancer, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}
`))
	if err != nil || !matters {
		t.Fatalf("matters: %t, %v", matters, err)
	}
	s := after.Services[0]
	if _, still := s.Annotations["steelyard.dev/address-pool"]; still {
		t.Error("an annotation that was applied before, and is not any more, stays")
	}
	if s.Annotations[v1beta1.AnnotationPool] != "lan" || s.Spec.ExternalTrafficPolicy != "Local" {
		t.Errorf("what others have set is gone: %v %v", s.Annotations, s.Spec.ExternalTrafficPolicy)
	}
	if s.Labels["new"] != "yes" || len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Protocol != "TCP" || s.Spec.IPFamilies[0] != "IPv4" {
		t.Errorf("have %v %v", s.Labels, s.Spec)
	}
	if ip := s.Status.LoadBalancer.Ingress[0].IP; ip != "192.0.2.1" {
		t.Errorf("the status was written: %s", ip)
	}
	if before := w.Services[0]; before.Labels["new"] != "" || before.Spec.Ports[0].Name != "http" {
		t.Error("the world before was changed as well")
	}
}

func TestApplyMakesWhatIsNotThereTheYoungest(t *testing.T) {
	w := parseWorld(t, "pool lan 192.0.2.0/24")
	if _, err := w.Apply(object(t, "{apiVersion: steelyard.dev/v1beta1, kind: IPAddressPool, metadata: {name: a}, spec: {addresses: [192.0.2.0/25]}}")); err != nil {
		t.Fatal(err)
	}
	v := w.Evaluate().Checked.Validations
	for ref, result := range v {
		if (ref.Name == "a") != (result.Accepted.Reason == v1beta1.ReasonOverlaps) {
			t.Errorf("%v: %+v", ref, result)
		}
	}
}

func TestApplyOfWhatIsThereChangesNothing(t *testing.T) {
	w := parseWorld(t, "pool lan 192.0.2.0/24\nl2 lan\nnode a\nnode b excluded\nsvc s has 192.0.2.1 on a\nsvc t\nclaim 192.0.2.1 a")
	after := w.Clone()
	for _, text := range []string{
		"{apiVersion: v1, kind: Node, metadata: {name: a}}",
		"{apiVersion: v1, kind: Service, metadata: {name: s, namespace: \"n\"}, spec: {type: LoadBalancer}}",
		"{apiVersion: steelyard.dev/v1beta1, kind: L2Advertisement, metadata: {name: lan}}",
	} {
		if _, err := after.Apply(object(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	if d := w.Evaluate().Compare(after.Evaluate()); len(d) != 0 {
		t.Errorf("these change: %+v", d)
	}
}

func TestDelete(t *testing.T) {
	w := services(t)
	if _, err := w.Delete(object(t, "{apiVersion: v1, kind: Node, metadata: {name: b}}")); err == nil || !strings.Contains(err.Error(), "Node b: it is not there") {
		t.Errorf("a node that is not there: %v", err)
	}
	if matters, err := w.Delete(object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}")); err != nil || matters {
		t.Errorf("a Deployment: %t, %v", matters, err)
	}
	w.Namespaces = append(w.Namespaces, *namespace("n"))
	if _, err := w.Delete(object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: "n"}}`)); err != nil || len(w.Services)+len(w.Endpoints) > 0 {
		t.Errorf("a namespace: %v, %d Services", err, len(w.Services))
	}
}

// TestEffects tells what becomes of a Service from one world to another.
func TestEffects(t *testing.T) {
	const base = "pool lan 192.0.2.0/24\nl2 lan\nnode a\nnode b\n"
	for _, c := range []struct {
		name, before, after string
		want                world.Effect
	}{
		{"nothing", base + "svc s has 192.0.2.1", base + "svc s has 192.0.2.1", world.Unchanged},
		{"it comes", base, base + "svc s", world.Gains},
		{"it comes in vain", base, base + "svc s wants 198.51.100.1", world.Refused},
		{"it goes", base + "svc s has 192.0.2.1", base, world.Vanishes},
		{"it goes without ever having had anything", base + "svc s wants 198.51.100.1", base, world.Unchanged},
		{"it becomes another's", base + "svc s has 192.0.2.1", base + "svc s has 192.0.2.1 class c", world.Vanishes},
		{"it loses its pool", base + "svc s has 192.0.2.1", "svc s has 192.0.2.1", world.Loses},
		{"it asks for another address", base + "svc s has 192.0.2.1", base + "svc s has 192.0.2.1 wants 192.0.2.9", world.Changes},
		{"it is not advertised any more", base + "svc s has 192.0.2.1", "pool lan 192.0.2.0/24\nnode a\nsvc s has 192.0.2.1", world.Withdrawn},
		{"it is advertised", "pool lan 192.0.2.0/24\nnode a\nsvc s has 192.0.2.1", base + "svc s has 192.0.2.1", world.Announced},
		{"its node goes", base + "svc s has 192.0.2.1\nclaim 192.0.2.1 a", "pool lan 192.0.2.0/24\nl2 lan\nnode a excluded\nnode b\nsvc s has 192.0.2.1\nclaim 192.0.2.1 a", world.Moves},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := world.Unchanged
			for _, d := range parseWorld(t, c.before).Evaluate().Compare(parseWorld(t, c.after).Evaluate()) {
				have = d.Effect
			}
			if have != c.want {
				t.Errorf("want %q, have %q", c.want, have)
			}
		})
	}
}

// A claim that is edited, or deleted, is as it was in the world before.
func TestClaimsAreCloned(t *testing.T) {
	w := services(t)
	for _, node := range []string{"a", "b"} {
		var c v1beta1.L2Claim
		c.Name, c.Spec.Address, c.Spec.Node = "192.0.2.1"+node, "192.0.2.1", node
		w.Claims = append(w.Claims, c)
	}
	claim := object(t, `
apiVersion: steelyard.dev/v1beta1
kind: L2Claim
metadata: {name: 192.0.2.1a}
spec: {address: 192.0.2.1, node: c}
`)
	edited, deleted := w.Clone(), w.Clone()
	if _, err := edited.Apply(claim); err != nil {
		t.Fatal(err)
	}
	if _, err := deleted.Delete(claim); err != nil {
		t.Fatal(err)
	}
	if edited.Claims[0].Spec.Node != "c" || len(deleted.Claims) != 1 {
		t.Errorf("edited %v, deleted %v", edited.Claims, deleted.Claims)
	}
	if w.Claims[0].Spec.Node != "a" || w.Claims[1].Spec.Node != "b" {
		t.Errorf("the world before was changed as well: %v", w.Claims)
	}
}
