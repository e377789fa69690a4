package planner

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

func showing(svc *corev1.Service) *corev1.Service {
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.150"}}
	return svc
}

func nodeAt(address, version string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", ResourceVersion: version}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	return n
}

func speakerAt(link string, sessions int32) *v1beta1.Speaker {
	return &v1beta1.Speaker{Status: v1beta1.SpeakerStatus{
		Sessions: &v1beta1.SessionCount{Total: sessions},
		Host:     &v1beta1.SpeakerHost{Addresses: []v1beta1.HostAddress{{Address: "192.0.2.11", Link: link}}},
	}}
}

func TestIgnores(t *testing.T) {
	service := func(version, class string) *corev1.Service {
		svc := aService("s", 1)
		svc.ResourceVersion = version
		if class != "" {
			svc.Spec.LoadBalancerClass = &class
		}
		return svc
	}
	namespace := func(labels map[string]string, finalizer string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: labels, Finalizers: []string{finalizer}}}
	}
	pool := func(generation int64, label, version string) *v1beta1.IPAddressPool {
		return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Generation: generation, Labels: map[string]string{"l": label}, ResourceVersion: version}}
	}
	under := func(prefix string) *v1beta1.IPAddressPool {
		p := pool(1, "a", "1")
		p.Status.Prefix = &v1beta1.PrefixStatus{Current: prefix}
		return p
	}
	again := pool(1, "a", "2")
	again.UID = "another"
	for _, c := range []struct {
		name          string
		before, after metav1.Object
		skipped       bool
	}{
		{"a new Service is looked at", nil, service("1", ""), false},
		{"a new Service of another load balancer is not", nil, service("1", "other/lb"), true},
		{"a changed Service is looked at", service("1", ""), service("2", ""), false},
		{"what we wrote ourselves is not", service("1", ""), service("7", ""), true},
		{"a deleted Service is looked at, though we wrote it last", service("7", ""), nil, false},
		{"a deleted Service of another load balancer is not", service("7", "other/lb"), nil, true},
		{"a Service that becomes another's is looked at", service("1", ""), service("2", "other/lb"), false},
		{"a Service that becomes ours is looked at", service("1", "other/lb"), service("2", ""), false},
		{"a Service that stays another's is not", service("1", "other/lb"), service("2", "other/lb"), true},
		{"one that shows an address now is looked at", service("1", "other/lb"), showing(service("2", "other/lb")), false},
		{"one that shows an address and is deleted is looked at", showing(service("2", "other/lb")), nil, false},
		{"a node with another address is looked at", nodeAt("192.0.2.11", "1"), nodeAt("192.0.2.12", "2"), false},
		{"a node with another status is not", nodeAt("192.0.2.11", "1"), nodeAt("192.0.2.11", "2"), true},
		{"a speaker that counts other sessions is not", speakerAt("eth0", 1), speakerAt("eth0", 2), true},
		{"a speaker with an address on another link is looked at", speakerAt("eth0", 1), speakerAt("eth1", 1), false},
		{"a new Namespace is looked at", nil, namespace(nil, ""), false},
		{"a Namespace with other labels is looked at", namespace(nil, ""), namespace(map[string]string{"a": "b"}, ""), false},
		{"a Namespace that has changed otherwise is not", namespace(nil, ""), namespace(nil, "f"), true},
		{"a new pool is looked at", nil, pool(1, "a", "1"), false},
		{"a changed pool is looked at", pool(1, "a", "1"), pool(2, "a", "2"), false},
		{"a pool with another label is looked at", pool(1, "a", "1"), pool(1, "b", "2"), false},
		{"a pool with another status is not", pool(1, "a", "1"), pool(1, "a", "2"), true},
		{"a pool that gets a prefix is looked at", pool(1, "a", "1"), under("2001:db8:1::/64"), false},
		{"a pool under another prefix is looked at", under("2001:db8:1::/64"), under("2001:db8:2::/64"), false},
		{"a pool under the same prefix is not", under("2001:db8:1::/64"), under("2001:db8:1::/64"), true},
		{"a pool that was created again while the watch was broken is not ignored", pool(1, "a", "1"), again, false},
		{"a deleted pool is looked at", pool(1, "a", "1"), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(nil, Finalizer{})
			s.Done(Write{Service: service("6", "")}, Answer{Service: service("7", "")})
			if have := s.Ignores(c.before, c.after); have != c.skipped {
				t.Errorf("skipped: %t", have)
			}
		})
	}
}
