package intent_test

import (
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestAnnounced(t *testing.T) {
	config := intent.Parse(parse(t, `IPAddressPool p {addresses: [10.0.0.1-10.0.0.9]}`))
	svc := read[corev1.Service](t, `{metadata: {namespace: "n", name: s, labels: {a: b}},
		spec: {externalTrafficPolicy: Local, ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}, {ip: 192.0.2.1}]}}}`)
	endpoints := []*discoveryv1.EndpointSlice{read[discoveryv1.EndpointSlice](t, `{addressType: IPv4, ports: [{port: 80}], endpoints: [
		{addresses: [10.1.0.1], nodeName: ready, conditions: {ready: true, serving: true}},
		{addresses: [10.1.0.2], nodeName: says-nothing},
		{addresses: [10.1.0.3], nodeName: ready-of-old, conditions: {ready: true}},
		{addresses: [10.1.0.4], nodeName: terminating, conditions: {ready: false, serving: true, terminating: true}},
		{addresses: [10.1.0.5], nodeName: unready, conditions: {ready: false, serving: false}},
		{addresses: [10.1.0.6], nodeName: unready-of-old, conditions: {ready: false}},
		{addresses: [10.1.0.7], conditions: {ready: true}}]}`),
		read[discoveryv1.EndpointSlice](t, `{addressType: IPv4, ports: [{port: 80}], endpoints: [
		{addresses: [10.1.0.8], nodeName: unready, conditions: {ready: false, serving: false}},
		{addresses: [10.1.0.9], nodeName: second-slice, conditions: {ready: true}}]}`)}
	want := announce.Service{
		Key: ipam.Key{Namespace: "n", Name: "s"}, Labels: map[string]string{"a": "b"}, Local: true,
		Addrs:    []announce.Address{{Addr: netip.MustParseAddr("10.0.0.1"), Pool: "p"}, {Addr: netip.MustParseAddr("192.0.2.1")}},
		ReadyOn4: map[string]bool{"ready": true, "says-nothing": true, "ready-of-old": true, "second-slice": true}, ReadyOn6: map[string]bool{},
	}
	if diff := gocmp.Diff(want, config.Announced(svc, endpoints, nil), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("with Local traffic, want -, have +:\n%s", diff)
	}
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	want.Local, want.ReadyOn4, want.ReadyOn6 = false, nil, nil
	if diff := gocmp.Diff(want, config.Announced(svc, endpoints, nil), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("with Cluster traffic, want -, have +:\n%s", diff)
	}
}

// TestEndpoints has for each case the EndpointSlices of a Service with the ports "http" and
// "dns" (UDP), the nodes that count for externalTrafficPolicy Local, and what keeps traffic out.
func TestEndpoints(t *testing.T) {
	const both = `ports: [{name: http, port: 8080}, {name: dns, protocol: UDP, port: 5353}]`
	http, dns := `"http" (targetPort web)`, `"dns"`
	for _, c := range []struct {
		name   string
		slices []string
		v4, v6 []string
		want   intent.Backends
	}{
		{"no EndpointSlice", nil, nil, nil, intent.Backends{V4: intent.Backend{Ports: 2, Unserved: []string{http, dns}}, V6: intent.Backend{Ports: 2, Unserved: []string{http, dns}}}},
		{"an endpoint with both ports", []string{`addressType: IPv4, ` + both + `, endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			[]string{"a"}, nil, backends(intent.Backend{Ports: 2, Serves: true})},
		{"a targetPort that no container has: the controller lists no port", []string{`addressType: IPv4, ports: [], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			nil, nil, backends(intent.Backend{Ports: 2, Serves: true, Unserved: []string{http, dns}})},
		{"one of the ports", []string{`addressType: IPv4, ports: [{name: dns, protocol: UDP, port: 5353}], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			[]string{"a"}, nil, backends(intent.Backend{Ports: 2, Serves: true, Unserved: []string{http}})},
		{"a port of another protocol", []string{`addressType: IPv4, ports: [{name: http, port: 8080}, {name: dns, protocol: TCP, port: 5353}], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			[]string{"a"}, nil, backends(intent.Backend{Ports: 2, Serves: true, Unserved: []string{dns}})},
		{"a port without a number", []string{`addressType: IPv4, ports: [{name: http}, {name: dns, protocol: UDP}], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			nil, nil, backends(intent.Backend{Ports: 2, Serves: true, Unserved: []string{http, dns}})},
		{"each port in a slice of its own", []string{
			`addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`,
			`addressType: IPv4, ports: [{name: dns, protocol: UDP, port: 53}], endpoints: [{addresses: [10.0.0.2], nodeName: b}]`},
			[]string{"a", "b"}, nil, backends(intent.Backend{Ports: 2, Serves: true})},
		{"the slice of a port has no endpoint that serves", []string{
			`addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.1], nodeName: a, conditions: {ready: false}}]`,
			`addressType: IPv4, ports: [{name: dns, protocol: UDP, port: 53}], endpoints: [{addresses: [10.0.0.2], nodeName: b}]`},
			[]string{"b"}, nil, backends(intent.Backend{Ports: 2, Serves: true, Unserved: []string{http}})},
		{"none is ready, and one that terminates serves", []string{`addressType: IPv4, ` + both + `, endpoints: [
			{addresses: [10.0.0.4], nodeName: terminating, conditions: {ready: false, serving: true, terminating: true}},
			{addresses: [10.0.0.5], nodeName: gone, conditions: {ready: false, serving: false, terminating: true}}]`},
			[]string{"terminating"}, nil, backends(intent.Backend{Ports: 2, Serves: true})},
		{"a ready one without the port does not supersede one that terminates and has it", []string{
			`addressType: IPv4, ` + both + `, endpoints: [{addresses: [10.0.0.4], nodeName: terminating, conditions: {ready: false, serving: true, terminating: true}}]`,
			`addressType: IPv4, ports: [], endpoints: [{addresses: [10.0.0.1], nodeName: a}]`},
			[]string{"terminating"}, nil, backends(intent.Backend{Ports: 2, Serves: true})},
		{"endpoints of the other family", []string{`addressType: IPv6, ` + both + `, endpoints: [{addresses: ["2001:db8::1"], nodeName: a}]`},
			nil, []string{"a"}, intent.Backends{V4: intent.Backend{Ports: 2, Unserved: []string{http, dns}}, V6: intent.Backend{Ports: 2, Serves: true}}},
		{"names of hosts", []string{`addressType: FQDN, ` + both + `, endpoints: [{addresses: [example.org], nodeName: a}]`},
			nil, nil, backends(intent.Backend{Ports: 2, Unserved: []string{http, dns}})},
		{"no node named: the address of a node, of its Pods, of nothing", []string{`addressType: IPv4, ` + both + `, endpoints: [
			{addresses: [192.0.2.11]}, {addresses: [10.244.2.7]}, {addresses: [10.9.9.9]}]`},
			[]string{"node1", "node2"}, nil, backends(intent.Backend{Ports: 2, Serves: true, Unnamed: true, Unplaced: true})},
		{"an endpoint that names its node counts before those that name none", []string{`addressType: IPv4, ` + both + `, endpoints: [{addresses: [192.0.2.11]}, {addresses: [10.0.0.1], nodeName: a}]`},
			[]string{"a"}, nil, backends(intent.Backend{Ports: 2, Serves: true})},
		{"Cilium's placeholder takes any port, on no node", []string{`addressType: IPv4, ports: [{port: 9999}], endpoints: [{addresses: [192.192.192.192]}]`},
			nil, nil, backends(intent.Backend{Ports: 2, Serves: true, Unnamed: true, Unplaced: true})},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := read[corev1.Service](t, `{spec: {externalTrafficPolicy: Local, ports: [{name: http, port: 80, targetPort: web}, {name: dns, protocol: UDP, port: 53}]}}`)
			var all []*discoveryv1.EndpointSlice
			for _, text := range c.slices {
				all = append(all, read[discoveryv1.EndpointSlice](t, "{"+text+"}"))
			}
			where := intent.PlacementOf([]corev1.Node{
				*read[corev1.Node](t, `{metadata: {name: node1}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}`),
				*read[corev1.Node](t, `{metadata: {name: node2}, spec: {podCIDRs: [10.244.2.0/24, "2001:db8:2::/64"]}}`),
				*read[corev1.Node](t, `{metadata: {name: wide}, spec: {podCIDR: 10.244.0.0/16}}`), // the longest prefix counts
			})
			have := intent.Config{}.Announced(svc, all, where)
			for family, on := range map[string][2]any{"IPv4": {set(c.v4), have.ReadyOn4}, "IPv6": {set(c.v6), have.ReadyOn6}} {
				if diff := gocmp.Diff(on[0], on[1]); diff != "" {
					t.Errorf("%s, want -, have +:\n%s", family, diff)
				}
			}
			if diff := gocmp.Diff(c.want, intent.BackendsOf(svc, all, where)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}

// backends are those of a Service with IPv4 endpoints only.
func backends(v4 intent.Backend) intent.Backends {
	return intent.Backends{V4: v4, V6: intent.Backend{Ports: 2, Unserved: []string{`"http" (targetPort web)`, `"dns"`}}}
}

func set(names []string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

func TestEndpointsOn(t *testing.T) {
	yes, no, here, there, port, name := true, false, "here", "there", int32(80), "http"
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name}}}}
	endpoint := func(node *string, ready, serving *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: node, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving}}
	}
	for _, c := range []struct {
		name           string
		endpoints      []discoveryv1.Endpoint
		ready, serving bool
	}{
		{"none", nil, false, false},
		{"one elsewhere, and one that is nowhere", []discoveryv1.Endpoint{endpoint(&there, &yes, &yes), endpoint(nil, &yes, &yes)}, false, false},
		{"one that is ready", []discoveryv1.Endpoint{endpoint(&here, &yes, &yes)}, true, true},
		{"one of which nothing is said", []discoveryv1.Endpoint{endpoint(&here, nil, nil)}, true, true},
		{"one that ends and serves", []discoveryv1.Endpoint{endpoint(&here, &no, &yes)}, false, true},
		{"one that does not serve", []discoveryv1.Endpoint{endpoint(&here, &no, &no), endpoint(&here, &no, nil)}, false, false},
		{"one that ends and one that is ready", []discoveryv1.Endpoint{endpoint(&here, &no, &yes), endpoint(&here, &yes, &yes)}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}, Endpoints: c.endpoints}
			portless := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{endpoint(&here, &yes, &yes)}}
			ready, serving := intent.EndpointsOn("here", svc, slices.Insert([]*discoveryv1.EndpointSlice{slice}, 0, portless), nil)
			if ready != c.ready || serving != c.serving {
				t.Errorf("ready %t, serving %t", ready, serving)
			}
		})
	}
}
