package main

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
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// change is what is to become of one Service: status, condition and annotation
// travel in one patch.
type change struct {
	addrs      []netip.Addr
	ingress    []corev1.LoadBalancerIngress
	conditions []metav1.Condition
	pools      string // the annotation; empty: none
	granted    string // the message of the condition Sharing; empty: there is none

	cleanup      cleanup // what becomes of the finalizer
	words        bool    // only the conditions are written: what the Service shows stays as it is
	contested    string  // what the condition Contested says; empty: it is not there
	allocated    metav1.Condition
	event        bool   // the outcome is another than before
	moved        string // why an address was taken away; empty: none was
	loses, gains []netip.Addr
}

// same reports whether two changes come to the same.
func (c change) same(d change) bool {
	return slices.Equal(c.addrs, d.addrs) && c.pools == d.pools && c.granted == d.granted && c.cleanup == d.cleanup && c.words == d.words && c.contested == d.contested && sameWords(c.allocated, d.allocated)
}

func sameWords(a, b metav1.Condition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

// changeTo returns the change that brings about what svc is granted, and whether
// that differs from what it shows. No advertisement covers the addresses in silent.
func changeTo(svc *corev1.Service, g ipam.Grant, silent []netip.Addr) (c change, differs bool) {
	c = change{addrs: g.Addrs, allocated: conditionOf(svc, g, silent), pools: strings.Join(g.Pools, ","), moved: g.Moved}
	held := intent.Holds(svc)
	c.loses, c.gains = without(held, g.Addrs), without(g.Addrs, held)
	vip := corev1.LoadBalancerIPModeVIP
	for _, a := range g.Addrs {
		c.ingress = append(c.ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
	}
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
	c.event = before == nil || !sameWords(*before, c.allocated) || !equality.Semantic.DeepEqual(svc.Status.LoadBalancer.Ingress, c.ingress)
	c.conditions = slices.Clone(svc.Status.Conditions)
	cluster.SetCondition(&c.conditions, c.allocated)
	return c, c.event || svc.Annotations[v1beta1.AnnotationPool] != c.pools
}

// remember has c say for which request an address that may be shared is granted,
// and reports whether that differs from what svc shows.
func (c *change) remember(svc *corev1.Service, r *ipam.Request) bool {
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionSharing)
	granted, wanted := intent.Granted(r)
	if !wanted || len(c.addrs) == 0 {
		meta.RemoveStatusCondition(&c.conditions, v1beta1.ConditionSharing)
		return before != nil
	}
	c.granted = granted.Message
	cluster.SetCondition(&c.conditions, granted)
	return before == nil || before.Message != granted.Message
}

// withoutOurs returns the conditions that are not the controller's.
func withoutOurs(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool {
		return c.Type == v1beta1.ConditionAllocated || c.Type == v1beta1.ConditionSharing || c.Type == v1beta1.ConditionContested
	})
}

// contest adds to c what is to be told of a contest of svc, and reports whether
// that changes anything.
func (c *change) contest(svc *corev1.Service, with contest) (differs bool) {
	if with.told() {
		c.contested = with.message()
	}
	if with.lies() { // it gets back what it had
		before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
		c.event = before == nil || !sameWords(*before, c.allocated)
	}
	return with.mark(&c.conditions)
}

// words returns the change that tells of a contest of svc, and leaves to svc what
// it shows; and whether there is anything to tell.
func words(svc *corev1.Service, with contest) (c change, differs bool) {
	c = change{addrs: intent.Holds(svc), conditions: slices.Clone(svc.Status.Conditions), words: true}
	differs = c.contest(svc, with)
	c.event = false
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
func conditionOf(svc *corev1.Service, g ipam.Grant, silent []netip.Addr) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionFalse, Reason: string(g.Reason), Message: g.Message}
	if len(g.Addrs) > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, v1beta1.ReasonAssigned
		parts := make([]string, len(g.Addrs))
		for i, a := range g.Addrs {
			parts[i] = a.String() + " of IPAddressPool \"" + g.Pools[i] + "\""
		}
		c.Message = strings.Join(parts, ", ")
		if len(silent) > 0 {
			c.Message += fmt.Sprintf("; nobody announces %s: no L2Advertisement or BGPAdvertisement covers it", join(silent))
		}
		if g.Message != "" {
			c.Message += "; " + g.Message
		}
	}
	if slips := intent.UnknownAnnotations(svc); len(slips) > 0 {
		c.Message += fmt.Sprintf("; annotation %s means nothing: known are loadBalancerIPs, address-pool and allow-shared-ip", printable.List(slips))
	}
	if foreignFinalizer(svc) {
		c.Message += fmt.Sprintf("; the finalizer %s was not set by Steelyard: the Service can't be deleted until whoever set it, such as a cloud provider or another load balancer, takes it off", v1beta1.FinalizerCleanup)
	}
	c.Message = printable.Message(c.Message) // as SetCondition writes it, and noteOf tells it
	return c
}

// giveUp is the part of a change that takes addresses away, for a Service that
// can't get others until their holders have given them back.
func giveUp(svc *corev1.Service, g ipam.Grant) change {
	var kept ipam.Grant
	held := intent.Holds(svc)
	for i, a := range g.Addrs {
		if slices.Contains(held, a) {
			kept.Addrs, kept.Pools = append(kept.Addrs, a), append(kept.Pools, g.Pools[i])
		}
	}
	if len(kept.Addrs) == 0 {
		kept.Reason = ipam.AddressInUse
		kept.Message = fmt.Sprintf("%s comes as soon as the Service that has it now has given it back", join(g.Addrs))
	}
	kept.Moved = g.Moved
	c, _ := changeTo(svc, kept, nil)
	return c
}

func join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
