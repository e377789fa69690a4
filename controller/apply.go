package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// parallel is how many writes are under way at once.
const parallel = 32

// patience is how long one write may take. One that hangs, in somebody's
// admission webhook say, must not hold up the next pass for long.
const patience = 5 * time.Second

// apply writes what differs from the plan and reports whether anything could
// not be written. No object's failure holds up another.
//
// Addresses are taken away first and given out then, so that no two Services
// are seen with one address; what could not be taken away is not given out.
func (r *reconciler) apply(ctx context.Context, p plan) (failed bool) {
	var losing, others []write
	for _, svc := range p.services {
		g := p.grants[intent.KeyOf(svc)]
		c, differs := changeOf(svc, g, p.config.Unadvertised(svc, g.Addrs, g.Pools))
		switch {
		case !differs:
		case len(c.loses) > 0:
			losing = append(losing, r.writeService(svc, c))
		default:
			others = append(others, r.writeService(svc, c))
		}
	}
	refused := r.writeAll(ctx, losing)
	stuck := map[netip.Addr]bool{}
	for _, w := range refused {
		for _, a := range w.loses {
			stuck[a] = true
		}
	}
	free := slices.DeleteFunc(slices.Clone(others), func(w write) bool {
		return slices.ContainsFunc(w.gains, func(a netip.Addr) bool { return stuck[a] })
	})
	failures := r.writeAll(ctx, slices.Concat(free, r.reports(p)))
	return len(refused)+len(failures) > 0 || len(free) < len(others)
}

// write is one write to the API server.
type write struct {
	what         string // for the log
	do           func(context.Context) error
	failed       func()       // called, if set, when it fails; never at once with another
	loses, gains []netip.Addr // addresses that a Service gives back, and gets
}

// writeAll makes all writes, many at once, and returns those that failed.
func (r *reconciler) writeAll(ctx context.Context, writes []write) []write {
	errs := make([]error, len(writes))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, w := range writes {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			errs[i] = client.IgnoreNotFound(w.do(ctx)) // deleted meanwhile: nothing is left to write
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	var out []write
	for i, w := range writes {
		if errs[i] == nil {
			continue
		}
		r.log.Warn("can't "+w.what+"; trying again", "err", errs[i])
		if w.failed != nil {
			w.failed()
		}
		out = append(out, w)
	}
	return out
}

// change is what is to become of one Service: status, condition and annotation
// travel in one patch.
type change struct {
	ingress    []corev1.LoadBalancerIngress
	conditions []metav1.Condition
	pools      string // the annotation; empty: none
	allocated  metav1.Condition
	event      bool   // the outcome is another than before
	moved      string // why an address was taken away; empty: none was

	loses, gains []netip.Addr
}

// changeOf compares a Service with what it is granted. No advertisement covers
// the addresses in silent.
func changeOf(svc *corev1.Service, g ipam.Grant, silent []netip.Addr) (change, bool) {
	c := change{allocated: conditionOf(g, silent), pools: strings.Join(g.Pools, ","), moved: g.Moved}
	held := intent.Holds(svc)
	c.loses = slices.DeleteFunc(slices.Clone(held), func(a netip.Addr) bool { return slices.Contains(g.Addrs, a) })
	c.gains = slices.DeleteFunc(slices.Clone(g.Addrs), func(a netip.Addr) bool { return slices.Contains(held, a) })
	vip := corev1.LoadBalancerIPModeVIP
	for _, a := range g.Addrs {
		c.ingress = append(c.ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
	}
	c.conditions = append(c.conditions, svc.Status.Conditions...)
	before := meta.FindStatusCondition(c.conditions, v1beta1.ConditionAllocated)
	sameIngress := equality.Semantic.DeepEqual(svc.Status.LoadBalancer.Ingress, c.ingress)
	sameWords := before != nil && before.Status == c.allocated.Status && before.Reason == c.allocated.Reason && before.Message == c.allocated.Message
	c.event = !sameWords || !sameIngress
	meta.SetStatusCondition(&c.conditions, c.allocated)
	return c, c.event || svc.Annotations[v1beta1.AnnotationPool] != c.pools
}

// conditionOf puts a grant into the words of the Allocated condition.
func conditionOf(g ipam.Grant, silent []netip.Addr) metav1.Condition {
	if len(g.Addrs) == 0 {
		return metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionFalse, Reason: string(g.Reason), Message: g.Message}
	}
	parts := make([]string, len(g.Addrs))
	for i, a := range g.Addrs {
		parts[i] = fmt.Sprintf("%s of IPAddressPool %q", a, g.Pools[i])
	}
	message := strings.Join(parts, ", ")
	if len(silent) > 0 {
		message += fmt.Sprintf("; nobody announces %s: no L2Advertisement or BGPAdvertisement covers it", join(silent))
	}
	if g.Message != "" {
		message += "; kept although a request can't be read: " + g.Message
	}
	return metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned, Message: message}
}

// writeService returns the write that brings a change about.
func (r *reconciler) writeService(svc *corev1.Service, c change) write {
	return write{
		what:  "write the status of Service " + intent.KeyOf(svc).String(),
		do:    func(ctx context.Context) error { return r.patch(ctx, svc, c) },
		loses: c.loses, gains: c.gains,
	}
}

// patch patches svc and tells of it. The patch holds only for the version of
// the Service that the plan was made from, so that a former leader who wakes
// up late changes nothing.
func (r *reconciler) patch(ctx context.Context, svc *corev1.Service, c change) error {
	annotation := any(c.pools)
	if c.pools == "" {
		annotation = nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": svc.ResourceVersion,
			"annotations":     map[string]any{v1beta1.AnnotationPool: annotation},
		},
		"status": map[string]any{
			"loadBalancer": map[string]any{"ingress": c.ingress},
			"conditions":   c.conditions,
		},
	})
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	out := &corev1.Service{}
	out.Namespace, out.Name = svc.Namespace, svc.Name
	if err := r.client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	out.ManagedFields = nil
	r.assumed.Saw(out)
	r.tell(out, svc, c)
	return nil
}

// maxNote is how long the text of an event may be (events.k8s.io/v1).
const maxNote = 1000

// tell says what changed, once: in an event and in the log.
func (r *reconciler) tell(svc, before *corev1.Service, c change) {
	if !c.event {
		return
	}
	message := c.allocated.Message
	if held := intent.Holds(before); len(held) > 0 && c.moved != "" {
		message = fmt.Sprintf("%s (held %s before: %s)", message, join(held), c.moved)
	}
	kind := corev1.EventTypeNormal
	if c.allocated.Status == metav1.ConditionFalse {
		kind = corev1.EventTypeWarning
	}
	note := message
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "") + "…"
	}
	r.events.Eventf(svc, nil, kind, c.allocated.Reason, "Allocate", "%s", note)
	r.log.Info("allocation changed", "service", intent.KeyOf(svc), "reason", c.allocated.Reason, "message", message)
}

func join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
