package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// serviceChecks returns the checks of Services.
func serviceChecks() []check {
	return []check{
		{"waiting", "Has every Service an address?", known((*cluster).waiting), nil},
		{"reachable", "Is every address announced, and is there an endpoint behind it?", known((*cluster).reachable), nil},
		{"local-endpoints", "Has every Service with externalTrafficPolicy Local an endpoint that is ready?", known((*cluster).local), nil},
		{"annotations", "Does every annotation that asks for something have an effect?", known((*cluster).annotations), nil},
	}
}

// known wraps a check of the Services of our class: it is Unknown instead of OK if
// the class is a guess.
func known(examine func(*cluster) outcome) func(*cluster) outcome {
	return func(p *cluster) outcome {
		v := examine(p)
		if v.result == "" && p.Guessed {
			return outcome{Unknown, []string{"which class of Services Steelyard serves could not be read"}, "say it: --load-balancer-class (\"\" for Services that name none)"}
		}
		return v
	}
}

func (p *cluster) waiting() outcome {
	var evidence []string
	for i, svc := range p.Served {
		if len(intent.Holds(svc)) > 0 {
			continue
		}
		g := p.Grants[i]
		reason := fmt.Sprintf("%s: %s", g.Reason, g.Message)
		if len(g.Addrs) > 0 {
			reason = fmt.Sprintf("the controller should give it %s: does it run?", g.Addrs)
		}
		evidence = append(evidence, fmt.Sprintf("Service %s/%s: %s", svc.Namespace, svc.Name, reason))
	}
	v := found(Warning, evidence, "kubectl steelyard explain svc/NAME tells more of each")
	if v.result == "" {
		v.evidence = []string{plural(len(p.Served), "Service") + " with an address"}
	}
	return v
}

func (p *cluster) local() outcome {
	var evidence []string
	for _, svc := range p.Served {
		if svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			continue
		}
		if ready, all := p.Serving(intent.KeyOf(svc)); ready == 0 {
			evidence = append(evidence, fmt.Sprintf("Service %s/%s: %d of %s ready", svc.Namespace, svc.Name, ready, plural(all, "endpoint")))
		}
	}
	return found(Warning, evidence, "no node announces such a Service: see that its selector matches Pods, and that they are ready")
}

func (p *cluster) annotations() outcome {
	var evidence []string
	for _, svc := range p.Served {
		slips, ignored := intent.SlipsText(intent.UnknownAnnotations(svc)), intent.IgnoredText(p.AnnotationPrefixes.Ignored(svc))
		for _, text := range []string{slips, ignored} {
			if text != "" {
				evidence = append(evidence, fmt.Sprintf("Service %s/%s: %s", svc.Namespace, svc.Name, text))
			}
		}
	}
	return found(Warning, evidence, "correct them: the annotations are "+strings.Join(intent.Requests(), ", "))
}
