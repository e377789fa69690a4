package intent_test

import (
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// twoNodes are node1, whose link has a subnet in the middle of the pools, and node2, whose
// speaker has not said yet what it has.
func twoNodes() intent.Others {
	node := func(name, address string) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name}}
		return n
	}
	one := v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Status: v1beta1.SpeakerStatus{
		Links: []v1beta1.SpeakerLink{{Name: "eth0", Prefixes: []string{"192.0.2.0/26", "198.51.100.0/31", "2001:db8::/64"}}},
		Host: &v1beta1.SpeakerHost{
			Addresses: []v1beta1.HostAddress{{Address: "192.0.2.11", Link: "eth0"}, {Address: "192.0.2.99", Link: "eth0"}, {Address: "203.0.113.9", Link: "lo"}},
			Gateways:  []string{"192.0.2.1", "fe80::1"},
		},
	}}
	gone := v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "gone"}, Status: v1beta1.SpeakerStatus{
		Host: &v1beta1.SpeakerHost{Addresses: []v1beta1.HostAddress{{Address: "192.0.2.77", Link: "eth0"}}},
	}}
	n1 := node("node1", "192.0.2.11")
	n1.Spec.PodCIDRs = []string{"192.0.2.240/28", "10.0.0.0/24"}
	return intent.Others{
		Nodes: []corev1.Node{n1, node("node2", "192.0.2.12")}, Speakers: []v1beta1.Speaker{one, gone},
		ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("192.0.2.208/28")},
	}
}

func configOf(ranges ...v1beta1.AddressRange) intent.Config {
	pool := v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: ranges}}
	peer := v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.2"}}
	return intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{pool}, Peers: []v1beta1.BGPPeer{peer}})
}

func TestOccupied(t *testing.T) {
	c := configOf("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/112")
	service := func(name string, kind corev1.ServiceType, class *string, change func(*corev1.Service)) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: corev1.ServiceSpec{Type: kind, LoadBalancerClass: class}}
		change(s)
		return s
	}
	shows := func(a string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: a}} }
	}
	other := "example.com/other"
	services := []*corev1.Service{
		service("ours", corev1.ServiceTypeLoadBalancer, nil, shows("192.0.2.150")),
		service("theirs", corev1.ServiceTypeLoadBalancer, &other, shows("192.0.2.151")),
		service("was", corev1.ServiceTypeClusterIP, nil, shows("192.0.2.152")), // about to be taken off
		service("external", corev1.ServiceTypeClusterIP, nil, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.153", "192.0.2.12"} }),
		service("known", corev1.ServiceTypeClusterIP, nil, func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"192.0.2.154"} }),
	}
	o := c.Occupied(twoNodes(), services, "")
	for _, test := range []struct{ addr, want, node string }{
		{"192.0.2.11", "the address of node node1", "node1"},
		{"192.0.2.99", "an address of node node1 on its link eth0", "node1"},
		{"192.0.2.77", "", ""}, // its Node is gone
		{"192.0.2.0", "the network address of 192.0.2.0/26, a subnet of node node1", ""},
		{"192.0.2.63", "the broadcast address of 192.0.2.0/26, a subnet of node node1", ""},
		{"192.0.2.64", "", ""},
		{"192.0.2.255", "in 192.0.2.240/28, the range of Pods of node node1", ""},
		{"198.51.100.0", "", ""}, // of a subnet of two addresses
		{"2001:db8::", "the routers' anycast address of 2001:db8::/64, a subnet of node node1", ""},
		{"192.0.2.1", "a default gateway of node node1", ""},
		{"192.0.2.2", `the address of BGPPeer "tor"`, ""},
		{"192.0.2.209", "in 192.0.2.208/28, the cluster's range of ClusterIPs", ""},
		{"192.0.2.150", "", ""},
		{"192.0.2.151", "an address of Service n/theirs, which another load balancer serves", ""},
		{"192.0.2.152", "", ""},
		{"192.0.2.153", "in spec.externalIPs of Service n/external", ""},
		{"192.0.2.12", "the address of node node2, and in spec.externalIPs of Service n/external", ""}, // also a node's: no Service gets it
		{"192.0.2.154", "", ""}, // the ranges of ClusterIPs are known
	} {
		by, is := o.Of(netip.MustParseAddr(test.addr))
		if by.Name != test.want || by.Node != test.node || is != (test.want != "") || by.Alone {
			t.Errorf("%s: %+v, want %q of %q", test.addr, by, test.want, test.node)
		}
	}
	if diff := gocmp.Diff(map[string]bool{"node1": true, "node2": false}, o.Known); diff != "" {
		t.Error(diff)
	}
	// The order of the objects does not matter.
	reversed := twoNodes()
	extra := reversed.Speakers[0].DeepCopy()
	extra.Name, extra.Status.Host = "node2", &v1beta1.SpeakerHost{Gateways: []string{"192.0.2.1"}, Addresses: extra.Status.Host.Addresses[1:2]}
	reversed.Speakers = append(reversed.Speakers, *extra)
	first := c.Occupied(reversed, services, "")
	slices.Reverse(reversed.Nodes)
	slices.Reverse(reversed.Speakers)
	slices.Reverse(reversed.ClusterIPs)
	slices.Reverse(services)
	if diff := gocmp.Diff(first, c.Occupied(reversed, services, ""), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("in another order:\n%s", diff)
	}
	// Where the ranges of ClusterIPs are not known, each Service's counts.
	others := twoNodes()
	others.ClusterIPs = nil
	if by, _ := c.Occupied(others, services, "").Of(netip.MustParseAddr("192.0.2.154")); by.Name != "the ClusterIP of Service n/known" {
		t.Errorf("a ClusterIP is %+v", by)
	}
	// Nothing but what pools hold is in the way.
	if n := len(configOf("203.0.113.128/25").Occupied(twoNodes(), services, "").Addrs); n != 0 {
		t.Errorf("%d addresses outside of pools are occupied", n)
	}
	// A single node's own addresses can be chosen: no other node could take them from it.
	others.Nodes = others.Nodes[:1]
	if by, _ := c.Occupied(others, nil, "").Of(netip.MustParseAddr("192.0.2.11")); !by.Alone || by.Node != "node1" {
		t.Errorf("the address of the only node: %+v", by)
	}
}

