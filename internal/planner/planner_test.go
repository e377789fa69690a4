package planner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// settledService is a Service to which nothing needs to be written.
func settledService() (*corev1.Service, ipam.Grant) {
	g := ipam.Grant{
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
		Pools: []string{"p", "q"},
	}
	vip := corev1.LoadBalancerIPModeVIP
	svc := &corev1.Service{}
	svc.Namespace, svc.Name = "n", "s"
	svc.Annotations = map[string]string{v1beta1.AnnotationPool: "p,q", "other": "stays"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1", IPMode: &vip}, {IP: "2001:db8::1", IPMode: &vip}}
	svc.Status.Conditions = []metav1.Condition{
		{Type: "example.com/Foreign", Status: metav1.ConditionTrue, Reason: "Theirs"},
		{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned,
			Message: `10.0.0.1 of IPAddressPool "p", 2001:db8::1 of IPAddressPool "q"`, LastTransitionTime: metav1.NewTime(time.Unix(7, 0))},
	}
	return svc, g
}

func TestChangeOf(t *testing.T) {
	refused := ipam.Grant{Reason: ipam.PoolExhausted, Message: "all are taken"}
	proxy := corev1.LoadBalancerIPModeProxy
	for _, c := range []struct {
		name    string
		edit    func(*corev1.Service, *ipam.Grant)
		differs bool
		event   bool
	}{
		{name: "nothing is written when nothing differs", edit: func(*corev1.Service, *ipam.Grant) {}},
		{name: "nothing is written for an object of another version", edit: func(s *corev1.Service, _ *ipam.Grant) { s.ResourceVersion = "8" }},
		{name: "an address that was moved before is no reason to write", edit: func(_ *corev1.Service, g *ipam.Grant) { g.Moved = "of old" }},
		{name: "another address is written, with an event", edit: func(_ *corev1.Service, g *ipam.Grant) { g.Addrs[0] = netip.MustParseAddr("10.0.0.2") }, differs: true, event: true},
		{name: "another order of the addresses is written, with an event", edit: func(s *corev1.Service, _ *ipam.Grant) {
			in := s.Status.LoadBalancer.Ingress
			in[0], in[1] = in[1], in[0]
		}, differs: true, event: true},
		{name: "an address too much is taken away", edit: func(s *corev1.Service, _ *ipam.Grant) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: "203.0.113.9"})
		}, differs: true, event: true},
		{name: "another controller's name stays", edit: func(s *corev1.Service, _ *ipam.Grant) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "x.example"})
		}},
		{name: "another controller's name and ports of an address stay", edit: func(s *corev1.Service, _ *ipam.Grant) {
			s.Status.LoadBalancer.Ingress[0].Hostname, s.Status.LoadBalancer.Ingress[0].Ports = "x.example", []corev1.PortStatus{{Port: 80, Protocol: "TCP"}}
		}},
		{name: "a name before the addresses comes after them", edit: func(s *corev1.Service, _ *ipam.Grant) {
			s.Status.LoadBalancer.Ingress = append([]corev1.LoadBalancerIngress{{Hostname: "x.example"}}, s.Status.LoadBalancer.Ingress...)
		}, differs: true, event: true},
		{name: "another ipMode is put right", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.LoadBalancer.Ingress[0].IPMode = &proxy }, differs: true, event: true},
		{name: "a missing ipMode is put right", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.LoadBalancer.Ingress[0].IPMode = nil }, differs: true, event: true},
		{name: "a lost annotation is written, without an event", edit: func(s *corev1.Service, _ *ipam.Grant) { delete(s.Annotations, v1beta1.AnnotationPool) }, differs: true},
		{name: "an edited annotation is put right, without an event", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Annotations[v1beta1.AnnotationPool] = "mine" }, differs: true},
		{name: "a lost condition is written, with an event", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.Conditions = s.Status.Conditions[:1] }, differs: true, event: true},
		{name: "another status of the condition is put right", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.Conditions[1].Status = metav1.ConditionFalse }, differs: true, event: true},
		{name: "another reason is put right", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.Conditions[1].Reason = "Other" }, differs: true, event: true},
		{name: "another message is put right", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status.Conditions[1].Message = "other" }, differs: true, event: true},
		{name: "an error in a request is reported although the address stays", edit: func(_ *corev1.Service, g *ipam.Grant) { g.Message = "words" }, differs: true, event: true},
		{name: "a refusal takes everything away", edit: func(_ *corev1.Service, g *ipam.Grant) { *g = refused }, differs: true, event: true},
		{name: "a refusal of a new Service is written, with an event", edit: func(s *corev1.Service, g *ipam.Grant) {
			*g, s.Status, s.Annotations = refused, corev1.ServiceStatus{}, nil
		}, differs: true, event: true},
		{name: "a refusal that stands is not written again", edit: func(s *corev1.Service, g *ipam.Grant) {
			*g, s.Annotations, s.Status.LoadBalancer = refused, nil, corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{}}
			s.Status.Conditions[1] = metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionFalse, Reason: "PoolExhausted", Message: "all are taken"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc, g := settledService()
			c.edit(svc, &g)
			before := svc.DeepCopy()
			change, differs := changeTo(svc, g, nil, orphaned{}, nil)
			if differs != c.differs || change.Event != c.event {
				t.Errorf("want a write %v and an event %v, have %v and %v", c.differs, c.event, differs, change.Event)
			}
			if diff := cmp.Diff(before, svc); diff != "" {
				t.Errorf("an object of the cache was changed:\n%s", diff)
			}
			if differs {
				change.Apply(svc, Finalizer{})
			}
			if again, differs := changeTo(svc, g, nil, orphaned{}, nil); differs || again.Event {
				t.Errorf("once written it differs still: %+v", again)
			}
		})
	}
}

