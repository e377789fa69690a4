package announced

import (
	"fmt"
	"maps"
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

// but stands between how an address is announced and what keeps clients out all the same.
const but = "; but "

// served returns the report on an address of svc that is announced in these ways: that it
// is, and why clients are refused there all the same.
func (j *judge) served(svc *announce.Service, a announce.Address, ways string) finding {
	b := j.backends[svc.Key].Of(ipam.FamilyOf(a.Addr))
	if text := unserved(b); text != "" {
		return finding{metav1.ConditionTrue, v1beta1.ReasonNoEndpointsForPort, ways + but + text + ", so that clients are refused there" + portRemedy}
	}
	if svc.Local && b.Unnamed && j.kubeProxy {
		return finding{metav1.ConditionTrue, v1beta1.ReasonNoLocalEndpoints, ways + but + "its externalTrafficPolicy is Local, and its endpoints name no node (nodeName): kube-proxy sends nothing to them. Name the nodes, or set the policy Cluster"}
	}
	return finding{metav1.ConditionTrue, v1beta1.ReasonAnnounced, ways}
}

const portRemedy = ": let its targetPort name a port of the Pods' containers, or an EndpointSlice made by hand the Service's port"

// unserved says which ports no endpoint has, although there are endpoints; "": none.
func unserved(b intent.Backend) string {
	if !b.Serves || len(b.Unserved) == 0 {
		return ""
	}
	return fmt.Sprintf("no endpoint has port %s", strings.Join(printable.Words(b.Unserved), ", "))
}

// withoutEndpoints returns the reason for which no endpoint of svc, whose traffic policy
// is Local, counts for any node at a; ok is false if one does.
func (j *judge) withoutEndpoints(svc *announce.Service, a announce.Address) (reason announce.Reason, text string, ok bool) {
	if !svc.Local || slices.Contains(slices.Collect(maps.Values(svc.ReadyOn(a.Addr))), true) {
		return "", "", false
	}
	const local = "its externalTrafficPolicy is Local, and "
	b := j.backends[svc.Key].Of(ipam.FamilyOf(a.Addr))
	switch text := unserved(b); {
	case text != "" && len(b.Unserved) == b.Ports:
		return announce.Reason(v1beta1.ReasonNoEndpointsForPort), local + text + portRemedy, true
	case b.Unplaced:
		return announce.NoLocalEndpoints, local + "its endpoints that are ready name no node (nodeName), and their addresses are neither a node's nor of its Pods (podCIDRs): name the nodes, or set the policy Cluster", true
	}
	return announce.NoLocalEndpoints, local + "no endpoint of it is ready on any node", true
}

// withdrawn returns the reason for which no node announces an address of svc that some
// advertisement withdraws without endpoints; ok is false if one goes on announcing it.
func (j *judge) withdrawn(svc *announce.Service, layer2, bgp map[announce.Reason]int) (reason announce.Reason, text string, ok bool) {
	for reason, text := range map[announce.Reason]string{
		announce.NoEndpoints:       "no endpoint of it serves, and withdrawWithoutEndpoints is set",
		announce.EndpointsUnstable: svc.Unstable,
	} {
		here := func(of map[announce.Reason]int) bool { return of[reason] > 0 || only(of, announce.NotAdvertised) }
		if layer2[reason]+bgp[reason] > 0 && here(layer2) && here(bgp) {
			return reason, text, true
		}
	}
	return "", "", false
}

// Unstable returns what the controller says of a Service whose endpoints come and go; "": they
// do not. Those who look once can't know it otherwise.
func Unstable(svc *corev1.Service) string {
	c := health.Condition(svc.Status.Conditions, v1beta1.ConditionServiceAnnounced)
	if c.Reason != v1beta1.ReasonEndpointsUnstable {
		return ""
	}
	_, text, _ := strings.Cut(c.Message, ": ")
	return text
}

// nodesOf names nodes with endpoints of svc, whose traffic policy is Local: none of them
// announces it.
func nodesOf(svc *announce.Service, a announce.Address) string {
	var names []string
	for node, ready := range svc.ReadyOn(a.Addr) {
		if ready {
			names = append(names, node)
		}
	}
	slices.Sort(names)
	return printable.List(names)
}
