package intent

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Refuses says in words why the selectors of a pool do not let it serve s; "" if
// they do, or can't be read. It agrees with Pools.Serves.
func Refuses(a *v1beta1.ServiceAllocation, s Consumer) string {
	if a == nil {
		return ""
	}
	if serves, err := selects(a); err != nil || serves == nil || serves(s) {
		return ""
	}
	narrowed := *a
	narrowed.ServiceSelectors = nil
	if byNamespace, _ := selects(&narrowed); byNamespace != nil && !byNamespace(s) {
		switch {
		case len(a.NamespaceSelectors) == 0:
			return fmt.Sprintf("it serves only namespace %s", printable.List(slices.Sorted(slices.Values(a.Namespaces))))
		case len(a.Namespaces) == 0:
			return fmt.Sprintf("its namespaceSelectors do not match namespace %s", s.Namespace)
		}
		return fmt.Sprintf("neither its namespaces (%s) nor its namespaceSelectors match namespace %s", printable.List(a.Namespaces), s.Namespace)
	}
	return "its serviceSelectors do not match the Service's labels"
}
