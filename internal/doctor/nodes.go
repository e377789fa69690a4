package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// nodeChecks returns the checks of nodes, mostly from the reports of their speakers.
func nodeChecks() []check {
	return []check{
		{"excluded-nodes", "Which nodes must not announce anything?", (*cluster).excluded, nil},
		{"strict-arp", "Do kernels keep quiet about addresses of Services (kube-proxy in mode ipvs)?", (*cluster).strictARP, []string{configMaps}},
		{"kube-proxy", "Does every node forward, and in the same way?", (*cluster).kubeProxy, nil},
		{"null-routes", "Do nodes keep what no Service takes from going in circles?", (*cluster).nullRoutes, nil},
		{"ports", "Do speakers have the ports that they need?", (*cluster).ports, nil},
		{"reverse-path", "Do nodes take in packets that they would answer by another link (rp_filter)?", (*cluster).reversePath, nil},
	}
}

// controlPlane is the label of the nodes that kubeadm excludes.
const controlPlane = "node-role.kubernetes.io/control-plane"

func (p *cluster) excluded() outcome {
	var all, reporting []string
	for i := range p.Nodes {
		n := &p.Nodes[i]
		reason := p.Exclusion.Explain(n)
		if reason == "" {
			continue
		}
		all = append(all, n.Name+": by "+reason)
		if _, ok := n.Labels[controlPlane]; !ok {
			reporting = append(reporting, n.Name+": by "+reason)
		}
	}
	switch {
	case len(all) > 0 && len(all) == len(p.Nodes):
		return outcome{Fault, all, "no node may announce anything: kubectl label node NAME " + v1beta1.LabelExcludeNode + "- (kubeadm sets it on control planes), or run controller and speakers with --ignore-exclude-label (ignoreExcludeLabel in the chart)"}
	case len(reporting) > 0:
		return outcome{Warning, reporting, "if that was for maintenance that is over: kubectl steelyard undrain NODE"}
	}
	return outcome{evidence: all}
}

func (p *cluster) strictARP() outcome {
	var answering []string
	seen, mode := 0, ""
	for i := range p.Speakers {
		s := &p.Speakers[i]
		if s.Status.Host != nil && s.Status.Host.ProxyMode != "" {
			seen++
			if s.Status.Host.ProxyMode == "ipvs" {
				mode = "ipvs"
			}
		}
		if c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.ConditionKernelAnswers); c != nil && c.Status == metav1.ConditionTrue {
			answering = append(answering, s.Name+": "+c.Message)
		}
	}
	const remedy = "set ipvs.strictARP to true in kube-proxy's configuration (kubectl edit configmap kube-proxy -n kube-system), and restart its Pods"
	if len(answering) > 0 {
		return outcome{Fault, answering, remedy}
	}
	for _, text := range p.ProxyConfigs {
		if setting(text, "mode") == "ipvs" && setting(text, "strictARP") != "true" {
			return outcome{Warning, []string{"the ConfigMap of kube-proxy has mode ipvs, and strictARP not set; no node shows it yet"}, remedy}
		}
	}
	var v outcome
	if mode == "" && seen > 0 {
		v.evidence = []string{"kube-proxy does not run in mode ipvs"}
	}
	if seen == len(p.Nodes) {
		v.result = OK // every speaker reports it
	}
	return v
}

// setting returns a value of kube-proxy's configuration, at any depth.
func setting(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}

func (p *cluster) kubeProxy() outcome {
	var evidence []string
	modes, names := map[string][]string{}, map[string]string{}
	for i := range p.Speakers {
		s := &p.Speakers[i]
		h := s.Status.Host
		if h == nil || p.Absent(s.Name) != "" {
			continue
		}
		if h.ProxyError != "" {
			evidence = append(evidence, s.Name+": "+h.ProxyError)
		}
		if other := !slices.Contains([]string{"", v1beta1.ForwarderReadyCheck, v1beta1.ForwarderNone}, h.Forwarder); other {
			modes[h.Forwarder], names[h.Forwarder] = append(modes[h.Forwarder], s.Name), h.Forwarder
		} else if h.ProxyMode != "" {
			modes[h.ProxyMode], names[h.ProxyMode] = append(modes[h.ProxyMode], s.Name), "kube-proxy in mode "+h.ProxyMode
		}
	}
	if len(modes) > 1 {
		for _, m := range slices.Sorted(maps.Keys(modes)) {
			evidence = append(evidence, fmt.Sprintf("%s forwards on %s", names[m], joined(modes[m])))
		}
	}
	if len(evidence) == 0 {
		return outcome{evidence: slices.Sorted(maps.Keys(modes))}
	}
	return outcome{Warning, evidence, "see that kube-proxy, or what forwards in its place, runs on the node, and the same everywhere; where another program than Cilium, Calico or kube-router forwards, set the speaker's --ready-check to what that answers, or to nothing"}
}

func (p *cluster) nullRoutes() outcome {
	var evidence []string
	for i := range p.Speakers {
		if h := p.Speakers[i].Status.Host; h != nil && h.NullRouteError != "" {
			evidence = append(evidence, p.Speakers[i].Name+": "+h.NullRouteError)
		}
	}
	return found(Warning, evidence, "mend what it says, or set the speaker's --null-route-table to 0; until then one packet for a port without a Service may cross the node's link up to 255 times")
}

func (p *cluster) ports() outcome {
	var evidence []string
	for i := range p.Speakers {
		if h := p.Speakers[i].Status.Host; h != nil {
			for _, port := range h.PortsTaken {
				evidence = append(evidence, p.Speakers[i].Name+": "+port)
			}
		}
	}
	return found(Warning, evidence, "stop the other program, or give one of the two another port; then restart the speaker (kubectl -n "+p.Namespace+" delete pod of that node). Without UDP 7480 and 7481 speakers find a dead node by its Lease alone, in 3 s")
}

func (p *cluster) reversePath() outcome {
	var evidence []string
	for i := range p.Speakers {
		s := &p.Speakers[i]
		if s.Status.Host == nil {
			continue
		}
		up := []string{}
		for _, l := range s.Status.Links {
			if l.Up {
				up = append(up, l.Name)
			}
		}
		strict := slices.DeleteFunc(slices.Clone(up), func(l string) bool { return !slices.Contains(s.Status.Host.StrictReversePath, l) })
		if len(up) > 1 && len(strict) > 0 {
			evidence = append(evidence, fmt.Sprintf("%s: strict on %s, and it has %s", s.Name, joined(strict), plural(len(up), "link")))
		}
	}
	return found(Warning, evidence, "with several links a client may come by one and be answered by another: set net.ipv4.conf.all.rp_filter to 2 (loose; for a link without an address 0, also that of the link), unless every client's way back is the way it came")
}
