package migrate

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// Labels by which Cilium selects Services by namespace and name.
const (
	ciliumNamespace = "io.kubernetes.service.namespace"
	ciliumName      = "io.kubernetes.service.name"
	namespaceLabel  = "kubernetes.io/metadata.name" // of each Namespace, set by the API server
)

// cilium is what is known of Cilium 1.16 to 1.20: LB IPAM, L2 announcements and
// the BGP control plane.
func cilium() converter {
	versions := func(name string, of ...string) []schema.GroupVersionResource {
		var out []schema.GroupVersionResource
		for _, v := range of {
			out = append(out, schema.GroupVersionResource{Group: "cilium.io", Version: v, Resource: name})
		}
		return out
	}
	both := []string{"cilium.io/v2", "cilium.io/v2alpha1"}
	return converter{
		kinds: slices.Concat(
			versions("ciliumloadbalancerippools", "v2", "v2alpha1"), versions("ciliuml2announcementpolicies", "v2alpha1"),
			versions("ciliumbgpclusterconfigs", "v2", "v2alpha1"), versions("ciliumbgppeerconfigs", "v2", "v2alpha1"),
			versions("ciliumbgpadvertisements", "v2", "v2alpha1"), versions("ciliumbgpnodeconfigoverrides", "v2", "v2alpha1"),
		),
		classes: []string{"io.cilium/bgp-control-plane", "io.cilium/l2-announcer"},
		foreign: map[string]string{
			"CiliumBGPPeeringPolicy":      "Cilium itself gave this kind up: go to CiliumBGPClusterConfig first",
			"CiliumBGPNodeConfigOverride": "settings of single nodes come from labels or annotations of the Nodes here: set routerIDFrom, sourceAddressFrom and localASNFrom of the BGPPeer",
			"CiliumBGPNodeConfig":         "it is a report of Cilium's",
		},
		convert: func(d *draft) {
			d.each("CiliumLoadBalancerIPPool", both, d.ciliumPool)
			d.each("CiliumL2AnnouncementPolicy", both, d.ciliumL2)
			peers := map[string]*peerConfig{}
			d.each("CiliumBGPPeerConfig", both, func(e entry) { peers[e.obj.GetName()] = d.ciliumPeerConfig(e) })
			d.each("CiliumBGPClusterConfig", both, func(e entry) { d.ciliumCluster(e, peers) })
			d.each("CiliumBGPAdvertisement", both, func(e entry) { d.ciliumBGP(e, peers) })
		},
		asks: func(_ *draft, svc *corev1.Service) request {
			w := requestOf(svc, Cilium)
			w.prefixes = []string{"lbipam.cilium.io/", "io.cilium/lb-ipam-"}
			w.known = []string{"ips", "sharing-key", "sharing-cross-namespace"}
			// There a key is of one namespace, unless Services of two namespaces
			// agree on each other.
			if w.share != "" && cmp.Or(svc.Annotations["lbipam.cilium.io/sharing-cross-namespace"], svc.Annotations["io.cilium/lb-ipam-sharing-cross-namespace"]) == "" {
				w.share = svc.Namespace + "." + w.share
			}
			return w
		},
		steps: ciliumSteps,
	}
}

func (d *draft) ciliumPool(e entry) {
	s := e.spec
	spec := v1beta1.IPAddressPoolSpec{}
	var cidrs []v1beta1.AddressRange
	for _, list := range []string{"blocks", "cidrs"} {
		for _, b := range s.items(list) {
			text := b.text("cidr")
			if start := b.text("start"); start != "" {
				text = strings.TrimSuffix(start+"-"+b.text("stop"), "-")
			}
			r := d.ranges(b, "cidr", []string{text})
			spec.Addresses = append(spec.Addresses, r...)
			cidrs = append(cidrs, r...)
		}
	}
	if s.text("allowFirstLastIPs") == "No" {
		spec.Exclude = ends(cidrs)
	}
	if s.flag("disabled") {
		no := false
		spec.AutoAssign = &no
		s.noteField(Changed, "disabled", true, "Services can still ask for an address of it")
	}
	if s.has("serviceSelector") {
		spec.ServiceAllocation = &v1beta1.ServiceAllocation{}
		var sel metav1.LabelSelector
		given := s.left["serviceSelector"]
		s.into("serviceSelector", &sel)
		about := d.splitSelector(s, given, &sel)
		spec.ServiceAllocation.Namespaces, spec.ServiceAllocation.NamespaceSelectors = about.namespaces, about.selectors
		if len(sel.MatchLabels)+len(sel.MatchExpressions) > 0 {
			spec.ServiceAllocation.ServiceSelectors = []metav1.LabelSelector{sel}
		}
	}
	m := d.meta("IPAddressPool", e.obj.GetName(), e)
	d.poolOf[e.obj.GetName()] = m.Name
	d.pool(m, spec)
}

