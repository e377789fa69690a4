package intent_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// read turns YAML into an object.
func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func TestOurs(t *testing.T) {
	for _, c := range []struct {
		name, spec, class string
		want              bool
	}{
		{name: "a Service without class is for the default load balancer", spec: "type: LoadBalancer", want: true},
		{name: "a Service without class is not for one with a class", spec: "type: LoadBalancer", class: "steelyard.dev/x"},
		{name: "a Service with a class is for the load balancer of that class", spec: "{type: LoadBalancer, loadBalancerClass: steelyard.dev/x}", class: "steelyard.dev/x", want: true},
		{name: "a Service with a class is not for the default", spec: "{type: LoadBalancer, loadBalancerClass: steelyard.dev/x}"},
		{name: "a Service with a class is not for another", spec: "{type: LoadBalancer, loadBalancerClass: steelyard.dev/x}", class: "steelyard.dev/y"},
		{name: "a Service of another type is not ours", spec: "{type: NodePort, loadBalancerClass: steelyard.dev/x}", class: "steelyard.dev/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := &corev1.Service{Spec: *read[corev1.ServiceSpec](t, c.spec)}
			if have := intent.Ours(svc, c.class); have != c.want {
				t.Errorf("want %v, have %v", c.want, have)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	v4 := ipam.Families{Want: []ipam.Family{ipam.IPv4}, All: true}
	both := []ipam.Family{ipam.IPv4, ipam.IPv6}
	own := ipam.Share{Pods: "n/s"}
	for _, c := range []struct {
		name, svc string
		want      ipam.Request
	}{
		{name: "a plain Service wants one IPv4 address", svc: `{}`, want: ipam.Request{Families: v4, Share: own}},
		{name: "ports are taken with their protocols", svc: `spec: {ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}]}`,
			want: ipam.Request{Families: v4, Share: own, Ports: []ipam.Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}}}},
		{name: "single-stack IPv6 is wanted as such", svc: `spec: {ipFamilies: [IPv6], ipFamilyPolicy: SingleStack}`,
			want: ipam.Request{Families: ipam.Families{Want: []ipam.Family{ipam.IPv6}, All: true}, Share: own}},
		{name: "required dual-stack wants both", svc: `spec: {ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack}`,
			want: ipam.Request{Families: ipam.Families{Want: both, All: true}, Share: own}},
		{name: "preferred dual-stack wants any, in its order", svc: `spec: {ipFamilies: [IPv6, IPv4], ipFamilyPolicy: PreferDualStack}`,
			want: ipam.Request{Families: ipam.Families{Want: []ipam.Family{ipam.IPv6, ipam.IPv4}}, Share: own}},
		{name: "a pool is asked for by annotation", svc: `metadata: {annotations: {steelyard.dev/address-pool: p}}`,
			want: ipam.Request{Families: v4, Share: own, Pool: "p"}},
		{name: "addresses are asked for by annotation", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1, 2001:db8::1"}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}}},
		{name: "an empty annotation asks for nothing", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: " "}}`, want: ipam.Request{Families: v4, Share: own}},
		{name: "an address is asked for by field", svc: `spec: {loadBalancerIP: 10.0.0.1}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		{name: "field and annotation may agree", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: 10.0.0.1}}, spec: {loadBalancerIP: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		{name: "addresses are compared, not their spelling", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "2001:DB8:0::1"}}, spec: {loadBalancerIP: "2001:db8::1"}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}},
		{name: "the field may be one of the annotation's", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1,2001:db8::1"}}, spec: {loadBalancerIP: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}}},
		{name: "or of the family that the annotation does not name", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "2001:db8::1"}}, spec: {loadBalancerIP: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.1")}}},
		{name: "but not another one than the annotation's", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1,2001:db8::1"}}, spec: {loadBalancerIP: "2001:db8::2"}}`,
			want: ipam.Request{Families: v4, Share: own, Contradicts: true, Invalid: `spec.loadBalancerIP is "2001:db8::2" and annotation steelyard.dev/loadBalancerIPs has "2001:db8::1": remove one of them`}},
		{name: "an IPv4 address in the dress of IPv6 can't be read", svc: `spec: {loadBalancerIP: "::ffff:10.0.0.1"}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `spec.loadBalancerIP: "::ffff:10.0.0.1" is not an IPv4 or IPv6 address`}},
		{name: "nor can one with a zone", svc: `spec: {loadBalancerIP: "2001:db8::1%eth0"}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `spec.loadBalancerIP: "2001:db8::1%eth0" is not an IPv4 or IPv6 address`}},
		{name: "field and annotation that differ can't be read", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: 10.0.0.2}}, spec: {loadBalancerIP: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Contradicts: true, Invalid: `spec.loadBalancerIP is "10.0.0.1" and annotation steelyard.dev/loadBalancerIPs has "10.0.0.2": remove one of them`}},
		{name: "several addresses of one family are asked for", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.2,10.0.0.1"}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")}}},
		{name: "and the field may be one of them", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.2,10.0.0.1"}}, spec: {loadBalancerIP: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Want: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")}}},
		{name: "but not another one", svc: `{metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.2,10.0.0.1"}}, spec: {loadBalancerIP: 10.0.0.3}}`,
			want: ipam.Request{Families: v4, Share: own, Contradicts: true, Invalid: `spec.loadBalancerIP is "10.0.0.3" and annotation steelyard.dev/loadBalancerIPs has "10.0.0.2": remove one of them`}},
		{name: "an address that stands twice in the list can't be read", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1,10.0.0.1"}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: "annotation steelyard.dev/loadBalancerIPs has 10.0.0.1 twice"}},
		{name: "nor can nine addresses", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9"}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: "annotation steelyard.dev/loadBalancerIPs has more than 8 addresses of one family, which is as many as a Service may have"}},
		{name: "a number of addresses is asked for", svc: `metadata: {annotations: {steelyard.dev/address-count: "8"}}`,
			want: ipam.Request{Families: v4, Share: own, Count: 8}},
		{name: "nine are too many", svc: `metadata: {annotations: {steelyard.dev/address-count: "9"}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `annotation steelyard.dev/address-count is "9": it must be a number from 1 to 8`}},
		{name: "none are too few", svc: `metadata: {annotations: {steelyard.dev/address-count: "0"}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `annotation steelyard.dev/address-count is "0": it must be a number from 1 to 8`}},
		{name: "a word is no number", svc: `metadata: {annotations: {steelyard.dev/address-count: two}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `annotation steelyard.dev/address-count is "two": it must be a number from 1 to 8`}},
		{name: "a number may be greater than that of the addresses which are named", svc: `metadata: {annotations: {steelyard.dev/address-count: " 2", steelyard.dev/loadBalancerIPs: 10.0.0.1}}`,
			want: ipam.Request{Families: v4, Share: own, Count: 2, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		{name: "a number that is smaller than that of the addresses which are named contradicts them", svc: `metadata: {annotations: {steelyard.dev/address-count: "1", steelyard.dev/loadBalancerIPs: "10.0.0.1,10.0.0.2"}}`,
			want: ipam.Request{Families: v4, Share: own, Contradicts: true, Invalid: "annotation steelyard.dev/address-count is 1, and the Service asks for 2 IPv4 addresses: 10.0.0.1, 10.0.0.2"}},
		{name: "an address that is none can't be read", svc: `spec: {loadBalancerIP: ten}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `spec.loadBalancerIP: "ten" is not an IPv4 or IPv6 address`}},
		{name: "an empty part of the list can't be read", svc: `metadata: {annotations: {steelyard.dev/loadBalancerIPs: "10.0.0.1,"}}`,
			want: ipam.Request{Families: v4, Share: own, Invalid: `annotation steelyard.dev/loadBalancerIPs: "" is not an IPv4 or IPv6 address`}},
		{name: "a sharing key comes with the Pods and the traffic policy",
			svc:  `{metadata: {annotations: {steelyard.dev/allow-shared-ip: k}}, spec: {externalTrafficPolicy: Local, selector: {b: "2", a: "1"}}}`,
			want: ipam.Request{Families: v4, Share: ipam.Share{Key: "k", Local: true, Pods: "n?a=1,b=2"}}},
		{name: "addresses in the status are held, names are not", svc: `status: {loadBalancer: {ingress: [{ip: 10.0.0.1}, {hostname: x.example}, {ip: "2001:db8::1"}]}}`,
			want: ipam.Request{Families: v4, Share: own, Has: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := read[corev1.Service](t, c.svc)
			svc.Namespace, svc.Name, svc.CreationTimestamp = "n", "s", metav1.NewTime(time.Unix(7, 0))
			c.want.Service, c.want.Created = ipam.Key{Namespace: "n", Name: "s"}, time.Unix(7, 0)
			if diff := gocmp.Diff(c.want, intent.AnnotationPrefixes(nil).Request(svc), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}

func TestPodsOfDifferentNamespacesDiffer(t *testing.T) {
	svc := read[corev1.Service](t, `spec: {selector: {a: "1"}}`)
	svc.Namespace, svc.Name = "n", "s"
	one := intent.AnnotationPrefixes(nil).Request(svc).Share.Pods
	svc.Name = "t"
	if two := intent.AnnotationPrefixes(nil).Request(svc).Share.Pods; one != two {
		t.Errorf("equal selectors in one namespace: %q and %q", one, two)
	}
	svc.Namespace = "m"
	if three := intent.AnnotationPrefixes(nil).Request(svc).Share.Pods; one == three {
		t.Errorf("selectors in two namespaces: both %q", one)
	}
}

func TestExcluded(t *testing.T) {
	for _, c := range []struct {
		name, node, want string
		ignore           bool
	}{
		{name: "a plain node may announce", node: `{}`},
		{name: "a label excludes it, whatever its value", node: `metadata: {labels: {node.kubernetes.io/exclude-from-external-load-balancers: "false"}}`,
			want: "label node.kubernetes.io/exclude-from-external-load-balancers"},
		{name: "a network that is not available excludes it", node: `status: {conditions: [{type: NetworkUnavailable, status: "True"}]}`, want: "condition NetworkUnavailable"},
		{name: "a network that is available does not", node: `status: {conditions: [{type: NetworkUnavailable, status: "False"}]}`},
		{name: "another condition does not", node: `status: {conditions: [{type: MemoryPressure, status: "True"}, {type: Ready, status: "False"}]}`},
		{name: "a node that shuts down is excluded", node: `status: {conditions: [{type: Ready, status: "False", reason: KubeletNotReady, message: "[container runtime is down, node is shutting down]"}]}`,
			want: "it is shutting down"},
		{name: "the taint out-of-service excludes it", node: `spec: {taints: [{key: other, effect: NoSchedule}, {key: node.kubernetes.io/out-of-service, effect: NoExecute}]}`,
			want: "taint node.kubernetes.io/out-of-service"},
		{name: "the label of others can be ignored", ignore: true, node: `metadata: {labels: {node.kubernetes.io/exclude-from-external-load-balancers: ""}}`},
		{name: "ours can't", ignore: true, node: `metadata: {labels: {steelyard.dev/exclude: "false"}}`, want: "label steelyard.dev/exclude"},
		{name: "nor can what else excludes", ignore: true, node: `status: {conditions: [{type: NetworkUnavailable, status: "True"}]}`, want: "condition NetworkUnavailable"},
		{name: "cordon alone does not exclude", node: `spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := (intent.Exclusion{IgnoreLabel: c.ignore}).Reason(read[corev1.Node](t, c.node)); have != c.want {
				t.Errorf("want %q, have %q", c.want, have)
			}
		})
	}
}

func TestCompatibleAnnotationsAreReadBesideOurs(t *testing.T) {
	for _, c := range []struct {
		name, prefixes, annotations string
		want                        string // pool, addresses, sharing key
	}{
		{"without compatible prefixes only our own count", "", `{metallb.io/address-pool: a, steelyard.dev/allow-shared-ip: k}`, ` [] k`},
		{"MetalLB's are understood when asked for", "metallb.io", `{metallb.io/address-pool: a, metallb.io/loadBalancerIPs: 10.0.0.1, metallb.io/allow-shared-ip: k}`, `a [10.0.0.1] k`},
		{"so are its older ones", "metallb.io", `{metallb.universe.tf/address-pool: a, metallb.universe.tf/loadBalancerIPs: 10.0.0.1, metallb.universe.tf/allow-shared-ip: k}`, `a [10.0.0.1] k`},
		{"of the two the newer counts", "metallb.io", `{metallb.universe.tf/address-pool: old, metallb.io/address-pool: new}`, `new [] `},
		{"our own counts before both, even if it is empty", " metallb.io ,", `{metallb.io/address-pool: theirs, steelyard.dev/address-pool: ""}`, ` [] `},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := intent.ParseAnnotationPrefixes(c.prefixes)
			if err != nil {
				t.Fatal(err)
			}
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: *read[map[string]string](t, c.annotations)}}
			r := d.Request(svc)
			if have := fmt.Sprintf("%s %v %s", r.Pool, r.Want, r.Share.Key); have != c.want {
				t.Errorf("want %q, have %q", c.want, have)
			}
		})
	}
	if _, err := intent.ParseAnnotationPrefixes("metallb.io,metalb.io"); err == nil {
		t.Error("an error in a compatible annotation is not reported")
	}
}

func TestAnErrorInACompatibleAnnotationNamesIt(t *testing.T) {
	svc := read[corev1.Service](t, `metadata: {annotations: {metallb.universe.tf/loadBalancerIPs: ten}}`)
	want := `annotation metallb.universe.tf/loadBalancerIPs: "ten" is not an IPv4 or IPv6 address`
	if have := (intent.AnnotationPrefixes{"metallb.io", "metallb.universe.tf"}).Request(svc).Invalid; have != want {
		t.Errorf("want %s\nhave %s", want, have)
	}
}
