package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// apply writes what differs from the plan and reports whether anything could
// not be written. No object's failure holds up another.
func (r *reconciler) apply(ctx context.Context, p plan) (failed bool) {
	var bad atomic.Bool
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, svc := range p.services {
		change, differs := changeOf(svc, p.grants[intent.KeyOf(svc)])
		if !differs {
			continue
		}
		group.Go(func() error {
			written, err := r.write(ctx, svc, change)
			if err != nil {
				bad.Store(true)
				r.log.Warn("can't write a Service's status; trying again", "service", intent.KeyOf(svc), "err", err)
				return nil
			}
			r.assumed.Saw(written)
			return nil
		})
	}
	for _, write := range r.reports(p) {
		group.Go(func() error {
			if err := write(ctx); client.IgnoreNotFound(err) != nil {
				bad.Store(true)
				r.log.Warn("can't write the status of a configuration object; trying again", "err", err)
			}
			return nil
		})
	}
	_ = group.Wait() // every failure was logged, and counted in bad
	return bad.Load()
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
}

// changeOf compares a Service with what it is granted.
func changeOf(svc *corev1.Service, g ipam.Grant) (change, bool) {
	c := change{allocated: conditionOf(g), pools: strings.Join(g.Pools, ","), moved: g.Moved}
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
func conditionOf(g ipam.Grant) metav1.Condition {
	if len(g.Addrs) == 0 {
		return metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionFalse, Reason: string(g.Reason), Message: g.Message}
	}
	parts := make([]string, len(g.Addrs))
	for i, a := range g.Addrs {
		parts[i] = fmt.Sprintf("%s of IPAddressPool %q", a, g.Pools[i])
	}
	message := strings.Join(parts, ", ")
	if g.Message != "" {
		message += "; kept although a request can't be read: " + g.Message
	}
	return metav1.Condition{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned, Message: message}
}

// write patches svc and tells of it. The patch holds only for the version of
// the Service that the plan was made from, so that a former leader who wakes
// up late changes nothing.
func (r *reconciler) write(ctx context.Context, svc *corev1.Service, c change) (*corev1.Service, error) {
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
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	out := &corev1.Service{}
	out.Namespace, out.Name = svc.Namespace, svc.Name
	err = r.client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	switch {
	case apierrors.IsNotFound(err):
		return svc, nil // deleted meanwhile: nothing is left to write
	case err != nil:
		return nil, fmt.Errorf("patch the status: %w", err)
	}
	out.ManagedFields = nil
	r.tell(out, svc, c)
	return out, nil
}

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
	r.events.Eventf(svc, nil, kind, c.allocated.Reason, "Allocate", "%s", message)
	r.log.Info("allocation changed", "service", intent.KeyOf(svc), "reason", c.allocated.Reason, "message", message)
}

func join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
