package planner

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Change is what is to become of one Service: status, condition and annotation
// travel in one patch.
type Change struct {
	Addrs      []netip.Addr
	ingress    []corev1.LoadBalancerIngress
	Conditions []metav1.Condition
	pools      string // the annotation; empty: none
	granted    string // the message of the condition Sharing; empty: there is none

	cleanup        cleanup // what becomes of the finalizer
	ConditionsOnly bool    // only the conditions are written: what the Service shows stays as it is
	AnnouncedOnly  bool    // and of these Announced alone
	Contested      string  // what the condition Contested says; empty: it is not there
	Allocated      metav1.Condition
	Announced      metav1.Condition // the zero condition: it stays as it is
	Event          bool             // the outcome is another than before
	Moved          string           // which addresses it had, and why one was taken away; empty: none was
	loses, gains   []netip.Addr
	history        []Changed // what it changes of who has which address, once it is being written
}

// Apply brings c about on svc, which is a copy of the one that c was made for.
func (c Change) Apply(svc *corev1.Service, f Finalizer) {
	if svc.Status.Conditions = c.Conditions; c.ConditionsOnly {
		return
	}
	svc.Status.LoadBalancer.Ingress = c.ingress
	if svc.Annotations == nil {
		svc.Annotations = map[string]string{}
	}
	if delete(svc.Annotations, v1beta1.AnnotationPool); c.pools != "" {
		svc.Annotations[v1beta1.AnnotationPool] = c.pools
	}
	f.Apply(svc, c.cleanup)
}

// same reports whether two changes come to the same.
func (c Change) same(d Change) bool {
	return slices.Equal(c.Addrs, d.Addrs) && c.pools == d.pools && c.granted == d.granted && c.cleanup == d.cleanup && c.ConditionsOnly == d.ConditionsOnly && c.Contested == d.Contested && sameWords(c.Allocated, d.Allocated) && sameWords(c.Announced, d.Announced)
}

func sameWords(a, b metav1.Condition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

// changeTo returns the change that brings about what svc is granted, and whether
// that differs from what it shows. No advertisement covers the addresses in silent; some
// may be of pools that are gone.
func changeTo(svc *corev1.Service, g ipam.Grant, silent []netip.Addr, of orphaned, occupied *ipam.Occupied) (c Change, differs bool) {
	c = Change{Addrs: g.Addrs, Allocated: conditionOf(svc, g, silent, of, occupied), pools: strings.Join(g.Pools, ",")}
	held := intent.Holds(svc)
	if len(held) > 0 && g.Moved != "" {
		c.Moved = fmt.Sprintf("held %s before: %s", intent.Join(held), g.Moved)
	}
	c.loses, c.gains = without(held, g.Addrs), without(g.Addrs, held)
	c.ingress = ingressOf(svc, g.Addrs)
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
	c.Event = before == nil || !sameWords(*before, c.Allocated) || !equality.Semantic.DeepEqual(svc.Status.LoadBalancer.Ingress, c.ingress)
	c.Conditions = slices.Clone(svc.Status.Conditions)
	intent.SetCondition(&c.Conditions, c.Allocated)
	return c, c.Event || svc.Annotations[v1beta1.AnnotationPool] != c.pools
}

// ingressOf returns what svc is to show that has these addresses. What other controllers wrote that
// is no address stays: names, and ports of an address.
func ingressOf(svc *corev1.Service, addrs []netip.Addr) (out []corev1.LoadBalancerIngress) {
	vip := corev1.LoadBalancerIPModeVIP
	shown := svc.Status.LoadBalancer.Ingress
	for _, a := range addrs {
		in := corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip}
		if i := slices.IndexFunc(shown, func(x corev1.LoadBalancerIngress) bool { return x.IP == in.IP }); i >= 0 {
			in.Hostname, in.Ports = shown[i].Hostname, shown[i].Ports
		}
		out = append(out, in)
	}
	for _, x := range shown {
		if x.IP == "" && x.Hostname != "" {
			out = append(out, x)
		}
	}
	return out
}

// remember has c say for which request an address that may be shared is granted,
// and reports whether that differs from what svc shows.
func (c *Change) remember(svc *corev1.Service, r *ipam.Request) bool {
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionSharing)
	granted, wanted := intent.Granted(r)
	if !wanted || len(c.Addrs) == 0 {
		meta.RemoveStatusCondition(&c.Conditions, v1beta1.ConditionSharing)
		return before != nil
	}
	c.granted = granted.Message
	intent.SetCondition(&c.Conditions, granted)
	return before == nil || before.Message != granted.Message
}

