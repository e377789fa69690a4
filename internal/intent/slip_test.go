package intent

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func annotated(names ...string) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	for _, name := range names {
		svc.Annotations[name] = "x"
	}
	return svc
}

func TestSlips(t *testing.T) {
	const known = "there are steelyard.dev/loadBalancerIPs, steelyard.dev/address-pool, steelyard.dev/address-count, steelyard.dev/allow-shared-ip"
	for _, c := range []struct{ name, want string }{
		{"steelyard.dev/adress-pool", "do you mean steelyard.dev/address-pool?"},
		{"steelyard.dev/loadbalancerips", "do you mean steelyard.dev/loadBalancerIPs?"},
		{"steelyard.dev/allow-shared-ips", "do you mean steelyard.dev/allow-shared-ip?"},
		{"steelyard.dev/color", known},
		{"steelyard.io/address-pool", "do you mean steelyard.dev/address-pool?"},
		{"steelyard.de/loadbalancer-ips", "do you mean steelyard.dev/loadBalancerIPs?"},
		{"Steelyard.Dev/address-pool", "do you mean steelyard.dev/address-pool?"},
		{"stelyard.dev/address-pool", "do you mean steelyard.dev/address-pool?"},
		{"steelyard/allow-shared-ip", "do you mean steelyard.dev/allow-shared-ip?"},
		{"steelyard.dev/address-pool", ""},
		{"steelyard.dev/ip-allocated-from-pool", ""},
		{"steelyard.io/owner", ""},
		{"example.com/address-pool", ""},
		{"metallb.io/address-pool", ""},
		{"address-pool", ""},
	} {
		want := c.want
		if want != "" {
			want = "annotation " + c.name + " means nothing: " + want
		}
		if got := SlipsText(UnknownAnnotations(annotated(c.name))); got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
	if got, want := SlipsText([]string{"steelyard.dev/a", "steelyard.dev/adress-pool"}), "annotations steelyard.dev/a, steelyard.dev/adress-pool mean nothing: do you mean steelyard.dev/address-pool?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNoAnnotationSpeaksForItself has names of annotations hold what is hostile, as files can.
func TestNoAnnotationSpeaksForItself(t *testing.T) {
	for _, text := range hostile() {
		slips := UnknownAnnotations(annotated("steelyard.dev/"+text, "steelyard.dev/2"+text, text+"/address-pool"))
		if len(slips) < 2 {
			t.Errorf("%d slips", len(slips))
		}
		wantShown(t, "slips", SlipsText(slips))
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"pool", "pool", 0}, {"abcd", "acd", 1}} {
		if got := Distance(c.a, c.b); got != c.want || Distance(c.b, c.a) != got {
			t.Errorf("%q and %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestOthersAnnotationsAreNamed(t *testing.T) {
	compat, err := ParseAnnotationPrefixes("metallb.io")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what        string
		annotations []string
		prefixes    AnnotationPrefixes
		want        []string
	}{
		{"none", nil, nil, nil},
		{"MetalLB's", []string{"metallb.io/loadBalancerIPs", "metallb.universe.tf/address-pool"}, nil, []string{"metallb.io/loadBalancerIPs", "metallb.universe.tf/address-pool"}},
		{"MetalLB's, which count", []string{"metallb.io/loadBalancerIPs", "metallb.universe.tf/address-pool"}, compat, nil},
		{"beside one of MetalLB's that counts", []string{"metallb.io/loadBalancerIPs", "lbipam.cilium.io/ips", "purelb.io/service-group"}, compat, []string{"purelb.io/service-group"}},
		{"beside ours", []string{"steelyard.dev/address-pool", "purelb.io/service-group", "kube-vip.io/loadbalancerIPs"}, nil, []string{"kube-vip.io/loadbalancerIPs"}},
		{"reports", []string{"metallb.io/ip-allocated-from-pool", "purelb.io/allocated-by"}, nil, nil},
		{"of what has no equal", []string{"protocol.openelb.kubesphere.io/v1alpha1", "kube-vip.io/ignore"}, nil, []string{"protocol.openelb.kubesphere.io/v1alpha1", "kube-vip.io/ignore"}},
	} {
		var got []string
		for _, x := range c.prefixes.Ignored(annotated(c.annotations...)) {
			if got = append(got, x.Name); (x.Flag != "") != strings.HasPrefix(x.Name, "metallb") {
				t.Errorf("%s: %s has the flag %q", c.what, x.Name, x.Flag)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"eip.openelb.kubesphere.io/v1alpha2": "x"}}}
	want := "label eip.openelb.kubesphere.io/v1alpha2 does nothing here: use steelyard.dev/address-pool"
	if text := IgnoredText(compat.Ignored(svc)); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	want = "annotation kube-vip.io/egress does nothing here: there is nothing that gives the packets that Pods send the address of their Service"
	if text := IgnoredText(compat.Ignored(annotated("kube-vip.io/egress"))); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	if off := (&corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kube-vip.io/ignore": "false"}}}); len(compat.Ignored(off)) > 0 {
		t.Error("it asks for nothing")
	}
	svc = annotated("kube-vip.io/loadbalancerIPs")
	if svc.Spec.LoadBalancerIP = "x"; len(compat.Ignored(svc)) > 0 {
		t.Error("the field asks for the same address, and counts")
	}
}

func TestTheTextOfManyAnnotationsIsShort(t *testing.T) {
	var names []string
	for _, x := range equivalents {
		names = append(names, x.theirs)
	}
	text := IgnoredText(AnnotationPrefixes(nil).Ignored(annotated(names...)))
	if len(text) > 600 || !strings.HasSuffix(text, "; 13 more of other load balancers do nothing either") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}
