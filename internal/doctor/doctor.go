// Package doctor examines a cluster for what is known to keep clients from
// Services, or will on a bad day: each check has a name, a result, its evidence
// and a remedy.
//
// The checks are pure functions of what was read of the cluster at one moment.
// What can only be seen on a node its speaker tells in its Speaker object.
package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/world"
)

// Around is what is around Steelyard in a cluster.
type Around struct {
	System       string         // Steelyard's own namespace
	Workloads    []Workload     // of all namespaces
	Foreign      []Foreign      // objects of other load balancers
	ProxyConfigs []string       // of kube-proxy, as texts
	ServiceCIDRs []netip.Prefix // of ClusterIPs
	OldKinds     []string       // what OldKind says of our kinds
	Policy       bool           // the policy for what speakers write is in force
	Forbidden    []Gap          // what its reader was forbidden to see of all this
}

// Gap is a kind of objects that the reader of a cluster was forbidden to list.
type Gap struct {
	Resource  string // as roles call it, with its group: deployments.apps
	Namespace string // empty: in all
}

func (g Gap) String() string {
	return "you may not list " + g.Resource + g.where("in all namespaces", "in namespace ")
}

// remedy is a command that tells whether it is allowed.
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

// clusterScoped reports whether a resource that checks need is in no namespace.
func clusterScoped(resource string) bool {
	return slices.Contains([]string{serviceCIDRs, kinds, ciliumPools, policies, bindings}, resource)
}

// The resources that checks need beside those without which there is nothing to
// be said at all.
const (
	deployments  = "deployments.apps"
	daemonSets   = "daemonsets.apps"
	statefulSets = "statefulsets.apps"
	pods         = "pods"
	configMaps   = "configmaps"
	leases       = "leases.coordination.k8s.io"
	serviceCIDRs = "servicecidrs.networking.k8s.io"
	kinds        = "customresourcedefinitions.apiextensions.k8s.io"
	policies     = "validatingadmissionpolicies.admissionregistration.k8s.io"
	bindings     = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
	ciliumPools  = "ciliumloadbalancerippools.cilium.io"
)

// Workload is a Deployment, DaemonSet or StatefulSet, or a Pod that belongs to
// none, such as a static one.
type Workload struct {
	Kind, Namespace, Name string
	Images                []string
	Settings              []string // arguments, and the environment as NAME=VALUE
	Replicas              int32    // that it wants
	Ready                 int32
}

func (w Workload) String() string {
	return fmt.Sprintf("%s %s/%s", w.Kind, w.Namespace, w.Name)
}

// Foreign counts objects of a kind of another load balancer.
type Foreign struct {
	Product, Kind string
	Count         int
}

// Result is what came of a check.
type Result string

// The results.
const (
	OK      Result = "OK"
	Warning Result = "Warning" // it may do harm, now or on a bad day
	Fault   Result = "Fault"   // it does harm
	Unknown Result = "Unknown" // it could not be looked at
)

// Finding is what one check found.
type Finding struct {
	Check    string   `json:"check"`
	Asks     string   `json:"asks"` // what it looks at
	Result   Result   `json:"result"`
	Evidence []string `json:"evidence,omitempty"`
	Remedy   string   `json:"remedy,omitempty"` // empty if it is OK
}

// check is one check. It returns what is wrong, the gravest as its Result.
type check struct {
	name, asks string
	examine    func(*patient) verdict
	needs      []string // resources: it is OK only if they could be read
}

// verdict is what a check returns. The zero verdict is health.
type verdict struct {
	result   Result // empty: OK if all could be read that the check needs
	evidence []string
	remedy   string
}

// patient is a cluster, and what follows from it, worked out once.
type patient struct {
	*world.Thought
	Around
}

// checks are all checks, in the order in which they are told: what others depend
// on comes first.
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

// Examine runs the checks of these names; none: all.
func Examine(w *world.World, a Around, names ...string) []Finding {
	p := &patient{Thought: w.Think(), Around: a}
	if w.Leases == nil {
		p.Around.Forbidden = append(slices.Clone(a.Forbidden), Gap{leases, a.System})
	}
	var out []Finding
	for _, x := range checks() {
		if len(names) > 0 && !slices.Contains(names, x.name) {
			continue
		}
		v := p.bounded(x.examine(p), x.needs)
		f := Finding{Check: x.name, Asks: x.asks, Result: v.result, Evidence: few(v.evidence), Remedy: v.remedy}
		if f.Result == "" || f.Result == OK {
			f.Result, f.Remedy = OK, ""
		}
		out = append(out, f)
	}
	return out
}

// bounded returns v, unless it says that all is well of something that was not
// there to be seen.
func (p *patient) bounded(v verdict, needs []string) verdict {
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
		return verdict{Unknown, unread, "have somebody look who may, or allow it to yourself (" + strings.Join(remedies, "; ") + ")"}
	}
	v.evidence = append(slices.Clone(v.evidence), unread...)
	return v
}

// few sorts evidence and leaves out what would be a flood.
func few(in []string) []string {
	const most = 8
	in = slices.Clone(in)
	slices.Sort(in)
	in = slices.Compact(in)
	if len(in) > most {
		in = append(in[:most:most], fmt.Sprintf("and %d more", len(in)-most))
	}
	return in
}

// found is a verdict of that result if there is evidence, else health.
func found(r Result, evidence []string, remedy string) verdict {
	if len(evidence) == 0 {
		return verdict{}
	}
	return verdict{r, evidence, remedy}
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// joined writes a list for people.
func joined(in []string) string {
	in = slices.Clone(in)
	slices.Sort(in)
	return strings.Join(slices.Compact(in), ", ")
}