func sameChange(a, b *Change) bool {
	return a == nil && b == nil || a != nil && b != nil && slices.Equal(a.Addrs, b.Addrs) && a.Allocated == b.Allocated && a.cleanup == b.cleanup
}

func TestForeignConditionsAreKept(t *testing.T) {
	svc, _ := settledService()
	change, _ := changeTo(svc, ipam.Grant{Reason: ipam.NoPool, Message: "none"}, nil, orphaned{}, nil)
	if len(change.Conditions) != 2 || !cmp.Equal(change.Conditions[0], svc.Status.Conditions[0]) {
		t.Errorf("have %+v", change.Conditions)
	}
	if c := change.Conditions[1]; c.Status != metav1.ConditionFalse || c.Reason != "NoPool" || c.Message != "none" {
		t.Errorf("have %+v", c)
	}
}

func TestTheTimeOfAConditionIsThatOfItsStatus(t *testing.T) {
	svc, g := settledService()
	g.Message = "words"
	change, _ := changeTo(svc, g, nil, orphaned{}, nil)
	if have := change.Conditions[1].LastTransitionTime; !have.Equal(&svc.Status.Conditions[1].LastTransitionTime) {
		t.Errorf("the status is as before, and its time is now %s", have)
	}
}

// world is a snapshot of two pools and three Services.
func world() Snapshot {
	pool := func(name, address string, a *v1beta1.ServiceAllocation) v1beta1.IPAddressPool {
		p := v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{v1beta1.AddressRange(address)}, ServiceAllocation: a}}
		p.Name, p.UID = name, types.UID(name)
		return p
	}
	var s Snapshot
	s.Objects.Pools = []v1beta1.IPAddressPool{
		pool("front", "10.0.1.1-10.0.1.9", &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"tier": "front"}}}}),
		pool("red", "10.0.2.1-10.0.2.9", &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}}),
	}
	for i, n := range []struct{ namespace, name, tier string }{{"shop", "web", "front"}, {"shop", "db", ""}, {"lab", "red", ""}} {
		svc := &corev1.Service{}
		svc.Namespace, svc.Name, svc.CreationTimestamp = n.namespace, n.name, metav1.NewTime(time.Unix(int64(i), 0))
		svc.Labels = map[string]string{"tier": n.tier, "team": "red"} // not the namespace's
		s.Services = append(s.Services, svc)
	}
	s.Namespaces = map[string]map[string]string{"shop": {"team": "blue"}, "lab": {"team": "red"}}
	s.Config = parsed(s.Objects)
	return s
}

