package planner

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Finalizer says whether Services that have an address get the finalizer (the
// flag --cleanup-finalizer), and for which class this controller works. The zero
// finalizer sets none, and takes off those that it had set.
type Finalizer struct {
	Wanted bool
	Class  string // classes, by commas
}

// cleanup is what becomes of the finalizer on a Service.
type cleanup int

const (
	leaveFinalizer cleanup = iota
	setFinalizer
	dropFinalizer
)

// Mark is the annotation's value beside a finalizer of ours on svc. Another Steelyard
// works for another class.
func (f Finalizer) Mark(svc *corev1.Service) string { return "class=" + intent.ClassOf(svc) }

// Ours reports whether the finalizer on svc, if it is there, is ours. Another load
// balancer may have set the same one: that is not touched, nor set a second time.
func (f Finalizer) Ours(svc *corev1.Service) bool {
	class, marked := strings.CutPrefix(svc.Annotations[v1beta1.AnnotationFinalizer], "class=")
	return marked && intent.ServesClass(f.Class, class)
}

// Cleanup returns what is to become of the finalizer on svc, which has addresses or not.
func (f Finalizer) Cleanup(svc *corev1.Service, addressed bool) cleanup {
	wanted := f.Wanted && addressed && svc.DeletionTimestamp == nil
	switch {
	case wanted && !slices.Contains(svc.Finalizers, v1beta1.FinalizerCleanup):
		return setFinalizer
	case !wanted && f.Ours(svc):
		return dropFinalizer
	}
	return leaveFinalizer
}

// Apply brings c about.
func (f Finalizer) Apply(svc *corev1.Service, c cleanup) {
	switch c {
	case setFinalizer:
		svc.Finalizers = append(svc.Finalizers, v1beta1.FinalizerCleanup)
		svc.Annotations[v1beta1.AnnotationFinalizer] = f.Mark(svc)
	case dropFinalizer:
		f.Remove(svc)
	}
}

// Remove takes the finalizer off svc if it is ours.
func (f Finalizer) Remove(svc *corev1.Service) {
	if f.Ours(svc) {
		svc.Finalizers = withoutFinalizer(svc.Finalizers)
		delete(svc.Annotations, v1beta1.AnnotationFinalizer)
	}
}

func withoutFinalizer(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == v1beta1.FinalizerCleanup })
}

// isReleasing reports whether svc is being deleted and either waits for us, or has no
// address: nothing is given to it any more. Others that are being deleted keep
// what they have until they are gone.
func (f Finalizer) isReleasing(svc *corev1.Service) bool {
	return svc.DeletionTimestamp != nil && (f.Ours(svc) || len(intent.Holds(svc)) == 0)
}

// release takes all that is ours off a Service that is being deleted, and
// reports whether anything is to be written: addresses and finalizer in one, so
// that it is not gone before they are free.
func (f Finalizer) release(svc *corev1.Service) (Change, bool) {
	return Change{
		Conditions: WithoutOurs(svc.Status.Conditions),
		cleanup:    f.Cleanup(svc, false),
		loses:      intent.Holds(svc),
	}, f.Ours(svc)
}

// granted returns what is granted to the i-th Service; its message also names what the Service
// asks another load balancer for.
func (p Plan) granted(i int) ipam.Grant {
	g := p.Grants[i]
	if ignored := intent.IgnoredText(p.prefixes.Ignored(p.Services[i].Object)); ignored != "" {
		g.Message = strings.TrimPrefix(g.Message+"; "+ignored, "; ")
	}
	return g
}

// changeFor returns what is to be written to the i-th Service, and whether that
// differs from what it shows.
func (p Plan) changeFor(i int) (c Change, differs bool) {
	svc, g := p.Services[i].Object, p.granted(i)
	if p.Services[i].releasing {
		return p.finalizer.release(svc)
	}
	silent := p.config.Unadvertised(svc, g.Addrs, g.Pools)
	c, differs = changeTo(svc, g, silent, p.Services[i].orphaned, p.occupied)
	differs = c.remember(svc, &p.Services[i].request) || differs
	c.cleanup = p.finalizer.Cleanup(svc, len(g.Addrs) > 0)
	differs = c.contest(svc, p.Contests[svc.UID]) || differs || c.cleanup != leaveFinalizer
	c.AnnouncedOnly = c.announce(svc, p.announced, silent) && !differs
	c.ConditionsOnly = c.AnnouncedOnly
	return c, differs || c.AnnouncedOnly
}
