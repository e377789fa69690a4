package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Diagnosis is the most important fact about a Service.
type Diagnosis struct {
	Reason string // "": clients reach the Service
	Text   string
}

// The reasons of a Diagnosis, beside those of an ipam.Grant of a Service without an
// address, and those of the condition Announced.
const (
	NotServed    = "NotServed"                     // another load balancer, or none, serves it
	NotWritten   = "NotWritten"                    // its status is not what the controller should write
	Contested    = v1beta1.ReasonStatusOverwritten // another controller overwrites its status
	Disagreement = "Disagreement"                  // what the speakers report differs from what follows from the objects
	// ExternalIPRefused: an address in spec.externalIPs is of a pool that announces such, and no node announces it.
	ExternalIPRefused = "ExternalIPRefused"
	NoEndpoints       = "NoEndpoints" // no endpoint is ready
)

// Diagnose returns the first thing that keeps clients from the Service k, which must
// exist. said is nil if the Service has no address.
func (t *Evaluation) Diagnose(k ipam.Key, said *Announcement) Diagnosis {
	svc := t.Service(k)
	i, ours := t.Index(k)
	if externals := t.ExternalsOf(k); !ours && len(externals) > 0 {
		return t.diagnoseExternals(k, said, externals)
	}
	if !ours {
		return Diagnosis{NotServed, t.notOurs(svc)}
	}
	shown := intent.Holds(svc)
	for _, diagnose := range []func() Diagnosis{
		func() Diagnosis { return t.statusProblem(svc, t.Grants[i]) },
		func() Diagnosis { return t.notAnnounced(k, v1beta1.ReasonPending) },
		func() Diagnosis { return t.disagreement(k, said) },
		func() Diagnosis { return t.notAnnounced(k) },
		func() Diagnosis { return t.noEndpoints(k, shown) },
	} {
		if d := diagnose(); d.Reason != "" {
			return d
		}
	}
	return Diagnosis{Text: t.success(k, said, shown)}
}

// diagnoseExternals is Diagnose for a Service that has addresses in spec.externalIPs alone.
func (t *Evaluation) diagnoseExternals(k ipam.Key, said *Announcement, all []intent.External) Diagnosis {
	var addrs []netip.Addr
	for _, x := range all {
		if x.Refused != "" {
			return Diagnosis{ExternalIPRefused, fmt.Sprintf("%s in spec.externalIPs is of IPAddressPool %s, and no node announces it: %s", x.Addr, x.Pool, x.Refused)}
		}
		addrs = append(addrs, x.Addr)
	}
	for _, diagnose := range []func() Diagnosis{
		func() Diagnosis { return t.notAnnounced(k) },
		func() Diagnosis { return t.noEndpoints(k, addrs) },
	} {
		if d := diagnose(); d.Reason != "" {
			return d
		}
	}
	return Diagnosis{Text: t.success(k, said, addrs)}
}

// statusProblem returns why the status of svc does not show the addresses that the
// controller should assign.
func (t *Evaluation) statusProblem(svc *corev1.Service, g ipam.Grant) Diagnosis {
	shown := intent.Holds(svc)
	contested := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionContested)
	switch {
	case contested != nil && contested.Status == metav1.ConditionTrue:
		return Diagnosis{Contested, printable.Message(contested.Message)}
	case len(g.Addrs) == 0 && len(shown) == 0:
		return Diagnosis{string(g.Reason), "it gets no address: " + g.Message}
	case len(g.Addrs) == 0:
		return Diagnosis{NotWritten, fmt.Sprintf("it shows %s, which it should lose: %s", intent.Join(shown), g.Message)}
	case len(shown) == 0:
		return Diagnosis{NotWritten, fmt.Sprintf("it should have %s, and has no address: does the controller run?", intent.Join(g.Addrs))}
	case !slices.Equal(g.Addrs, shown):
		return Diagnosis{NotWritten, fmt.Sprintf("it shows %s, and should have %s: does the controller run?", intent.Join(shown), intent.Join(g.Addrs))}
	}
	return Diagnosis{}
}

// notAnnounced returns why no node is known to announce one of the addresses, or why
// clients are refused there, in the words of the condition Announced; not for those reasons.
func (t *Evaluation) notAnnounced(k ipam.Key, not ...string) Diagnosis {
	if x := t.Reported(k); !x.Fine() && !slices.Contains(not, x.Reason) {
		return Diagnosis{x.Reason, x.Message}
	}
	return Diagnosis{}
}

