package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// many is from how many Services on a search is cheaper than a look at each.
const many = 50

// former returns the writes that take our words off Services that were ours and
// are of another type or class now. The API server itself clears their addresses; the
// watch shows only that such a Service has left. What left while no leader was
// there is found by a search.
func (r *reporter) former() []write {
	if len(r.left) > many {
		r.left, r.searched = nil, false
	}
	var out []write
	for _, key := range r.left {
		out = append(out, write{
			what:   "take our condition off Service " + key.String(),
			do:     func(ctx context.Context) error { return r.cleanLeft(ctx, key) },
			failed: func() { r.left = append(r.left, key) },
		})
	}
	r.left = nil
	return out
}

// search finds the Services that bear our words and are no load balancers, page
// by page, and those of another class now with our finalizer. They are cleaned
// like those that were seen leaving.
func (r *reporter) search(t *leader.Term) error {
	cached, err := r.services(t)
	if err != nil {
		return err
	}
	for _, svc := range cached {
		if r.state.Finalizer().Ours(svc) && !intent.Ours(svc, r.class) {
			r.left = append(r.left, client.ObjectKeyFromObject(svc))
		}
	}
	others := client.MatchingFieldsSelector{Selector: fields.OneTermNotEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))}
	for {
		var page corev1.ServiceList
		ctx, cancel := t.WriteContext(writeTimeout)
		err := r.direct.List(ctx, &page, others, client.Limit(500), r.page)
		cancel()
		if err != nil {
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				r.page = ""
			}
			return err
		}
		for i := range page.Items {
			svc := &page.Items[i]
			if svc.Annotations[v1beta1.AnnotationPool] != "" || r.state.Finalizer().Ours(svc) || meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated) != nil {
				if err := r.cleanWithin(t, svc); err != nil {
					r.log.Warn("can't take our words off a Service; trying again", "err", err)
					r.left = append(r.left, client.ObjectKeyFromObject(svc))
				}
			}
		}
		if r.page = client.Continue(page.Continue); r.page == "" {
			r.searched = true
			return nil
		}
	}
}

func (r *reporter) cleanWithin(t *leader.Term, svc *corev1.Service) error {
	ctx, cancel := t.WriteContext(writeTimeout)
	defer cancel()
	return client.IgnoreNotFound(r.clean(ctx, svc))
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

// clean removes our condition, annotations and finalizer from a Service that is
// not ours.
func (r *reporter) clean(ctx context.Context, svc *corev1.Service) error {
	before := svc.DeepCopy()
	delete(svc.Annotations, v1beta1.AnnotationPool)
	r.state.Finalizer().Remove(svc)
	svc.Status.Conditions = planner.WithoutOurs(svc.Status.Conditions)
	if equality.Semantic.DeepEqual(before, svc) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := r.client.Status().Patch(ctx, svc, patch)
	r.count("Service", err)
	if err != nil {
		return fmt.Errorf("take our condition off Service %s: %w", intent.KeyOf(svc), err)
	}
	r.log.Info("a Service is no load balancer any more", "service", intent.KeyOf(svc))
	return nil
}
