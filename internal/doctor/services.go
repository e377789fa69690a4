package doctor

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// serviceChecks look at the Services.
func serviceChecks() []check {
	return []check{
		{"waiting", "Has every Service an address?", known((*patient).waiting), nil},
		{"local-endpoints", "Has every Service with externalTrafficPolicy Local an endpoint that is ready?", known((*patient).local), nil},
		{"annotations", "Does every annotation of ours mean something?", known((*patient).annotations), nil},
	}
}

// known has a check of the Services that are served say that it does not know
// where all seems well, and which are served was only guessed.
func known(examine func(*patient) verdict) func(*patient) verdict {
	return func(p *patient) verdict {
		v := examine(p)
		if v.result == "" && p.Guessed {
			return verdict{Unknown, []string{"which class of Services Steelyard serves could not be read"}, "say it: --load-balancer-class (\"\" for Services that name none)"}
		}
		return v
	}
}

func (p *patient) waiting() verdict {
	var evidence []string
	for i, svc := range p.Served {
		if len(intent.Holds(svc)) > 0 {
			continue
		}
		g := p.Grants[i]
		why := fmt.Sprintf("%s: %s", g.Reason, g.Message)
		if len(g.Addrs) > 0 {
			why = fmt.Sprintf("the controller should give it %s: does it run?", g.Addrs)
		}
		evidence = append(evidence, fmt.Sprintf("Service %s/%s: %s", svc.Namespace, svc.Name, why))
	}
	v := found(Warning, evidence, "kubectl steelyard explain svc/NAME tells more of each")
	if v.result == "" {
		v.evidence = []string{plural(len(p.Served), "Service") + " with an address"}
	}
	return v
}

func (p *patient) local() verdict {
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

func (p *patient) annotations() verdict {
	var evidence []string
	for _, svc := range p.Served {
		for _, name := range intent.UnknownAnnotations(svc) {
			evidence = append(evidence, fmt.Sprintf("Service %s/%s: %s", svc.Namespace, svc.Name, name))
		}
	}
	return found(Warning, evidence, "most likely a slip: the annotations are steelyard.dev/loadBalancerIPs, steelyard.dev/address-pool and steelyard.dev/allow-shared-ip")
}