// selected is the namespaces that a selector of Services names.
type selected struct {
	namespaces []string
	selectors  []metav1.LabelSelector
}

// splitSelector removes from a selector of Services what Cilium understands as
// namespace and name.
func (d *draft) splitSelector(f fields, given any, sel *metav1.LabelSelector) selected {
	var out selected
	if ns, ok := sel.MatchLabels[ciliumNamespace]; ok {
		out.namespaces = []string{ns}
		delete(sel.MatchLabels, ciliumNamespace)
	}
	if _, ok := sel.MatchLabels[ciliumName]; ok {
		f.noteField(Changed, "serviceSelector", given, "a Service is not selected by its name here; the pool or advertisement is for all that the rest of the selector fits: give the Service a label")
		delete(sel.MatchLabels, ciliumName)
	}
	var of metav1.LabelSelector
	sel.MatchExpressions = slices.DeleteFunc(sel.MatchExpressions, func(x metav1.LabelSelectorRequirement) bool {
		switch x.Key {
		case ciliumNamespace:
			x.Key = namespaceLabel
			of.MatchExpressions = append(of.MatchExpressions, x)
		case ciliumName:
			f.noteField(Changed, "serviceSelector", given, "a Service is not selected by its name here; the pool or advertisement is for all that the rest of the selector fits: give the Service a label")
		default:
			return false
		}
		return true
	})
	if len(of.MatchExpressions) > 0 {
		if len(out.namespaces) > 0 { // both must match
			of.MatchLabels, out.namespaces = map[string]string{namespaceLabel: out.namespaces[0]}, nil
		}
		out.selectors = []metav1.LabelSelector{of}
	}
	return out
}

// servicesOf reads a selector of Services for an advertisement, where ours cannot
// select namespaces.
func (d *draft) servicesOf(s fields, name string) []metav1.LabelSelector {
	if !s.has(name) {
		return nil
	}
	var sel metav1.LabelSelector
	given := s.left[name]
	s.into(name, &sel)
	if about := d.splitSelector(s, given, &sel); len(about.namespaces)+len(about.selectors) > 0 {
		s.noteField(Changed, name, given, "an advertisement does not select namespaces here; it is for the Services of all: name the pools of these namespaces instead (ipAddressPools)")
	}
	if everything(sel) {
		return nil
	}
	return []metav1.LabelSelector{sel}
}

// everything reports whether a selector selects all Services, also in the way in
// which Cilium's users write it: without a label that no Service has.
func everything(sel metav1.LabelSelector) bool {
	if len(sel.MatchLabels) > 0 {
		return false
	}
	return !slices.ContainsFunc(sel.MatchExpressions, func(x metav1.LabelSelectorRequirement) bool {
		return x.Operator != metav1.LabelSelectorOpNotIn || !strings.Contains(x.Key, "never") && !slices.ContainsFunc(x.Values, func(v string) bool { return strings.Contains(v, "never") })
	})
}

func (d *draft) ciliumL2(e entry) {
	s := e.spec
	announces := s.flag("loadBalancerIPs")
	s.drop(NoEqual, "externalIPs", "spec.externalIPs of Services are not announced here: make a Service of type LoadBalancer")
	spec := v1beta1.L2AdvertisementSpec{Selection: v1beta1.Selection{NodeSelectors: s.selector("nodeSelector"), ServiceSelectors: d.servicesOf(s, "serviceSelector")}}
	spec.Interfaces = d.globs(s, "interfaces", s.texts("interfaces"))
	if !announces {
		d.note(Note{Severity: Unneeded, Object: e.name(), Reason: "it announces no addresses of load balancers"})
		return
	}
	d.facts["layer2"] = true
	d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.meta("L2Advertisement", e.obj.GetName(), e), Spec: spec})
}

func ciliumSteps(d *draft) []string {
	return d.usual(usual{
		before: []string{"Cilium stays as the network of the Pods. Its kube-proxy replacement is found by its health port (" + version.Page("docs/how-to/without-kube-proxy.md") + ").",
			"Let every Service ask for the address that it has, in case Cilium empties a status as it goes: run this again with --pin."},
		stopController: "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set enableLBIPAM=false",
		stopSpeakers:   "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set l2announcements.enabled=false --set bgpControlPlane.enabled=false",
		never:          "Do not delete a pool before: Cilium would take its addresses away.",
		remove:         "Delete Cilium's pools, policies and BGP objects. What is left on Services (annotations under lbipam.cilium.io) does no harm.",
	})
}
