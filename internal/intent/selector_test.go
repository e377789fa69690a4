package intent_test

import (
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestWhichServicesAPoolServes(t *testing.T) {
	web := intent.Consumer{Namespace: "shop", NamespaceLabels: map[string]string{"team": "red"}, Labels: map[string]string{"tier": "front"}}
	for _, c := range []struct {
		name, allocation string
		want             bool
	}{
		{name: "without selectors it serves all", allocation: `{priority: 1}`, want: true},
		{name: "it serves a namespace by name", allocation: `{namespaces: [other, shop]}`, want: true},
		{name: "it does not serve other namespaces", allocation: `{namespaces: [other]}`},
		{name: "it serves a namespace by label", allocation: `{namespaceSelectors: [{matchLabels: {team: blue}}, {matchLabels: {team: red}}]}`, want: true},
		{name: "it does not serve namespaces of other labels", allocation: `{namespaceSelectors: [{matchLabels: {team: blue}}]}`},
		{name: "a name or a label of the namespace suffices", allocation: `{namespaces: [other], namespaceSelectors: [{matchLabels: {team: red}}]}`, want: true},
		{name: "it serves Services by label", allocation: `{serviceSelectors: [{matchLabels: {tier: back}}, {matchLabels: {tier: front}}]}`, want: true},
		{name: "it does not serve Services of other labels", allocation: `{serviceSelectors: [{matchLabels: {tier: back}}]}`},
		{name: "namespace and Service must both fit", allocation: `{namespaces: [shop], serviceSelectors: [{matchLabels: {tier: back}}]}`},
		{name: "a Service of the right label in the wrong namespace does not fit", allocation: `{namespaces: [other], serviceSelectors: [{matchLabels: {tier: front}}]}`},
		{name: "labels of the Service never stand in for its namespace", allocation: `{namespaceSelectors: [{matchLabels: {tier: front}}]}`},
		{name: "labels of the namespace never stand in for the Service's", allocation: `{serviceSelectors: [{matchLabels: {team: red}}]}`},
		{name: "an empty selector of Services fits all", allocation: `{namespaces: [shop], serviceSelectors: [{}]}`, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := intent.Parse(parse(t, `IPAddressPool p {addresses: [10.0.0.1], serviceAllocation: `+c.allocation+`}`))
			if have := config.Pools.Serves(0, web); have != c.want {
				t.Errorf("want %v, have %v", c.want, have)
			}
			key := ipam.Key{Namespace: "shop", Name: "web"}
			pools := config.Pools.Bind(func(k ipam.Key, pool int) bool { return k == key && config.Pools.Serves(pool, web) })
			if have := pools[0].Serves(key); have != c.want {
				t.Errorf("bound: want %v, have %v", c.want, have)
			}
		})
	}
}

func TestSelectorsOfAdvertisementsAndPeers(t *testing.T) {
	config := intent.Parse(parse(t, `
		L2Advertisement ad {nodeSelectors: [{matchLabels: {a: "1"}}, {matchLabels: {a: "2"}}], serviceSelectors: [{matchLabels: {a: "3"}}], preferredNodeSelectors: [{weight: 1, preference: {matchLabels: {a: "4"}}}]}
		BGPAdvertisement ad {nodeSelectors: [{matchExpressions: [{key: a, operator: NotIn, values: ["1"]}]}]}
		BGPPeer tor {myASN: 1, peerASN: 2, peerAddress: 10.9.0.1, nodeSelectors: [{matchLabels: {a: "5"}}]}`))
	have := map[string][]string{}
	for _, value := range []string{"1", "2", "3", "4", "5"} {
		labels := map[string]string{"a": value}
		for name, selects := range map[string]func(map[string]string) bool{
			"l2 nodes": config.L2[0].Nodes, "l2 services": config.L2[0].Services, "preference": config.L2[0].Prefer[0].Nodes,
			"bgp nodes": config.BGP[0].Nodes, "peer nodes": config.Neighbors[0].Nodes,
		} {
			if selects(labels) {
				have[name] = append(have[name], value)
			}
		}
	}
	want := map[string][]string{
		"l2 nodes": {"1", "2"}, "l2 services": {"3"}, "preference": {"4"}, "bgp nodes": {"2", "3", "4", "5"}, "peer nodes": {"5"},
	}
	if diff := gocmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	if config.BGP[0].Services != nil {
		t.Error("without selectors not all Services are selected")
	}
}

func TestPoolOf(t *testing.T) {
	config := intent.Parse(parse(t, `
		IPAddressPool p {addresses: [10.0.0.0/24], exclude: [10.0.0.9], avoidBuggyIPs: true}
		IPAddressPool q {addresses: [10.0.1.0/24, ten]}
		IPAddressPool r {addresses: [10.0.0.0/31, 10.0.0.9]}`))
	for addr, want := range map[string]string{"10.0.0.1": "p", "10.0.0.9": "r", "10.0.0.0": "r", "10.0.0.255": "", "10.0.1.0": "q", "10.0.2.1": "", "::1": ""} {
		if have := config.PoolOf(netip.MustParseAddr(addr)); have != want {
			t.Errorf("%s: want %q, have %q", addr, want, have)
		}
	}
}
