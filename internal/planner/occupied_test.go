package planner

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// occupiedAt says that an address is a node's own, and that all is known of node1 and node2.
func occupiedAt(a, node string) *ipam.Occupied {
	return &ipam.Occupied{
		Addrs: map[netip.Addr]ipam.Occupant{netip.MustParseAddr(a): {Name: "the address of node " + node, Node: node}},
		Known: map[string]bool{"node1": true, "node2": true},
	}
}

// A Service that asked for a node's address is announced by that node alone. A node that
// claims an address which a Service has already takes nothing, and a node that gives up the
// address sets it free.
func TestANodesOwnAddress(t *testing.T) {
	s := world()
	s.Services = s.Services[:1]
	svc := s.Services[0].DeepCopy()
	svc.Labels, svc.Annotations = map[string]string{"tier": "front"}, map[string]string{v1beta1.AnnotationLoadBalancerIPs: "10.0.1.3"}
	s.Services[0] = svc
	a := netip.MustParseAddr("10.0.1.3")
	planner := new(Planner)
	node := func(o *ipam.Occupied) string {
		t.Helper()
		s.Occupied = o
		if x := planner.Plan(s).Services[0]; x.Change != nil {
			svc := x.Object.DeepCopy()
			x.Change.Apply(svc, Finalizer{})
			s.Services = []*corev1.Service{svc}
		}
		if held := intent.Holds(s.Services[0]); !slices.Equal(held, []netip.Addr{a}) {
			t.Fatalf("it has %v", held)
		}
		return intent.OwnAddressOf(s.Services[0], a)
	}
	if have := node(occupiedAt("10.0.1.3", "node1")); have != "node1" {
		t.Errorf("a Service got node1's address, and %q alone announces it", have)
	}
	if have := node(occupiedAt("10.0.1.3", "node2")); have != "" {
		t.Errorf("node1 has it no more, and %q alone announces it", have)
	}
	if have := node(occupiedAt("10.0.1.3", "node1")); have != "" {
		t.Errorf("the Service had it before node1 did, and %q alone announces it", have)
	}
}

func TestAPoolTellsWhatItNeverChooses(t *testing.T) {
	s := world()
	s.Services = nil
	s.Occupied = occupiedAt("10.0.1.3", "node1")
	s.Occupied.Addrs[netip.MustParseAddr("10.0.1.1")] = ipam.Occupant{Name: "a default gateway of node node1"}
	plan := new(Planner).Plan(s).Summary()
	var pool *v1beta1.IPAddressPool
	for _, change := range Statuses(s.Configured, Reports{}, plan) {
		if p, is := change.After.(*v1beta1.IPAddressPool); is && p.Name == "front" {
			pool = p
		}
	}
	if u := pool.Status.IPv4; u.Unusable != "2" || u.Capacity != "9" || u.Available != "7" {
		t.Errorf("usage %+v", u)
	}
	c := meta.FindStatusCondition(pool.Status.Conditions, v1beta1.ConditionAccepted)
	if c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "2 of its addresses are never chosen: 10.0.1.1 is a default gateway of node node1, 10.0.1.3 is the address of node node1") {
		t.Errorf("%s: %s", c.Type, c.Message)
	}
}
