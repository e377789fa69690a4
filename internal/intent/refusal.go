package intent

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// servesOnly says in words which Services a pool serves.
func servesOnly(a *v1beta1.ServiceAllocation) string {
	var in []string
	if len(a.Namespaces) > 0 {
		in = append(in, "Services of namespace "+printable.List(slices.Sorted(slices.Values(a.Namespaces))))
	}
	if len(a.NamespaceSelectors) > 0 {
		in = append(in, []string{"Services", "those"}[len(in)]+" of namespaces with "+selectors(a.NamespaceSelectors))
	}
	switch out := strings.Join(in, ", and "); {
	case len(a.ServiceSelectors) == 0:
		return out
	case out == "":
		return "Services with " + selectors(a.ServiceSelectors)
	default:
		return out + ", and of these only those with " + selectors(a.ServiceSelectors)
	}
}

// selectors puts selectors of labels, one of which must match, in words.
func selectors(all []metav1.LabelSelector) string {
	out := make([]string, len(all))
	for i := range all {
		if out[i] = metav1.FormatLabelSelector(&all[i]); len(all[i].MatchLabels)+len(all[i].MatchExpressions) == 0 {
			out[i] = "any labels"
		}
	}
	return strings.Join(printable.Words(out), " or ")
}

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