// Reported returns what the condition Announced of the Service k is to say; the zero Result if
// it has no address.
func (t *Evaluation) Reported(k ipam.Key) announced.Result {
	if t.reach == nil {
		t.reach, _ = announced.Evaluate(t.Shown(), t.backends(), &t.Objects)
	}
	return t.reach[k]
}

// disagreement returns the first difference between what the speakers say and
// what follows from the objects.
func (t *Evaluation) disagreement(k ipam.Key, announced *Announcement) Diagnosis {
	if different := t.Differences(k, announced); len(different) > 0 {
		return Diagnosis{Disagreement, different[0]}
	}
	return Diagnosis{}
}

// noEndpoints returns that no endpoint of a Service is ready.
func (t *Evaluation) noEndpoints(k ipam.Key, addrs []netip.Addr) Diagnosis {
	if serving, all := t.Serving(k); serving == 0 {
		return Diagnosis{NoEndpoints, fmt.Sprintf("%s is announced, and none of its %d endpoints is ready: clients are refused", intent.Join(addrs), all)}
	}
	return Diagnosis{}
}

// noNodeAnnounces returns the beginning of a sentence. It does not claim more than is
// known: a speaker that the API server has lost may still announce.
func (w *Snapshot) noNodeAnnounces() string {
	for i := range w.Nodes {
		if w.Presence(w.Nodes[i].Name).State == health.Unknown {
			return "no node is known to announce"
		}
	}
	return "no node announces"
}

// notOurs explains why Steelyard does not serve svc.
func (t *Evaluation) notOurs(svc *corev1.Service) string {
	switch class := svc.Spec.LoadBalancerClass; {
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return fmt.Sprintf("it is of type %s: only those of type LoadBalancer get an address", svc.Spec.Type)
	case class != nil:
		return fmt.Sprintf("it is for load balancer class %s; Steelyard serves %s", *class, intent.ClassesText(t.Class))
	}
	return "it names no loadBalancerClass; Steelyard serves " + intent.ClassesText(t.Class)
}

// success describes how clients reach the Service.
func (t *Evaluation) success(k ipam.Key, announced *Announcement, addrs []netip.Addr) string {
	var parts []string
	for _, a := range addrs {
		if owner := announced.Owner[a]; owner != "" {
			parts = append(parts, fmt.Sprintf("node %s answers for %s", owner, a))
		}
	}
	for _, a := range addrs {
		if up, all := t.Established(announced.Offers[a], a); all > 0 {
			parts = append(parts, fmt.Sprintf("%s is offered in %d of %d BGP sessions", a, up, all))
		}
	}
	serving, all := t.Serving(k)
	return fmt.Sprintf("%s; %d of %d endpoints ready", strings.Join(parts, ", "), serving, all)
}

// Carries reports whether a session carries the family of a.
func (t *Evaluation) Carries(s *v1beta1.BGPSessionStatus, a netip.Addr) bool {
	i := slices.IndexFunc(t.Checked.Neighbors, func(n announce.Neighbor) bool { return n.Peer.Name == s.Peer })
	if i < 0 {
		return false
	}
	var labels, annotations map[string]string
	if node := t.Node(s.Node); node != nil {
		labels, annotations = node.Labels, node.Annotations
	}
	return t.Checked.Neighbors[i].On(labels, annotations).Carries(ipam.FamilyOf(a))
}

// Established counts the sessions of these nodes that carry the family of a: those
// that are up, and all.
func (t *Evaluation) Established(nodes []string, a netip.Addr) (up, all int) {
	for i := range t.Sessions {
		s := &t.Sessions[i].Status
		if !slices.Contains(nodes, s.Node) || !t.Carries(s, a) {
			continue
		}
		all++
		if t.Up(s) {
			up++
		}
	}
	return up, all
}

