package planner

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
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
	if !strings.Contains(words, " and 2990 more mean nothing: there are") || len(words) > printable.MaxMessage {
		t.Errorf("%d bytes: %s", len(words), words)
	}
}

// TestASlipIsAnEventOnce has a Service whose annotation is misspelled change twice.
func TestASlipIsAnEventOnce(t *testing.T) {
	svc, g := settledService()
	svc.Annotations["steelyard.io/adress-pool"] = "lan"
	want := []Event{warning(v1beta1.ReasonUnknownAnnotation, "annotation steelyard.io/adress-pool means nothing: do you mean steelyard.dev/address-pool?")}
	for _, again := range []bool{false, true} {
		c, differs := changeTo(svc, g, nil, orphaned{}, nil)
		if events := c.misspelled(svc); !differs || again != (len(events) == 0) || !again && !slices.Equal(events, want) || !strings.HasSuffix(c.Allocated.Message, want[0].Message) {
			t.Errorf("a second change %t: written %t, events %+v, %q", again, differs, events, c.Allocated.Message)
		}
		c.Apply(svc, Finalizer{})
		if c, differs := changeTo(svc, g, nil, orphaned{}, nil); differs || len(c.misspelled(svc)) > 0 {
			t.Errorf("once written it differs still: %+v", c)
		}
		g.Message = "words"
	}
}

// TestARequestToAnotherLoadBalancerIsTold has a Service bear an annotation of MetalLB's.
func TestARequestToAnotherLoadBalancerIsTold(t *testing.T) {
	const said = "annotation metallb.io/address-pool does nothing here: use steelyard.dev/address-pool, or run the controller with --compat-annotations=metallb.io"
	for _, c := range []struct {
		prefixes intent.AnnotationPrefixes
		refused  bool
		want     string
	}{{nil, false, said}, {nil, true, "none; " + said}, {intent.AnnotationPrefixes{"metallb.io"}, false, ""}} {
		svc, g := settledService()
		if c.refused {
			g = ipam.Grant{Reason: ipam.NoPool, Message: "none"}
		}
		svc.Annotations["metallb.io/address-pool"] = "lan"
		p := Plan{Services: []*Service{{Object: svc}}, Grants: []ipam.Grant{g}, prefixes: c.prefixes}
		if got := p.granted(0).Message; got != c.want {
			t.Errorf("with %v it says %q, want %q", c.prefixes, got, c.want)
		}
	}
}

func TestAForeignFinalizerIsTold(t *testing.T) {
	g := ipam.Grant{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Pools: []string{"p"}}
	svc := aService("a", 1)
	svc.Finalizers = []string{v1beta1.FinalizerCleanup}
	if c := conditionOf(svc, g, nil, orphaned{}, nil); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "the finalizer service.kubernetes.io/load-balancer-cleanup was not set by Steelyard") {
		t.Errorf("it says %+v", c)
	}
	svc.Annotations = map[string]string{v1beta1.AnnotationFinalizer: Finalizer{}.Mark(svc)}
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