// WithoutOurs returns the conditions that are not the controller's.
func WithoutOurs(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool {
		switch c.Type {
		case v1beta1.ConditionAllocated, v1beta1.ConditionServiceAnnounced, v1beta1.ConditionSharing, v1beta1.ConditionContested:
			return true
		}
		return false
	})
}

// contest adds to c the condition Contested of svc, and reports whether
// that changes anything.
func (c *Change) contest(svc *corev1.Service, with Contest) (differs bool) {
	if with.reported() {
		c.Contested = with.message()
	}
	if with.overwritten() { // it gets back what it had
		before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
		c.Event = before == nil || !sameWords(*before, c.Allocated)
	}
	return with.mark(&c.Conditions)
}

// conditionsOf returns the change that tells of a contest of svc, and leaves to svc what
// it shows; and whether there is anything to tell.
func conditionsOf(svc *corev1.Service, with Contest) (c Change, differs bool) {
	c = Change{Addrs: intent.Holds(svc), Conditions: slices.Clone(svc.Status.Conditions), ConditionsOnly: true}
	differs = c.contest(svc, with)
	c.Event = false
	return c, differs
}

// without returns the addresses of a that are not in b.
func without(a, b []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// conditionOf puts a grant into the words of the Allocated condition.
func conditionOf(svc *corev1.Service, g ipam.Grant, silent []netip.Addr, of orphaned, occupied *ipam.Occupied) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionFalse, Reason: string(g.Reason), Message: g.Message}
	if len(g.Addrs) > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, v1beta1.ReasonAssigned
		origins := make([]intent.Origin, len(g.Addrs))
		for i, a := range g.Addrs {
			if origins[i] = (intent.Origin{Addr: a, Pool: g.Pools[i]}); of.pools[a] == g.Pools[i] {
				origins[i].Until = of.until
			}
			origins[i].Node = nodeOf(svc, a, occupied)
		}
		c.Message = intent.OriginsText(origins)
		if len(silent) > 0 {
			c.Message += "; " + uncovered(silent)
		}
		if g.Message != "" {
			c.Message += "; " + g.Message
		}
	}
	if slips := intent.SlipsText(intent.UnknownAnnotations(svc)); slips != "" {
		c.Message += "; " + slips
	}
	if intent.ForeignFinalizer(svc) {
		c.Message += fmt.Sprintf("; the finalizer %s was not set by Steelyard: the Service can't be deleted until its owner, such as a cloud provider or another load balancer, takes it off", v1beta1.FinalizerCleanup)
	}
	c.Message = printable.Message(c.Message) // as SetCondition writes it, and noteOf tells it
	return c
}

// uncovered says why addresses are not announced that no advertisement covers, in the words
// of package announced.
func uncovered(silent []netip.Addr) string {
	return fmt.Sprintf("no node announces %s: no L2Advertisement or BGPAdvertisement covers it", intent.Join(silent))
}

// nodeOf returns the node whose own address a is, which svc has or is to get. Who has an
// address already was given it by other knowledge: what a node reports later takes nothing away.
func nodeOf(svc *corev1.Service, a netip.Addr, occupied *ipam.Occupied) string {
	if slices.Contains(intent.Holds(svc), a) {
		return occupied.NodeOf(a, intent.OwnAddressOf(svc, a))
	}
	by, _ := occupied.Of(a)
	return by.Node
}

// stepDown is the part of a change that takes addresses away, for a Service that
// can't get others until their holders have given them back.
func stepDown(svc *corev1.Service, g ipam.Grant, of orphaned, occupied *ipam.Occupied) Change {
	var kept ipam.Grant
	held := intent.Holds(svc)
	for i, a := range g.Addrs {
		if slices.Contains(held, a) {
			kept.Addrs, kept.Pools = append(kept.Addrs, a), append(kept.Pools, g.Pools[i])
		}
	}
	if len(kept.Addrs) == 0 {
		kept.Reason = ipam.AddressInUse
		kept.Message = fmt.Sprintf("%s comes as soon as the Service that has it now has given it back", intent.Join(g.Addrs))
	}
	kept.Moved = g.Moved
	c, _ := changeTo(svc, kept, nil, of, occupied)
	return c
}
