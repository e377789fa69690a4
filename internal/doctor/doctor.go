// Package doctor checks a cluster for known causes of unreachable Services, now or
// after the next failure. Each check has a name, a result, its evidence and a remedy.
//
// The checks are pure functions of what was read of the cluster at one moment. A
// speaker reports in its Speaker object what can only be seen on its node.
package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/world"
)

// Environment is what a cluster has beside Steelyard.
type Environment struct {
	System       string     // Steelyard's own namespace
	Workloads    []Workload // of all namespaces
	Foreign      []Foreign  // objects of other load balancers
	ProxyConfigs []string   // of kube-proxy, as texts
	OldKinds     []string   // what OldKind returns for our kinds
	Policy       bool       // the policy for what speakers may write is in force
	Forbidden    []Gap      // what the user may not list of all this
}

// Gap is a resource that the user may not list.
type Gap struct {
	Resource  string // as roles name it, with its group: deployments.apps
	Namespace string // empty: in all namespaces
}

func (g Gap) String() string {
	return "you may not list " + g.Resource + g.where("in all namespaces", "in namespace ")
}

// remedy returns a command that shows whether it is allowed.
func (g Gap) remedy() string {
	return "kubectl auth can-i list " + g.Resource + g.where("-A", "-n ")
}

func (g Gap) where(everywhere, within string) string {
	switch {
	case clusterScoped(g.Resource):
		return ""
	case g.Namespace == "":
		return " " + everywhere
	}
	return " " + within + g.Namespace
}

// clusterScoped reports whether a resource that checks need has no namespace.
func clusterScoped(resource string) bool {
	return slices.Contains([]string{serviceCIDRs, kinds, ciliumPools, policies, bindings}, resource)
}

// The resources that checks need, beside those without which no check is possible.
const (
	deployments  = "deployments.apps"
	daemonSets   = "daemonsets.apps"
	statefulSets = "statefulsets.apps"
	pods         = "pods"
	events       = "events"
	configMaps   = "configmaps"
	leases       = "leases.coordination.k8s.io"
	serviceCIDRs = "servicecidrs.networking.k8s.io"
	kinds        = "customresourcedefinitions.apiextensions.k8s.io"
	policies     = "validatingadmissionpolicies.admissionregistration.k8s.io"
	bindings     = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
	ciliumPools  = "ciliumloadbalancerippools.cilium.io"
)

// Workload is a Deployment, DaemonSet or StatefulSet, or a Pod without one of these,
// such as a static Pod.
type Workload struct {
	Kind, Namespace, Name string
	Images                []string
	Settings              []string // arguments, and the environment as NAME=VALUE
	Replicas              int32    // wanted
	Current               int32    // there are so many Pods of them, ready or not
	Refused               string   // why Pods could not be made, as Kubernetes tells; "": it does not tell
}

func (w Workload) String() string {
	return fmt.Sprintf("%s %s/%s", w.Kind, w.Namespace, w.Name)
}

// Foreign counts the objects of a kind of another load balancer.
type Foreign struct {
	Product, Kind string
	Count         int
}

// Result is the result of a check.
type Result string

const (
	OK      Result = "OK"
	Warning Result = "Warning" // it may make a Service unreachable, now or after a failure
	Fault   Result = "Fault"   // it makes a Service unreachable
	Unknown Result = "Unknown" // it could not be checked
)

// Finding is what one check found.
type Finding struct {
	Check    string   `json:"check"`
	Asks     string   `json:"asks"` // the question that it answers
	Result   Result   `json:"result"`
	Evidence []string `json:"evidence,omitempty"` // if the result is OK: what was looked at
	Remedy   string   `json:"remedy,omitempty"`   // empty if the result is OK
}

// check is one check. It returns what is wrong, with the worst result.
type check struct {
	name, asks string
	examine    func(*cluster) outcome
	needs      []string // resources: it is OK only if the user may list them
}

// outcome is what a check returns. The zero outcome means that nothing is wrong.
type outcome struct {
	result   Result // empty: OK if the user may list all that the check needs
	evidence []string
	remedy   string
}

// cluster is a cluster and its evaluation.
type cluster struct {
	*world.Evaluation
	Environment
}

// checks returns all checks in the order of the report: what others depend on comes
// first.
func checks() []check {
	return slices.Concat(programChecks(), nodeChecks(), addressChecks(), wireChecks(), serviceChecks())
}

// Checks returns the names of all checks.
func Checks() []string {
	var out []string
	for _, c := range checks() {
		out = append(out, c.name)
	}
	return out
}

// Examine runs the checks with these names; none: all checks.
func Examine(w *world.Snapshot, a Environment, names ...string) []Finding {
	p := &cluster{Evaluation: w.Evaluate(), Environment: a}
	p.Environment.Forbidden = slices.Clone(a.Forbidden)
	if w.Leases == nil {
		p.Environment.Forbidden = append(p.Environment.Forbidden, Gap{leases, a.System})
	}
	if w.ClusterIPsUnread {
		p.Environment.Forbidden = append(p.Environment.Forbidden, Gap{Resource: serviceCIDRs})
	}
	var out []Finding
	for _, x := range checks() {
		if len(names) > 0 && !slices.Contains(names, x.name) {
			continue
		}
		v := p.bounded(x.examine(p), x.needs)
		f := Finding{Check: x.name, Asks: x.asks, Result: v.result, Evidence: limited(v.evidence), Remedy: v.remedy}
		if f.Result == "" || f.Result == OK {
			f.Result, f.Remedy = OK, ""
			if text := p.examined(x.name); len(f.Evidence) == 0 && text != "" {
				f.Evidence = []string{text}
			}
		}
		out = append(out, f)
	}
	return out
}

// bounded returns v, or Unknown if v is OK only for lack of permissions.
func (p *cluster) bounded(v outcome, needs []string) outcome {
	var unread, remedies []string
	for _, g := range p.Forbidden {
		if slices.Contains(needs, g.Resource) {
			unread, remedies = append(unread, g.String()), append(remedies, g.remedy())
		}
	}
	switch {
	case len(unread) == 0:
		return v
	case v.result == OK:
		return v
	case v.result == "" || v.result == Unknown:
		return outcome{Unknown, unread, "ask for the permission, or let a user with it run this (" + strings.Join(remedies, "; ") + ")"}
	}
	v.evidence = append(slices.Clone(v.evidence), unread...)
	return v
}

// limited sorts evidence and limits its length.
func limited(in []string) []string {
	const most = 8
	in = slices.Clone(in)
	slices.Sort(in)
	in = slices.Compact(in)
	if len(in) > most {
		in = append(in[:most:most], fmt.Sprintf("and %d more", len(in)-most))
	}
	return in
}

// found returns that result if there is evidence, else the zero outcome.
func found(r Result, evidence []string, remedy string) outcome {
	if len(evidence) == 0 {
		return outcome{}
	}
	return outcome{r, evidence, remedy}
}

// plural returns a number with its noun.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// joined returns a sorted list for people.
func joined(in []string) string {
	in = slices.Clone(in)
	slices.Sort(in)
	return strings.Join(slices.Compact(in), ", ")
}