// Differences returns where the reports of the speakers about a Service differ from
// what follows from the objects, as sentences.
func (t *Evaluation) Differences(k ipam.Key, announced *Announcement) []string {
	var out []string
	svc := t.Service(k)
	i, ours := t.Index(k)
	if svc == nil || !ours {
		return nil
	}
	if pools := strings.Join(t.Grants[i].Pools, ","); svc.Annotations[v1beta1.AnnotationPool] != pools && len(intent.Holds(svc)) > 0 {
		out = append(out, fmt.Sprintf("annotation %s is %q; by the objects it is %q", v1beta1.AnnotationPool, svc.Annotations[v1beta1.AnnotationPool], pools))
	}
	if announced == nil {
		return out
	}
	for _, a := range intent.Holds(svc) {
		if text := t.difference(a, announced.Owner[a]); text != "" {
			out = append(out, text)
		}
	}
	for _, node := range announced.Offering() {
		for i := range t.Checked.Neighbors {
			out = append(out, t.missing(node, i)...)
		}
	}
	return out
}

// difference compares the owner that follows from the objects with the L2Claim.
func (t *Evaluation) difference(a netip.Addr, owner string) string {
	c := t.Claim(a)
	switch {
	case owner == "" && c == nil:
		return ""
	case owner == "":
		if x := health.Condition(c.Status.Conditions, v1beta1.ConditionAnnounced); x.Status == metav1.ConditionTrue {
			return fmt.Sprintf("node %s says that it answers for %s; by the objects no node may", c.Status.Node, a)
		}
		return ""
	case c == nil:
		return fmt.Sprintf("node %s should answer for %s, and there is no L2Claim of it: does its speaker run?", owner, a)
	case c.Spec.Node != owner:
		text := fmt.Sprintf("the L2Claim of %s names node %s; by the objects it is node %s", a, c.Spec.Node, owner)
		if p := t.Presence(c.Spec.Node); p.State == health.Unknown {
			text += ", for " + p.Message
		}
		return text
	case c.Status.Node != c.Spec.Node:
		return fmt.Sprintf("the L2Claim of %s names node %s, which has not said yet that it answers", a, c.Spec.Node)
	}
	if x := health.Condition(c.Status.Conditions, v1beta1.ConditionAnnounced); x.Status != metav1.ConditionTrue {
		return fmt.Sprintf("node %s should answer for %s, and says that it does not: %s", owner, a, strings.TrimSpace(x.Reason+" "+x.Message))
	}
	return ""
}

// missing returns a sentence if a node should hold a session to a peer and reports
// none.
func (t *Evaluation) missing(node string, neighbor int) []string {
	n := t.Checked.Neighbors[neighbor]
	obj := t.Node(node)
	if obj == nil || n.Nodes != nil && !n.Nodes(obj.Labels) || t.Session(node, n.Peer.Name) != nil {
		return nil
	}
	return []string{fmt.Sprintf("node %s should hold a session to BGPPeer %s, and there is no BGPSession of it", node, n.Peer.Name)}
}

// RouteDifferences returns the established sessions whose number of routes differs
// from what follows from the objects, as sentences. It looks at the nodes that
// advertise the Service k.
func (t *Evaluation) RouteDifferences(announced Announcements, k ipam.Key) []string {
	of := announced.Of[k]
	if of == nil {
		return nil
	}
	var out []string
	for i := range t.Sessions {
		s := &t.Sessions[i].Status
		want, holds := announced.Routes[PeerOnNode{s.Node, s.Peer}]
		if s.State != health.Established || s.Prefixes == nil || !holds || !slices.Contains(of.Offering(), s.Node) || int(s.Prefixes.Advertised) == want {
			continue
		}
		text := fmt.Sprintf("node %s says that it offers %d routes to %s; by the objects it is %d", s.Node, s.Prefixes.Advertised, s.Peer, want)
		if s.LastError != "" {
			text += ": " + s.LastError
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// Claim returns the L2Claim of an address, or nil.
func (w *Snapshot) Claim(a netip.Addr) *v1beta1.L2Claim {
	for i := range w.Claims {
		if w.Claims[i].Name == intent.ClaimName(a) {
			return &w.Claims[i]
		}
	}
	return nil
}

// Session returns what a node reports of its session to a peer; nil: nothing.
func (w *Snapshot) Session(node, peer string) *v1beta1.BGPSession {
	for i := range w.Sessions {
		if s := &w.Sessions[i]; s.Status.Node == node && s.Status.Peer == peer {
			return s
		}
	}
	return nil
}

// Serving counts the endpoints of a Service: the ready ones, and all.
func (w *Snapshot) Serving(k ipam.Key) (ready, all int) {
	for _, e := range w.endpointsOf(k) {
		all++
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			ready++
		}
	}
	return ready, all
}
