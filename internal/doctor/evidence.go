package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// examined returns what a check looked at that found nothing wrong, as evidence.
func (p *cluster) examined(check string) string {
	of := map[string]func() string{
		"versions":             p.examinedVersions,
		"clocks":               func() string { return "those that renew " + plural(len(p.Leases), "Lease") },
		"speaker-policy":       func() string { return "the policy is in force, and " + p.reports("reports a fault of its token") },
		"configuration":        func() string { return plural(len(p.Checked.Validations), "object") + " accepted" },
		"excluded-nodes":       func() string { return "none of " + plural(len(p.Nodes), "node") },
		"strict-arp":           func() string { return p.reports("reports that its kernel answers") },
		"kube-proxy":           func() string { return p.reports("reports a fault") },
		"null-routes":          func() string { return p.reports("reports a fault") },
		"ports":                func() string { return p.reports("misses a port") },
		"reverse-path":         func() string { return p.reports("has several links of which one is strict") },
		"addresses-in-use":     p.examinedAddresses,
		"advertised":           func() string { return p.pools() + ", each covered" },
		"subnets":              func() string { return p.pools() + ", each in a subnet of the nodes or announced by BGP" },
		"contested":            func() string { return "none of " + plural(len(p.Served), "Service") },
		"other-load-balancers": func() string { return "none known among " + plural(len(p.Workloads), "workload") },
		"membership":           func() string { return p.reports("misses another one") },
		"bgp-sessions":         func() string { return "there is no BGPPeer that a node has a session to" },
		"bfd":                  p.examinedBFD,
		"bgp-programs":         func() string { return p.reports("sees another program that speaks BGP") },
		"address-conflicts":    func() string { return "none of " + plural(len(p.Claims), "L2Claim") },
		"local-endpoints":      p.examinedLocal,
		"annotations":          func() string { return "those of " + plural(len(p.Served), "Service") },
	}[check]
	if of == nil {
		return ""
	}
	return of()
}

// reports says that no speaker reports some fault.
func (p *cluster) reports(fault string) string {
	n := 0
	for i := range p.Speakers {
		if p.Speakers[i].Status.Host != nil {
			n++
		}
	}
	return fmt.Sprintf("none of %s %s", plural(n, "speaker"), fault)
}

func (p *cluster) pools() string { return plural(len(p.Checked.Pools), "IPAddressPool") }

func (p *cluster) examinedVersions() string {
	text := plural(len(p.Speakers), "speaker")
	if len(p.Speakers) > 0 && p.Speakers[0].Status.Version != "" {
		text += " of version " + p.Speakers[0].Status.Version
	}
	if version := p.ControllerVersion(); version != "" {
		text = "the controller of version " + version + ", " + text
	}
	return text
}

func (p *cluster) examinedAddresses() string {
	cidrs := make([]string, len(p.ClusterIPs))
	for i, c := range p.ClusterIPs {
		cidrs[i] = c.String()
	}
	text := fmt.Sprintf("%s against %s, %s and %s", p.pools(), plural(len(p.Nodes), "node"), plural(len(p.Config.Peers), "BGPPeer"), plural(len(p.Services), "Service"))
	if len(cidrs) > 0 {
		text += ", and " + strings.Join(cidrs, ", ")
	}
	return text
}

func (p *cluster) examinedBFD() string {
	n := 0
	for i := range p.Sessions {
		if p.Sessions[i].Status.BFD != "" && !p.Outdated(p.Sessions[i].Status.Node) {
			n++
		}
	}
	if n == 0 {
		return "no session asks for it"
	}
	return plural(n, "session") + " up"
}

func (p *cluster) examinedLocal() string {
	n := 0
	for _, svc := range p.Served {
		if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			n++
		}
	}
	if n == 0 {
		return "no Service is " + string(corev1.ServiceExternalTrafficPolicyLocal)
	}
	return plural(n, "Service") + ", each with an endpoint"
}
