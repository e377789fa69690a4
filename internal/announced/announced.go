// Package announced decides what to report of each Service: whether its addresses are
// announced, by what the speakers report (L2Claims, BGPSessions, their Leases), and for which
// reason not, by what the speakers decide from (package announce). It is pure. The controller
// writes what it says into the condition Announced; the plugin says the same.
package announced

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Result is the report on one Service.
type Result struct {
	Addrs   []netip.Addr           // those that it is about
	Status  metav1.ConditionStatus // True: some node announces every address
	Reason  string                 // with status True another than Announced: clients are refused
	Message string
}

// Fine reports whether clients reach the Service, as far as announcing goes.
func (r Result) Fine() bool { return r.Reason == v1beta1.ReasonAnnounced }

// Condition returns r as a condition.
func (r Result) Condition() metav1.Condition {
	return metav1.Condition{Type: v1beta1.ConditionServiceAnnounced, Status: r.Status, Reason: r.Reason, Message: printable.Message(r.Message)}
}

// Nodes returns the nodes as the speakers see them, as far as the objects tell.
func Nodes(nodes []corev1.Node, o *health.Objects, rule intent.Exclusion) []announce.Node {
	links, unready := map[string][]announce.Link{}, map[string]bool{}
	for i := range o.Speakers {
		unready[o.Speakers[i].Name] = health.Condition(o.Speakers[i].Status.Conditions, v1beta1.ConditionNotForwarding).Status == metav1.ConditionTrue
		links[o.Speakers[i].Name] = intent.Links(&o.Speakers[i])
	}
	out := make([]announce.Node, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		out[i] = announce.Node{
			Name: n.Name, Labels: n.Labels, Annotations: n.Annotations, Links: links[n.Name],
			Live: o.Presence(n.Name).State == health.Alive, Excluded: rule.Reason(n), Yields: rule.Yields(n), Unready: unready[n.Name], Addr: intent.NodeAddress(n),
		}
	}
	slices.SortFunc(out, func(a, b announce.Node) int { return strings.Compare(a.Name, b.Name) }) // so that messages do not depend on the order
	return out
}

// Backends is what keeps traffic from the endpoints of each Service.
type Backends map[ipam.Key]intent.Backends

// judge is one evaluation.
type judge struct {
	s        announce.Snapshot
	backends Backends
	forecast *announce.Forecast
	presence map[string]health.PresenceState
	// kubeProxy: it runs on some node.
	kubeProxy bool
	claims    map[netip.Addr]*v1beta1.L2Claim
	sessions  map[session]*v1beta1.BGPSessionStatus
	programs  programs
}

// session names a node's session to a peer.
type session struct{ node, peer string }

// Evaluate returns the report on each Service of s, which has addresses, and the backends
// of its own, and what the advertisements of s come to. What the speakers report is o.
func Evaluate(s announce.Snapshot, backends Backends, o *health.Objects) (map[ipam.Key]Result, Programmed) {
	j := &judge{
		s: s, backends: backends, presence: make(map[string]health.PresenceState, len(s.Nodes)),
		claims: make(map[netip.Addr]*v1beta1.L2Claim, len(o.Claims)), sessions: make(map[session]*v1beta1.BGPSessionStatus, len(o.Sessions)),
		programs: programs{map[intent.Ref]map[netip.Addr]bool{}, map[intent.Ref]map[string]bool{}},
	}
	for i := range s.Nodes {
		j.presence[s.Nodes[i].Name] = o.Presence(s.Nodes[i].Name).State
	}
	j.kubeProxy = slices.ContainsFunc(o.Speakers, func(s v1beta1.Speaker) bool { return s.Status.Host != nil && s.Status.Host.ProxyMode != "" })
	for i := range o.Claims {
		if a, err := netip.ParseAddr(string(o.Claims[i].Spec.Address)); err == nil {
			j.claims[a] = &o.Claims[i]
		}
	}
	for i := range o.Sessions {
		x := &o.Sessions[i].Status
		j.sessions[session{x.Node, x.Peer}] = x
	}
	j.forecast = s.Forecast(func(n announce.Node) bool { return sends(j.presence[n.Name]) })
	out := make(map[ipam.Key]Result, len(s.Services))
	for i := range s.Services {
		svc := &s.Services[i]
		out[svc.Key] = j.service(svc)
		for _, a := range svc.Addrs {
			j.program(svc, a)
		}
	}
	return out, j.programmed()
}

// finding is the report on one address.
type finding struct {
	status metav1.ConditionStatus
	reason string
	text   string // with addrs in the place of the addresses
}

// addrs stands for addresses in a text.
const addrs = "\x00"

