package intent

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ClassUsage says what the flag --load-balancer-class does, which controller, speakers and the
// plugin must have alike.
const ClassUsage = "Services of this spec.loadBalancerClass; empty: those without one. Several: by commas, or the flag repeated; an empty one among them stands for Services without one"

// AddClass returns a function for a flag that adds classes to those in all, by commas: the first
// call replaces what is there.
func AddClass(all *string) func(string) error {
	given := false
	return func(classes string) error {
		if given {
			classes = *all + "," + classes
		}
		*all, given = classes, true
		return nil
	}
}

// ServesClass reports whether class ("": none) is among classes, by commas.
func ServesClass(classes, class string) bool {
	for c := range strings.SplitSeq(classes, ",") {
		if c == class {
			return true
		}
	}
	return false
}

// ClassOf returns the load balancer class that svc names; "": none.
func ClassOf(svc *corev1.Service) string {
	if svc.Spec.LoadBalancerClass == nil {
		return ""
	}
	return *svc.Spec.LoadBalancerClass
}

// ClassesText puts classes, by commas, in words: those of Services.
func ClassesText(classes string) string {
	var named []string
	without := false
	for class := range strings.SplitSeq(classes, ",") {
		if class == "" {
			without = true
		} else {
			named = append(named, class)
		}
	}
	switch text := strings.Join(named, " and "); {
	case text == "":
		return "Services that name no class"
	case without:
		return "Services of class " + text + " and those that name none"
	default:
		return "Services of class " + text
	}
}
