package main

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// former returns the writes that take our words off Services that were ours in
// an earlier pass and are of another type now. The API server itself clears the
// addresses; the watch shows only that such a Service has left.
func (r *reconciler) former(p plan) []report {
	now := make(map[types.UID]client.ObjectKey, len(p.services))
	for _, svc := range p.services {
		now[svc.UID] = client.ObjectKeyFromObject(svc)
	}
	for uid, key := range r.ours {
		if _, still := now[uid]; !still {
			r.left = append(r.left, key)
		}
	}
	r.ours = now
	left := r.left
	r.left = nil
	var out []report
	for _, key := range left {
		out = append(out, func(ctx context.Context) error {
			err := r.clean(ctx, key)
			if client.IgnoreNotFound(err) != nil {
				r.leave(key) // again, in the next pass
			}
			return err
		})
	}
	return out
}

// leave remembers a Service that is still to be cleaned.
func (r *reconciler) leave(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, key)
}

// clean removes our condition and annotation from a Service that is not ours.
func (r *reconciler) clean(ctx context.Context, key client.ObjectKey) error {
	svc := &corev1.Service{}
	if err := r.direct.Get(ctx, key, svc); err != nil {
		return fmt.Errorf("read Service %s, which has left: %w", key, err)
	}
	if intent.Ours(svc, r.class) {
		return nil // made anew
	}
	before := svc.DeepCopy()
	delete(svc.Annotations, v1beta1.AnnotationPool)
	svc.Status.Conditions = slices.DeleteFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionAllocated })
	if equality.Semantic.DeepEqual(before, svc) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, svc, patch); err != nil {
		return fmt.Errorf("take our condition off Service %s: %w", key, err)
	}
	r.log.Info("a Service is no load balancer any more", "service", intent.KeyOf(svc))
	return nil
}
