package schema_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/schema"
)

func TestCheck(t *testing.T) {
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, kind, meta, spec string
		refused, dropped       string // parts of what is said; "": nothing
	}{
		{name: "a good pool", kind: "IPAddressPool", spec: "{addresses: [192.0.2.0/24]}"},
		{name: "a wrong type", kind: "IPAddressPool", spec: "{addresses: 192.0.2.0/24}", refused: "spec.addresses: Invalid value"},
		{name: "a missing field", kind: "IPAddressPool", spec: "{}", refused: "spec.addresses: Required value"},
		{name: "a CEL rule", kind: "IPAddressPool", spec: "{addresses: [192.0.2.1/24]}", refused: `spec.addresses[0]: Invalid value: "192.0.2.1/24": "192.0.2.1/24" has host bits set: write "192.0.2.0/24"`},
		{name: "an item of a set that comes twice", kind: "IPAddressPool", spec: "{addresses: [192.0.2.1, 192.0.2.1]}", refused: "spec.addresses[1]: Duplicate value"},
		{name: "an unknown field", kind: "IPAddressPool", spec: "{addresses: [192.0.2.1], autoAsign: false}", dropped: "spec.autoAsign"},
		{name: "a name that is none", kind: "IPAddressPool", meta: "{name: A_B}", spec: "{addresses: [192.0.2.1]}", refused: "metadata.name: Invalid value"},
		{name: "a label that is none", kind: "IPAddressPool", meta: "{name: a, labels: {a: b c}}", spec: "{addresses: [192.0.2.1]}", refused: "metadata.labels: Invalid value"},
		{name: "no name", kind: "IPAddressPool", meta: "{}", spec: "{addresses: [192.0.2.1]}", refused: "metadata.name: Required value"},
		{name: "a rule about the whole object", kind: "L2Claim", meta: "{name: other}", spec: "{address: 192.0.2.1, node: a}", refused: "the name must be the address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj := &unstructured.Unstructured{}
			if c.meta == "" {
				c.meta = "{name: a}"
			}
			text := "{apiVersion: steelyard.dev/v1beta1, kind: " + c.kind + ", metadata: " + c.meta + ", spec: " + c.spec + "}"
			if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
				t.Fatal(err)
			}
			refused, dropped := checker.Check(obj)
			said := ""
			if len(refused) > 0 {
				said = refused.ToAggregate().Error()
			}
			if (c.refused == "") != (said == "") || !strings.Contains(said, c.refused) {
				t.Errorf("refused with %q, want %q", said, c.refused)
			}
			if have := strings.Join(dropped, ","); have != c.dropped {
				t.Errorf("dropped %q, want %q", have, c.dropped)
			}
		})
	}
}
