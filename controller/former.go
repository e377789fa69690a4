package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// former returns the writes that take our words off Services that were ours and
// are of another type now. The API server itself clears their addresses; the
// watch shows only that such a Service has left. What left while no leader was
// there is found in the first pass.
func (r *reporter) former(s *scene) []write {
	var out []write
	if r.ours == nil {
		out = append(out, write{what: "find the Services that have left", do: r.findFormer, failed: func() { r.ours = nil }})
	}
	for uid, key := range r.ours {
		if _, still := s.ours[uid]; !still {
			r.left = append(r.left, key)
		}
	}
	r.ours = s.ours
	for _, key := range r.left {
		out = append(out, write{
			kind:   "Service",
			what:   "take our condition off Service " + key.String(),
			do:     func(ctx context.Context) error { return r.cleanLeft(ctx, key) },
			failed: func() { r.left = append(r.left, key) },
		})
	}
	r.left = nil
	return out
}

// findFormer cleans every Service that bears our words and is no load balancer.
func (r *reporter) findFormer(ctx context.Context) error {
	var failed []error
	others := client.MatchingFieldsSelector{Selector: fields.OneTermNotEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))}
	for more := client.Continue(""); ; {
		var page corev1.ServiceList
		if err := r.direct.List(ctx, &page, others, client.Limit(500), more); err != nil {
			return err
		}
		for i := range page.Items {
			svc := &page.Items[i]
			if svc.Annotations[v1beta1.AnnotationPool] != "" || meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated) != nil {
				failed = append(failed, client.IgnoreNotFound(r.clean(ctx, svc)))
			}
		}
		if more = client.Continue(page.Continue); more == "" {
			return errors.Join(failed...)
		}
	}
}

// cleanLeft cleans a Service that has left the watch, unless it was made anew.
func (r *reporter) cleanLeft(ctx context.Context, key client.ObjectKey) error {
	svc := &corev1.Service{}
	if err := r.direct.Get(ctx, key, svc); err != nil {
		return fmt.Errorf("read Service %s, which has left: %w", key, err)
	}
	if intent.Ours(svc, r.class) {
		return nil
	}
	return r.clean(ctx, svc)
}

// clean removes our condition and annotation from a Service that is not ours.
func (r *reporter) clean(ctx context.Context, svc *corev1.Service) error {
	before := svc.DeepCopy()
	delete(svc.Annotations, v1beta1.AnnotationPool)
	svc.Status.Conditions = slices.DeleteFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionAllocated })
	if equality.Semantic.DeepEqual(before, svc) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, svc, patch); err != nil {
		return fmt.Errorf("take our condition off Service %s: %w", intent.KeyOf(svc), err)
	}
	r.log.Info("a Service is no load balancer any more", "service", intent.KeyOf(svc))
	return nil
}
