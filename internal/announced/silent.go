package announced

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Reasons are those of a Service with addresses that are not announced, or of which
// the state is not known.
func Reasons() []string {
	out := []string{v1beta1.ReasonAddressConflict, v1beta1.ReasonSessionsDown, v1beta1.ReasonPending, v1beta1.ReasonNoEndpointsForPort}
	for _, r := range announce.Reasons() {
		out = append(out, string(r))
	}
	return out
}

// silent returns the reason for which no node announces an address of svc.
func (j *judge) silent(svc *announce.Service, a announce.Address, r routes) finding {
	not := func(reason announce.Reason, cause string) finding {
		return finding{metav1.ConditionFalse, string(reason), j.beginning() + " " + addrs + ": " + cause}
	}
	onLink, byBGP := j.forecast.Covered(svc, a)
	without, cause, none := j.withoutEndpoints(svc, a)
	switch {
	case a.Pool == "":
		return not(announce.AddressOutsidePools, "no IPAddressPool holds it")
	case !onLink && !byBGP:
		return not(announce.NotAdvertised, "no L2Advertisement or BGPAdvertisement covers it")
	case len(j.s.Nodes) == 0:
		return not(announce.NodeNotLive, "there is no node")
	case none:
		return not(without, cause)
	}
	var layer2, bgp map[announce.Reason]int
	if onLink {
		layer2 = j.forecast.Layer2(svc, a)
	}
	if byBGP {
		bgp = j.forecast.BGP(svc, a)
	}
	if reason, text, is := j.withdrawn(svc, layer2, bgp); is {
		return not(reason, text)
	}
	switch may := layer2[announce.Announced]; {
	case may > 0:
		return finding{metav1.ConditionUnknown, v1beta1.ReasonPending, addrs + " may be announced by " + nodeCount(may) + ", none of which has said yet that it answers"}
	case r.all > 0:
		text := fmt.Sprintf("%s is announced by BGP alone, and none of %d sessions is up", addrs, r.all)
		if r.cause != "" {
			text += ": " + r.cause
		}
		return finding{metav1.ConditionFalse, v1beta1.ReasonSessionsDown, text}
	}
	reason := furthest(layer2, bgp)
	return not(reason, Counts(layer2, bgp)+j.remedy(reason, svc, a))
}

// beginning is the beginning of a sentence. It does not claim more than is known: a speaker
// that the API server has lost may still announce.
func (j *judge) beginning() string {
	for _, state := range j.presence {
		if state == health.Unknown {
			return "no node is known to announce"
		}
	}
	return "no node announces"
}

// furthest returns the reason of the nodes that came furthest: it is the one to mend.
func furthest(counts ...map[announce.Reason]int) announce.Reason {
	order := announce.Reasons()
	at := 0
	for _, of := range counts {
		for r := range of {
			at = max(at, slices.Index(order, r))
		}
	}
	return order[at]
}

// remedy says what to do about the reason for which no node announces an address of svc.
func (j *judge) remedy(reason announce.Reason, svc *announce.Service, a announce.Address) string {
	switch reason {
	case announce.NodeExcluded:
		return j.exclusions()
	case announce.NoLocalEndpoints:
		return "; its endpoints are on " + nodesOf(svc, a) + j.apart(svc, a)
	case announce.NoLinkUp:
		if text := j.forecast.LinksText(svc, a); text != "" {
			return "; " + text
		}
	case announce.NoPeer:
		if text := announce.UnusableText(j.s.UnusableFor(a.Pool, svc.Labels, nil)); text != "" {
			return "; " + text
		}
	}
	return ""
}

// apart names the Services that share an address of svc, and whose endpoints are not on its nodes.
func (j *judge) apart(svc *announce.Service, a announce.Address) string {
	var others []string
	for _, u := range j.forecast.LocalSharers(svc, a) {
		others = append(others, fmt.Sprintf("%s on %s", u.Key, cmp.Or(nodesOf(u, a), "no node")))
	}
	if len(others) == 0 {
		return ""
	}
	return ", of Services that share the address " + printable.List(others) + ": only a node with endpoints of all announces it"
}

// exclusions names what excludes nodes, and how that ends.
func (j *judge) exclusions() string {
	by := map[string][]string{}
	for i := range j.s.Nodes {
		if n := &j.s.Nodes[i]; n.Excluded != "" && n.Live {
			by[n.Excluded] = append(by[n.Excluded], n.Name)
		}
	}
	out := ""
	for _, cause := range slices.Sorted(maps.Keys(by)) {
		out += fmt.Sprintf("; %s has the %s", by[cause][0], cause)
		if n := len(by[cause]) - 1; n > 0 {
			out = strings.Replace(out, by[cause][0]+" has", fmt.Sprintf("%s and %d more have", by[cause][0], n), 1)
		}
		if remedy := intent.Readmit(by[cause][0], cause); remedy != "" {
			out += " (" + remedy + ")"
		}
	}
	return out
}

// Counts lists how many nodes have which reason not to announce an address: on the local
// network, and by BGP. Where no advertisement covers it there is nothing to count.
func Counts(layer2, bgp map[announce.Reason]int) string {
	var parts []string
	if !only(layer2, announce.NotAdvertised) {
		parts = append(parts, "layer 2: "+counted(layer2))
	}
	if !only(bgp, announce.NotAdvertised) {
		parts = append(parts, "BGP: "+counted(bgp))
	}
	if len(parts) == 0 {
		return "no L2Advertisement or BGPAdvertisement covers it"
	}
	return strings.Join(parts, "; ")
}

// only reports whether every node has this reason.
func only(of map[announce.Reason]int, reason announce.Reason) bool {
	return len(of) == 0 || len(of) == 1 && of[reason] > 0
}

// counted lists the reasons with their numbers of nodes, the most frequent first.
func counted(of map[announce.Reason]int) string {
	reasons := slices.Sorted(maps.Keys(of))
	slices.SortStableFunc(reasons, func(a, b announce.Reason) int { return of[b] - of[a] })
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		parts[i] = string(r)
		if len(reasons) > 1 || of[r] > 1 {
			parts[i] += " on " + nodeCount(of[r])
		}
	}
	return strings.Join(parts, ", ")
}

func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
