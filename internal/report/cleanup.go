package report

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

// limit is the number of Services from which a sweep costs less than a look at each.
const limit = 50

// cleanup returns the writes that remove our marks from Services that have left: they
// are of another type or class now. The API server itself clears their addresses. A
// sweep finds those that left without a leader.
func (r *Reporter) cleanup() []write {
	if len(r.released) > limit {
		r.released, r.swept = nil, false
	}
	var out []write
	for _, key := range r.released {
		out = append(out, write{
			what:   "remove our marks from Service " + key.String(),
			do:     func(ctx context.Context) error { return r.cleanReleased(ctx, key) },
			failed: func() { r.released = append(r.released, key) },
		})
	}
	r.released = nil
	return out
}

// sweep finds the Services with our marks that are no load balancers, page by page,
// and those of another class with our finalizer. It cleans them.
func (r *Reporter) sweep(t *leader.Term) error {
	cached, err := r.Services(t)
	if err != nil {
		return err
	}
	for _, svc := range cached {
		if r.Finalizer.Ours(svc) && !intent.Ours(svc, r.Class) {
			r.released = append(r.released, client.ObjectKeyFromObject(svc))
		}
	}
	others := client.MatchingFieldsSelector{Selector: fields.OneTermNotEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))}
	for {
		var page corev1.ServiceList
		ctx, cancel := t.WriteContext(writeTimeout)
		err := r.Direct.List(ctx, &page, others, client.Limit(500), r.page)
		cancel()
		if err != nil {
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				r.page = ""
			}
			return err
		}
		for i := range page.Items {
			svc := &page.Items[i]
			if svc.Annotations[v1beta1.AnnotationPool] != "" || r.Finalizer.Ours(svc) || meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated) != nil {
				if err := r.cleanWithin(t, svc); err != nil {
					r.Log.Warn("can't remove our marks from a Service; trying again", "err", err)
					r.released = append(r.released, client.ObjectKeyFromObject(svc))
				}
			}
		}
		if r.page = client.Continue(page.Continue); r.page == "" {
			r.swept = true
			return nil
		}
	}
}

func (r *Reporter) cleanWithin(t *leader.Term, svc *corev1.Service) error {
	ctx, cancel := t.WriteContext(writeTimeout)
	defer cancel()
	return client.IgnoreNotFound(r.clean(ctx, svc))
}

// cleanReleased cleans a Service that has left, unless it is ours again.
func (r *Reporter) cleanReleased(ctx context.Context, key client.ObjectKey) error {
	svc := &corev1.Service{}
	if err := r.Direct.Get(ctx, key, svc); err != nil {
		return fmt.Errorf("read Service %s, which has left: %w", key, err)
	}
	if intent.Ours(svc, r.Class) {
		return nil
	}
	return r.clean(ctx, svc)
}

// clean removes our condition, annotations and finalizer from a Service that is not
// ours.
func (r *Reporter) clean(ctx context.Context, svc *corev1.Service) error {
	before := svc.DeepCopy()
	delete(svc.Annotations, v1beta1.AnnotationPool)
	r.Finalizer.Remove(svc)
	svc.Status.Conditions = planner.WithoutOurs(svc.Status.Conditions)
	if equality.Semantic.DeepEqual(before, svc) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := r.Client.Status().Patch(ctx, svc, patch)
	r.Count("Service", err)
	if err != nil {
		return fmt.Errorf("remove our marks from Service %s: %w", intent.KeyOf(svc), err)
	}
	r.Log.Info("a Service is no load balancer any more", "service", intent.KeyOf(svc))
	return nil
}