// A stolen node's report blocks no more than a bounded number of addresses.
func TestAReportOfANodeIsBounded(t *testing.T) {
	c := configOf("192.0.2.0/24", "198.51.100.0/24")
	s := v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Status: v1beta1.SpeakerStatus{Host: &v1beta1.SpeakerHost{}}}
	link := v1beta1.SpeakerLink{Name: "eth0"}
	for a := netip.MustParseAddr("192.0.2.0"); len(s.Status.Host.Addresses) < 256; a = a.Next() {
		s.Status.Host.Addresses = append(s.Status.Host.Addresses, v1beta1.HostAddress{Address: a.String(), Link: "eth0"})
	}
	for a := netip.MustParseAddr("198.51.100.0"); a.As4()[3] < 252; a = a.Next().Next() {
		link.Prefixes = append(link.Prefixes, netip.PrefixFrom(a, 30).Masked().String())
	}
	s.Status.Links = []v1beta1.SpeakerLink{link}
	nodes := []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}, {ObjectMeta: metav1.ObjectMeta{Name: "node2"}}}
	o := c.Occupied(intent.Others{Nodes: nodes, Speakers: []v1beta1.Speaker{s}}, nil, "")
	if n := len(o.Addrs); n > 3*64 {
		t.Errorf("one node blocks %d addresses", n)
	}
}

// What a node reports later takes no Service's address.
func TestWhoHasAnAddressHasItWhateverANodeReports(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.11")
	o := configOf("192.0.2.0/24").Occupied(twoNodes(), nil, "")
	for _, test := range []struct{ before, want string }{
		{"", ""},           // it was no node's when the Service got it
		{"node1", "node1"}, // it still is
		{"node2", "node2"}, // node2's speaker has not said what it has
		{"node3", ""},      // that node is gone
	} {
		if have := o.NodeOf(a, test.before); have != test.want {
			t.Errorf("it was %q's: now %q's, want %q", test.before, have, test.want)
		}
	}
	if have := (*ipam.Occupied)(nil).NodeOf(a, "node1"); have != "node1" {
		t.Errorf("nothing is known, and it is %q's", have)
	}
}
