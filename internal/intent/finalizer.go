package intent

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// ForeignFinalizer reports whether the finalizer on svc is that of no Steelyard.
func ForeignFinalizer(svc *corev1.Service) bool {
	return slices.Contains(svc.Finalizers, v1beta1.FinalizerCleanup) && svc.Annotations[v1beta1.AnnotationFinalizer] == ""
}
