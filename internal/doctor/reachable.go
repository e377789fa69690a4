package doctor

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// reachable finds what keeps clients from Services with addresses: what status and explain
// say of them.
func (p *cluster) reachable() outcome {
	var evidence []string
	result := Warning
	said := p.Announcements(p.Shown())
	for _, svc := range p.Served {
		k := intent.KeyOf(svc)
		if len(intent.Holds(svc)) == 0 {
			continue // the check waiting tells of it
		}
		d := p.Diagnose(k, said.Of[k])
		if d.Reason == "" {
			continue
		}
		if d.Reason == world.NoEndpoints || d.Reason == world.Contested || !p.Reported(k).Fine() && p.Reported(k).Status != metav1.ConditionUnknown {
			result = Fault
		}
		evidence = append(evidence, fmt.Sprintf("Service %s: %s: %s", k, d.Reason, d.Text))
	}
	v := found(result, evidence, "kubectl steelyard explain svc/NAME tells more of each; "+version.Page("docs/troubleshooting/unreachable.md")+" has the remedy of each reason")
	if v.result == "" {
		v.evidence = []string{plural(len(p.Served), "Service") + " looked at"}
	}
	return v
}
