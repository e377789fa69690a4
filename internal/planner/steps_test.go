package planner

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

func TestADeletedServiceDoesNotWaitForTheEndOfAContest(t *testing.T) {
	svc := aService("a", 1)
	c := Contest{times: 9, notBefore: time.Unix(100, 0)}
	p := Plan{Services: []*Service{{Object: svc, releasing: true, Change: &Change{}}}, Grants: make([]ipam.Grant, 1), Contests: map[types.UID]Contest{svc.UID: c}}
	if next := p.Step(Snapshot{Now: time.Unix(1, 0)}); len(next.Writes) != 1 || next.Writes[0].Change.ConditionsOnly {
		t.Errorf("it comes to %+v", next)
	}
}

func TestManySlipsAreCounted(t *testing.T) {
	svc, g := settledService()
	for i := range 3000 {
		svc.Annotations[v1beta1.Group+"/"+strings.Repeat("x", i%60+1)+strings.Repeat("y", i/60+1)] = ""
	}
	words := conditionOf(svc, g, nil, orphaned{}, nil).Message
	if !strings.Contains(words, " and 2990 more means nothing: known are") || len(words) > printable.MaxMessage {
		t.Errorf("%d bytes: %s", len(words), words)
	}
}

func TestAForeignFinalizerIsTold(t *testing.T) {
	g := ipam.Grant{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Pools: []string{"p"}}
	svc := aService("a", 1)
	svc.Finalizers = []string{v1beta1.FinalizerCleanup}
	if c := conditionOf(svc, g, nil, orphaned{}, nil); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "the finalizer service.kubernetes.io/load-balancer-cleanup was not set by Steelyard") {
		t.Errorf("it says %+v", c)
	}
	svc.Annotations = map[string]string{v1beta1.AnnotationFinalizer: Finalizer{}.Mark()}
	if c := conditionOf(svc, g, nil, orphaned{}, nil); strings.Contains(c.Message, "finalizer") {
		t.Errorf("of our own it says %+v", c)
	}
}

func aPool(name string, addresses ...v1beta1.AddressRange) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
}

// fixedPool keeps nothing for Services that are deleted.
func fixedPool(name string, addresses ...v1beta1.AddressRange) *v1beta1.IPAddressPool {
	p := aPool(name, addresses...)
	p.Spec.GraceTime = "0s"
	return p
}

// aService is one in namespace n that has no address yet.
func aService(name string, at int64) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(at, 0))},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

// A write holds for one version of a Service. When a later one is seen, that shows what
// came of the write, whose answer may still be on its way.
func TestAnOvertakenWriteHoldsNothing(t *testing.T) {
	now := time.Unix(1, 0)
	svc := aService("a", 1)
	svc.ResourceVersion = "5"
	var w Attempts
	w.Start(svc, Change{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
	a := w.Pending([]*corev1.Service{svc}, now)[svc.UID]
	if addrs, instead := a.holds(); !instead || len(addrs) != 1 || len(a.shows()) != 1 {
		t.Errorf("under way it holds %v, and shows %v", addrs, a.shows())
	}
	later := svc.DeepCopy()
	later.ResourceVersion = "7"
	a, there := w.Pending([]*corev1.Service{later}, now)[svc.UID]
	if addrs, instead := a.holds(); !there || instead || len(a.shows()) != 0 {
		t.Errorf("overtaken it holds %v, and shows %v; its answer is awaited: %t", addrs, a.shows(), there)
	}
}
