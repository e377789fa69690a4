package main

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// finalizer says whether Services that have an address get the finalizer (the
// flag --cleanup-finalizer), and for which class this controller works. The zero
// finalizer sets none, and takes off those that it had set.
type finalizer struct {
	wanted bool
	class  string
}

// cleanup is what becomes of the finalizer on a Service.
type cleanup int

const (
	leaveFinalizer cleanup = iota
	setFinalizer
	dropFinalizer
)

// mark is the annotation's value beside a finalizer of ours. Another Steelyard
// works for another class.
func (f finalizer) mark() string { return "class=" + f.class }

// ours reports whether the finalizer on svc, if it is there, is ours. Another load
// balancer may have set the same one: that is not touched, nor set a second time.
func (f finalizer) ours(svc *corev1.Service) bool {
	return svc.Annotations[v1beta1.AnnotationFinalizer] == f.mark()
}

// foreignFinalizer reports whether the finalizer on svc is that of no Steelyard.
func foreignFinalizer(svc *corev1.Service) bool {
	return slices.Contains(svc.Finalizers, v1beta1.FinalizerCleanup) && svc.Annotations[v1beta1.AnnotationFinalizer] == ""
}

// cleanup returns what is to become of the finalizer on svc, which has addresses or not.
func (f finalizer) cleanup(svc *corev1.Service, addressed bool) cleanup {
	wanted := f.wanted && addressed && svc.DeletionTimestamp == nil
	switch {
	case wanted && !slices.Contains(svc.Finalizers, v1beta1.FinalizerCleanup):
		return setFinalizer
	case !wanted && f.ours(svc):
		return dropFinalizer
	}
	return leaveFinalizer
}

// patch adds to a patch of svc what brings c about. Finalizers are a list that
// is written as a whole: the patch must hold for that version of svc only.
func (f finalizer) patch(svc *corev1.Service, c cleanup, metadata, annotations map[string]any) {
	switch c {
	case setFinalizer:
		metadata["finalizers"] = append(slices.Clone(svc.Finalizers), v1beta1.FinalizerCleanup)
		annotations[v1beta1.AnnotationFinalizer] = f.mark()
	case dropFinalizer:
		metadata["finalizers"] = withoutFinalizer(svc.Finalizers)
		annotations[v1beta1.AnnotationFinalizer] = nil
	}
}

// remove takes the finalizer off svc if it is ours.
func (f finalizer) remove(svc *corev1.Service) {
	if f.ours(svc) {
		svc.Finalizers = withoutFinalizer(svc.Finalizers)
		delete(svc.Annotations, v1beta1.AnnotationFinalizer)
	}
}

func withoutFinalizer(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == v1beta1.FinalizerCleanup })
}

// lets reports whether svc is being deleted and either waits for us, or has no
// address: nothing is given to it any more. Others that are being deleted keep
// what they have until they are gone.
func (f finalizer) lets(svc *corev1.Service) bool {
	return svc.DeletionTimestamp != nil && (f.ours(svc) || len(intent.Holds(svc)) == 0)
}

// farewell takes all that is ours off a Service that is being deleted, and
// reports whether anything is to be written: addresses and finalizer in one, so
// that it is not gone before they are free.
func (f finalizer) farewell(svc *corev1.Service) (change, bool) {
	return change{
		conditions: withoutOurs(svc.Status.Conditions),
		cleanup:    f.cleanup(svc, false),
		loses:      intent.Holds(svc),
	}, f.ours(svc)
}

// changeFor returns what is to be written to the i-th Service, and whether that
// differs from what it shows.
func (p plan) changeFor(i int) (c change, differs bool) {
	svc, g := p.services[i].svc, p.grants[i]
	if p.services[i].leaves {
		return p.finalizer.farewell(svc)
	}
	c, differs = changeTo(svc, g, p.config.Unadvertised(svc, g.Addrs, g.Pools))
	differs = c.remember(svc, &p.services[i].request) || differs
	c.cleanup = p.finalizer.cleanup(svc, len(g.Addrs) > 0)
	tells := c.contest(svc, p.contests[svc.UID])
	return c, differs || tells || c.cleanup != leaveFinalizer
}