func parsed(o intent.Objects) *intent.Config {
	config := intent.Parse(o)
	return &config
}

// grants returns what a new planner grants to each Service.
func grants(s Snapshot) map[ipam.Key]ipam.Grant {
	p := new(Planner).Plan(s)
	out := map[ipam.Key]ipam.Grant{}
	for i, x := range p.Services {
		out[x.request.Service] = p.Grants[i]
	}
	return out
}

func TestThinkGrantsByTheLabelsOfServicesAndNamespaces(t *testing.T) {
	want := map[string]string{"shop/web": "10.0.1.1", "shop/db": "NoPool", "lab/red": "10.0.2.1"}
	have := map[string]string{}
	for k, g := range grants(world()) {
		have[k.String()] = string(g.Reason)
		if len(g.Addrs) > 0 {
			have[k.String()] = g.Addrs[0].String()
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestThinkingTwiceWritesOnce(t *testing.T) {
	s := world()
	for _, svc := range s.Services {
		change, differs := changeTo(svc, grants(s)[ipam.Key{Namespace: svc.Namespace, Name: svc.Name}], nil, orphaned{}, nil)
		if !differs {
			t.Errorf("%s: nothing is written at first", svc.Name)
		}
		change.Apply(svc, Finalizer{})
	}
	for _, svc := range s.Services {
		if change, differs := changeTo(svc, grants(s)[ipam.Key{Namespace: svc.Namespace, Name: svc.Name}], nil, orphaned{}, nil); differs {
			t.Errorf("%s: written again: %+v", svc.Name, change)
		}
	}
}

func TestUsageCountsASharedAddressOnce(t *testing.T) {
	s := world()
	s.Objects.Pools[0].Spec.Sharing = v1beta1.SharingCluster // the Services are of two namespaces
	s.Config = parsed(s.Objects)
	for i, svc := range s.Services {
		svc.Labels["tier"] = "front"
		svc.Annotations = map[string]string{v1beta1.AnnotationAllowSharedIP: "k", v1beta1.AnnotationAddressPool: "front"}
		svc.Spec.Ports = []corev1.ServicePort{{Port: int32(80 + i/2), Protocol: corev1.ProtocolTCP}} // two on 80, one on 81
	}
	want := &v1beta1.PoolUsage{Capacity: "9", Assigned: "2", Available: "7"}
	use := new(Planner).Plan(s).usage()
	if diff := cmp.Diff(want, use["front"][0].Status()); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	if len(use["front"]) != 1 {
		t.Errorf("a pool without IPv6 reports %+v", use["front"])
	}
}

// What a planner remembers saves time and changes nothing.
func TestAPlannerWithMemoryPlansLikeANewOne(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 1595087796337010991} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { thinksLikeANewOne(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func thinksLikeANewOne(t *testing.T, rnd *rand.Rand) {
	s, old := world(), new(Planner)
	s.Attempts = map[types.UID]Attempt{}
	for step := range 2000 {
		edit(rnd, &s, step)
		rnd.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
		have, want := old.Plan(s), new(Planner).Plan(s)
		for i, x := range want.Services {
			y := have.Services[i]
			if x.Object != y.Object || !sameGrant(want.Grants[i], have.Grants[i]) || !sameChange(x.Change, y.Change) {
				t.Fatalf("step %d: Service %s: a new planner grants %+v and changes %+v, the old one %+v and %+v",
					step, x.request.Service, want.Grants[i], x.Change, have.Grants[i], y.Change)
			}
		}
		for i, x := range want.Services {
			if want.Grants[i].Reason == "" && x.Change != nil && rnd.IntN(2) == 0 { // some writes arrive
				svc := x.Object.DeepCopy()
				x.Change.Apply(svc, Finalizer{})
				s.Services[slices.Index(s.Services, x.Object)] = svc
			}
		}
	}
	if len(old.known) != len(s.Services) || len(old.byKey) != len(s.Services) {
		t.Errorf("it remembers %d and %d Services, and there are %d", len(old.known), len(old.byKey), len(s.Services))
	}
}

// othersAt returns the nodes at a time: they change now and then.
func othersAt(now time.Time) intent.Others {
	rnd := rand.New(rand.NewPCG(uint64(now.Unix()/40), 0))
	var out intent.Others
	for i := range rnd.IntN(4) {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node", i)}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.%d.%d", 1+rnd.IntN(2), 1+rnd.IntN(12))}}
		n.Spec.PodCIDRs = []string{fmt.Sprintf("10.0.%d.%d/30", 1+rnd.IntN(2), 4*rnd.IntN(4))}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}

// edit changes one thing in a snapshot, without touching an object that is in it.
func edit(rnd *rand.Rand, s *Snapshot, step int) {
	s.Now = time.Unix(int64(step), 0)
	defer func() { s.Occupied = s.Config.Occupied(othersAt(s.Now), s.Services, "") }()
	i := rnd.IntN(len(s.Services))
	changed := func() *corev1.Service {
		svc := s.Services[i].DeepCopy()
		s.Services[i] = svc
		return svc
	}
	switch rnd.IntN(9) {
	case 0:
		svc := &corev1.Service{}
		svc.Namespace, svc.Name, svc.UID = []string{"shop", "lab"}[rnd.IntN(2)], fmt.Sprint("s", step), types.UID(fmt.Sprint(step))
		svc.CreationTimestamp = metav1.NewTime(time.Unix(int64(rnd.IntN(2000)), 0))
		s.Services = append(s.Services, svc)
	case 1:
		if len(s.Services) > 3 {
			delete(s.Attempts, s.Services[i].UID)
			s.Services = slices.Delete(s.Services, i, i+1)
		}
	case 2:
		changed().Labels = map[string]string{"tier": []string{"front", "back"}[rnd.IntN(2)]}
	case 3:
		changed().Annotations = map[string]string{v1beta1.AnnotationAddressPool: []string{"front", "red", "none"}[rnd.IntN(3)]}
	case 4:
		changed().Annotations = map[string]string{"steelyard.dev/slip": ""}
	case 5:
		s.Namespaces = maps.Clone(s.Namespaces)
		if s.Namespaces["shop"] = map[string]string{"team": []string{"blue", "red"}[rnd.IntN(2)]}; rnd.IntN(4) == 0 {
			delete(s.Namespaces, "shop")
		}
	case 6:
		s.Objects.Pools = slices.Clone(s.Objects.Pools)
		p := &s.Objects.Pools[rnd.IntN(2)]
		p.Spec.Addresses = []v1beta1.AddressRange{v1beta1.AddressRange(fmt.Sprintf("10.0.%d.1-10.0.%[1]d.%d", 1+rnd.IntN(2), 1+rnd.IntN(20)))}
		s.Config = parsed(s.Objects)
	case 7:
		if n := len(s.Objects.L2); n > 0 {
			s.Objects.L2 = nil
		} else {
			s.Objects.L2 = make([]v1beta1.L2Advertisement, 1)
		}
		s.Config = parsed(s.Objects)
	case 8:
		if uid := s.Services[i].UID; rnd.IntN(2) == 0 {
			delete(s.Attempts, uid)
		} else {
			s.Attempts[uid] = Attempt{change: Change{Addrs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.1.%d", 1+rnd.IntN(20)))}, pools: "front"}, inFlight: rnd.IntN(2) == 0, notBefore: s.Now.Add(time.Second)}
		}
	}
}
