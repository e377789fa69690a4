package intent_test

import (
	"testing"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestRefuses(t *testing.T) {
	shop := intent.Consumer{Namespace: "shop", NamespaceLabels: map[string]string{"team": "red"}, Labels: map[string]string{"app": "web"}}
	for _, c := range []struct{ name, allocation, want, only string }{
		{"a pool without selectors serves all", `{priority: 3}`, "", ""},
		{"one that names the namespace", `{namespaces: [shop, a]}`, "", "Services of namespace a, shop"},
		{"one that names others", `{namespaces: [b, a]}`, "it serves only namespace a, b", "Services of namespace a, b"},
		{"one that selects the namespace", `{namespaces: [a], namespaceSelectors: [{matchLabels: {team: red}}]}`, "", "Services of namespace a, and those of namespaces with team=red"},
		{"one that selects others", `{namespaceSelectors: [{matchLabels: {team: blue}}]}`, "its namespaceSelectors do not match namespace shop", "Services of namespaces with team=blue"},
		{"one that does neither", `{namespaces: [a], namespaceSelectors: [{matchLabels: {team: blue}}]}`, "neither its namespaces (a) nor its namespaceSelectors match namespace shop", "Services of namespace a, and those of namespaces with team=blue"},
		{"one that selects other Services", `{namespaces: [shop], serviceSelectors: [{matchLabels: {app: db}}]}`, "its serviceSelectors do not match the Service's labels", "Services of namespace shop, and of these only those with app=db"},
		{"one that selects Services of any namespace", `{serviceSelectors: [{matchLabels: {app: db}}, {matchLabels: {app: mail}}]}`, "its serviceSelectors do not match the Service's labels", "Services with app=db or app=mail"},
		{"one that selects all", `{serviceSelectors: [{}]}`, "", "Services with any labels"},
		{"one whose selector can't be read", `{serviceSelectors: [{matchExpressions: [{key: a, operator: nonsense}]}]}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := read[v1beta1.ServiceAllocation](t, c.allocation)
			have := intent.Refuses(a, shop)
			if have != c.want {
				t.Errorf("want %q, have %q", c.want, have)
			}
			pool := v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.1"}, ServiceAllocation: a}}
			pools := intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{pool}}).Pools
			if pools[0].Only != c.only {
				t.Errorf("serves only %q, want %q", pools[0].Only, c.only)
			}
			if serves := pools.Serves(0, shop); serves != (have == "") {
				t.Errorf("Serves says %t, Refuses %q", serves, have)
			}
		})
	}
	if have := intent.Refuses(nil, shop); have != "" {
		t.Errorf("without an allocation: %q", have)
	}
}