// service returns the report on a Service: that on the worst of its addresses, with all
// others that share it.
func (j *judge) service(svc *announce.Service) Result {
	found := make([]finding, len(svc.Addrs))
	all := make([]netip.Addr, len(svc.Addrs))
	worst := finding{status: metav1.ConditionTrue, reason: v1beta1.ReasonAnnounced}
	for i, a := range svc.Addrs {
		found[i], all[i] = j.address(svc, a), a.Addr
		if badness(found[i]) > badness(worst) {
			worst = found[i]
		}
	}
	out := Result{Addrs: all, Status: worst.status, Reason: worst.reason}
	var parts []string
	for i, f := range found {
		if f.status != worst.status || f.reason != worst.reason || slices.Contains(found[:i], f) {
			continue
		}
		var about []netip.Addr
		for k := range found {
			if found[k] == f {
				about = append(about, all[k])
			}
		}
		parts = append(parts, strings.ReplaceAll(f.text, addrs, intent.Join(about)))
	}
	out.Message = strings.Join(parts, "; ")
	return out
}

func badness(f finding) int {
	if f.status == metav1.ConditionTrue && f.reason == v1beta1.ReasonAnnounced {
		return -1
	}
	return slices.Index([]metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionUnknown, metav1.ConditionFalse}, f.status)
}

// address returns the report on one address of svc.
func (j *judge) address(svc *announce.Service, a announce.Address) finding {
	claim := j.claims[a.Addr]
	if text, ok := conflict(claim); ok {
		return finding{metav1.ConditionFalse, v1beta1.ReasonAddressConflict, text}
	}
	answers, said := j.answers(claim)
	routes := j.routes(svc, a)
	var ways []string
	if answers == health.Alive {
		ways = append(ways, "on the local network")
	}
	if routes.up {
		ways = append(ways, "by BGP")
	}
	switch {
	case len(ways) > 0:
		return j.served(svc, a, addrs+" "+strings.Join(ways, " and "))
	case said && answers == health.Unknown || routes.last != "":
		who := routes.last
		if said && answers == health.Unknown {
			who = claim.Spec.Node
		}
		return finding{metav1.ConditionUnknown, v1beta1.ReasonNodeNotLive, "node " + who + " announced " + addrs + " when its speaker was last heard of, and may still"}
	}
	return j.silent(svc, a, routes)
}

// conflict returns what a claim reports of a foreign host that has the address.
func conflict(c *v1beta1.L2Claim) (text string, is bool) {
	if c == nil {
		return "", false
	}
	if x := health.Condition(c.Status.Conditions, v1beta1.ConditionConflict); x.Status == metav1.ConditionTrue {
		return x.Message, true
	}
	return "", false
}

// answers returns the presence of the node that says, in the claim, that it answers; and
// whether one does.
func (j *judge) answers(c *v1beta1.L2Claim) (_ health.PresenceState, said bool) {
	if c == nil || c.Status.Node == "" || c.Status.Node != c.Spec.Node {
		return health.Never, false
	}
	state := j.presence[c.Spec.Node]
	switch health.Condition(c.Status.Conditions, v1beta1.ConditionAnnounced).Status {
	case metav1.ConditionTrue:
		return state, true
	case metav1.ConditionUnknown: // the controller wrote that over what the speaker reported last
		if state == health.Unknown {
			return state, true
		}
	}
	return health.Never, false
}

// routes is what becomes of the routes for an address.
type routes struct {
	up    bool   // a session that carries one is up
	last  string // a node whose speaker is not heard of had such a session; "": none
	all   int    // how many sessions are to carry one
	cause string // of one that is down; "": not known
}

// routes returns what becomes of the routes for an address of svc.
func (j *judge) routes(svc *announce.Service, a announce.Address) (out routes) {
	for node, peer := range j.forecast.Sessions(svc, a) {
		x, state := j.sessions[session{node, peer}], j.presence[node]
		if state == health.Unknown && x != nil && health.WasUp(x) && out.last == "" {
			out.last = node
		}
		if !sends(state) {
			continue
		}
		out.all++
		switch {
		case x == nil && out.cause == "":
			out.cause = fmt.Sprintf("%s to %s: the node's speaker has not reported it", node, peer)
		case x == nil:
		case x.State == health.Established:
			return routes{up: true}
		case x.LastError != "" && out.cause == "":
			out.cause = fmt.Sprintf("%s to %s: %s", node, peer, x.LastError)
		}
	}
	return out
}

// sends reports whether a speaker advertises routes. An isolated one does: it stops
// answering on the local network only.
func sends(state health.PresenceState) bool { return state == health.Alive || state == health.Isolated }
