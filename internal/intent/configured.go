package intent

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Configured is the configuration of one moment. It must not be changed.
type Configured struct {
	Objects Objects // the cache's own
	Config  *Config // what they come to; the same one while only statuses change
}

// Later reports whether a is a later version of the same object than b.
// Versions that can't be compared count as not later, so that the cache wins.
func Later(a, b metav1.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}
