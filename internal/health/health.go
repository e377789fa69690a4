// Package health is the single model of what works and what does not, from what the
// objects report. The plugin's status and doctor, the controller's page, and the
// documentation of the alerts use it. It decides nothing, and reads no API server.
package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Objects is what the programs report of themselves and of their work, at one moment.
type Objects struct {
	Now       time.Time              // when they were read
	Namespace string                 // Steelyard's own namespace
	Leases    []coordinationv1.Lease // of that namespace; nil: they could not be read
	Speakers  []v1beta1.Speaker
	Claims    []v1beta1.L2Claim
	Sessions  []v1beta1.BGPSession
	// Excluded is why each node must not announce; "": it may. A speaker of such a node may
	// be away, and that of a node that is gone is about to be deleted. nil: not known.
	Excluded map[string]string

	index *leaseIndex // of Leases; nil: not built yet
}

// Severity is how bad a problem is.
type Severity int

const (
	Fault   Severity = iota // something does not work
	Waiting                 // something waits, or works in part
)

// Problem is something that needs attention.
type Problem struct {
	Kind, Name string // of the object that has it
	Severity   Severity
	Reason     string // one word, as in a condition
	Message    string
	Alert      string // the alert of config/monitoring for the same; "": none
}

// Problems returns the problems of controller, speakers, sessions and layer-2
// addresses, by kind and name.
func (w *Objects) Problems() []Problem {
	var out []Problem
	if _, absent := w.Controller(); absent != "" {
		out = append(out, Problem{"Controller", "", Fault, "NotRunning", absent, "SteelyardNoLeader"})
	}
	for node, excluded := range w.Excluded {
		if there := w.Presence(node); there.State == Never && excluded == "" {
			out = append(out, Problem{"Node", node, Fault, string(Never), there.Message, ""})
		}
	}
	for i := range w.Speakers {
		if w.matters(w.Speakers[i].Name) {
			out = append(out, w.ofSpeaker(&w.Speakers[i])...)
		}
	}
	out = append(out, w.ofSessions()...)
	for i := range w.Claims {
		c := &w.Claims[i]
		if x := Condition(c.Status.Conditions, v1beta1.ConditionConflict); x.Status == metav1.ConditionTrue {
			out = append(out, Problem{"L2Claim", string(c.Spec.Address), Fault, x.Reason, x.Message, "SteelyardAddressConflict"})
		}
	}
	out = append(out, w.leftovers()...)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

// leftovers returns the addresses that a node's own link has and another node announces: a former
// load balancer, or a hand, has left them there, and both nodes answer.
func (w *Objects) leftovers() (out []Problem) {
	owner := make(map[string]string, len(w.Claims))
	for i := range w.Claims {
		owner[string(w.Claims[i].Spec.Address)] = w.Claims[i].Spec.Node
	}
	for i := range w.Speakers {
		s := &w.Speakers[i]
		if s.Status.Host == nil || w.Outdated(s.Name) {
			continue
		}
		for _, a := range s.Status.Host.Addresses {
			if node := owner[a.Address]; node != "" && node != s.Name {
				out = append(out, Problem{"L2Claim", a.Address, Fault, "LeftoverAddress", fmt.Sprintf(
					"node %s has it on its own link %s, and node %s announces it: both answer; on %s take it off that link: ip address del %s dev %s", s.Name, a.Link, node, s.Name, a.Address, a.Link), ""})
			}
		}
	}
	return out
}

// matters reports whether what is wrong with the speaker of a node needs attention.
func (w *Objects) matters(node string) bool {
	excluded, there := w.Excluded[node]
	switch state := w.Presence(node).State; {
	case w.Excluded == nil:
		return true
	case state == Unknown || state == Stopped:
		return there && excluded == ""
	}
	return there
}

// CompareKinds orders kinds by name, but for Services, which come first: they are what
// clients notice.
func CompareKinds(a, b string) int {
	of := func(kind string) string { return strings.TrimPrefix(kind, "Service") }
	return strings.Compare(of(a), of(b))
}

// ofSpeaker returns the problems of a node's speaker. If the API server has lost the
// speaker, its last report is outdated and is ignored.
func (w *Objects) ofSpeaker(s *v1beta1.Speaker) []Problem {
	problem := func(severity Severity, reason, message, alert string) Problem {
		return Problem{"Speaker", s.Name, severity, reason, message, alert}
	}
	there := w.Presence(s.Name)
	switch there.State {
	case Unknown, Stopped:
		return []Problem{problem(Fault, string(there.State), there.Message, "SteelyardSpeakerMissing")}
	}
	var out []Problem
	if there.State == Isolated {
		out = append(out, problem(Fault, string(Isolated), there.Message, "SteelyardSpeakerIsolated"))
	}
	if c := Condition(s.Status.Conditions, v1beta1.ConditionKernelAnswers); c.Status == metav1.ConditionTrue {
		out = append(out, problem(Fault, v1beta1.ConditionKernelAnswers, c.Message, "SteelyardKernelAnswers"))
	}
	if c := Condition(s.Status.Conditions, v1beta1.ConditionNotForwarding); c.Status == metav1.ConditionTrue {
		out = append(out, problem(Waiting, v1beta1.ConditionNotForwarding, c.Message, ""))
	}
	if meta.IsStatusConditionTrue(s.Status.Conditions, v1beta1.ConditionRestarting) {
		out = append(out, problem(Waiting, v1beta1.ConditionRestarting, "its node keeps its addresses meanwhile", ""))
	}
	for _, l := range s.Status.Links {
		if !l.Up {
			out = append(out, problem(Waiting, "LinkDown", fmt.Sprintf("link %s is down, or has no carrier", l.Name), ""))
		}
	}
	return out
}

// Outdated reports whether the last report of a node's speaker may be wrong by now.
func (w *Objects) Outdated(node string) bool {
	state := w.Presence(node).State
	return state == Unknown || state == Stopped || state == Never
}

// OfConfiguration returns the problems of a configuration object, by its conditions.
func OfConfiguration(kind, name string, conditions []metav1.Condition) []Problem {
	var out []Problem
	for _, of := range []string{v1beta1.ConditionAccepted, v1beta1.ConditionResolvedRefs} {
		if c := Condition(conditions, of); c.Status == metav1.ConditionFalse {
			out = append(out, Problem{kind, name, Fault, c.Reason, c.Message, "SteelyardConfigRefused"})
		}
	}
	// The problem of its sessions has more to say of a peer without one.
	if c := Condition(conditions, v1beta1.ConditionProgrammed); len(out) == 0 && c.Status == metav1.ConditionFalse && c.Reason != v1beta1.ReasonNoSessionEstablished {
		out = append(out, Problem{kind, name, Waiting, c.Reason, c.Message, ""})
	}
	return out
}

// OfPool returns a problem for each family of a pool without a free address. A pool of one
// address that Services ask for is meant to be full.
func OfPool(p *v1beta1.IPAddressPool) []Problem {
	onRequest := p.Spec.AutoAssign != nil && !*p.Spec.AutoAssign
	var out []Problem
	for _, f := range []struct {
		name  string
		usage *v1beta1.PoolUsage
	}{{"IPv4", p.Status.IPv4}, {"IPv6", p.Status.IPv6}} {
		if f.usage != nil && f.usage.Available == "0" && f.usage.Capacity != "0" && !(onRequest && f.usage.Capacity == "1") {
			out = append(out, Problem{"IPAddressPool", p.Name, Waiting, "Full", "every " + f.name + " address is assigned: the next Service that needs one waits", "SteelyardPoolExhausted"})
		}
	}
	return out
}

// Incomplete is the reason of a Service that has addresses, with a reservation.
const Incomplete = "Incomplete"

// OfService returns the problems of a Service, by its conditions and its annotations.
func OfService(svc *corev1.Service) []Problem {
	slips := OfAnnotations(svc)
	return append(byConditions(svc, slips), slips...)
}

// OfAnnotations returns the problem that annotations of a Service are most likely slips.
func OfAnnotations(svc *corev1.Service) []Problem {
	text := intent.SlipsText(intent.UnknownAnnotations(svc))
	if text == "" {
		return nil
	}
	return []Problem{{"Service", svc.Namespace + "/" + svc.Name, Waiting, v1beta1.ReasonUnknownAnnotation, text, ""}}
}

// byConditions returns the problems of a Service that its conditions tell of, but for slips
// in annotations, which are problems of their own.
func byConditions(svc *corev1.Service, slips []Problem) []Problem {
	problem := func(severity Severity, reason, message, alert string) []Problem {
		return []Problem{{"Service", svc.Namespace + "/" + svc.Name, severity, reason, printable.Message(message), alert}}
	}
	if c := Condition(svc.Status.Conditions, v1beta1.ConditionContested); c.Status == metav1.ConditionTrue {
		return problem(Fault, c.Reason, c.Message, "SteelyardServiceContested")
	}
	switch c := Condition(svc.Status.Conditions, v1beta1.ConditionAllocated); c.Status {
	case "":
		return problem(Waiting, "Pending", "the controller has not said anything about it yet", "")
	case metav1.ConditionTrue:
		if out := notAnnounced(svc); out != nil {
			return out
		}
		if intent.PoolDeleted(svc) {
			return problem(Waiting, v1beta1.ReasonPoolDeleted, c.Message, "")
		}
		message := c.Message
		for _, s := range slips {
			message = strings.Replace(message, "; "+s.Message, "", 1)
		}
		if _, reservation, has := strings.Cut(message, "; "); has {
			return problem(Waiting, Incomplete, reservation, "")
		}
		return nil
	default:
		return problem(Fault, c.Reason, c.Message, "SteelyardServicesPending")
	}
}

// notAnnounced returns that no node is known to announce an address of a Service, or that
// clients are refused there.
func notAnnounced(svc *corev1.Service) []Problem {
	c := Condition(svc.Status.Conditions, v1beta1.ConditionServiceAnnounced)
	severity, alert := Fault, "SteelyardServicesUnannounced"
	switch {
	case c.Status == "" || c.Reason == v1beta1.ReasonAnnounced:
		return nil
	case c.Status == metav1.ConditionUnknown:
		severity = Waiting
	case c.Status == metav1.ConditionTrue:
		alert = "SteelyardServicesUnserved"
	}
	return []Problem{{"Service", svc.Namespace + "/" + svc.Name, severity, c.Reason, printable.Message(c.Message), alert}}
}

// Condition returns the condition of that type; the zero value if there is none.
func Condition(all []metav1.Condition, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(all, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}
