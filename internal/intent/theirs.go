package intent

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// equivalent is an annotation of another load balancer, and the one of ours that does the same.
type equivalent struct{ product, theirs, ours, flag string }

// equivalents are the annotations of other load balancers that ask for what ours can ask for.
// Of several of a product for one thing, the first takes precedence.
var equivalents = []equivalent{
	{"metallb", "metallb.io/loadBalancerIPs", v1beta1.AnnotationLoadBalancerIPs, compatMetalLB},
	{"metallb", "metallb.universe.tf/loadBalancerIPs", v1beta1.AnnotationLoadBalancerIPs, compatMetalLB},
	{"metallb", "metallb.io/address-pool", v1beta1.AnnotationAddressPool, compatMetalLB},
	{"metallb", "metallb.universe.tf/address-pool", v1beta1.AnnotationAddressPool, compatMetalLB},
	{"metallb", "metallb.io/allow-shared-ip", v1beta1.AnnotationAllowSharedIP, compatMetalLB},
	{"metallb", "metallb.universe.tf/allow-shared-ip", v1beta1.AnnotationAllowSharedIP, compatMetalLB},
	{"cilium", "lbipam.cilium.io/ips", v1beta1.AnnotationLoadBalancerIPs, ""},
	{"cilium", "io.cilium/lb-ipam-ips", v1beta1.AnnotationLoadBalancerIPs, ""},
	{"cilium", "lbipam.cilium.io/sharing-key", v1beta1.AnnotationAllowSharedIP, ""},
	{"cilium", "io.cilium/lb-ipam-sharing-key", v1beta1.AnnotationAllowSharedIP, ""},
	{"kube-vip", "kube-vip.io/loadbalancerIPs", v1beta1.AnnotationLoadBalancerIPs, ""},
	{"purelb", "purelb.io/addresses", v1beta1.AnnotationLoadBalancerIPs, ""},
	{"purelb", "purelb.io/service-group", v1beta1.AnnotationAddressPool, ""},
	{"purelb", "purelb.io/allow-shared-ip", v1beta1.AnnotationAllowSharedIP, ""},
	{"openelb", "eip.openelb.kubesphere.io/v1alpha1", v1beta1.AnnotationLoadBalancerIPs, ""},
	{"openelb", "eip.openelb.kubesphere.io/v1alpha2", v1beta1.AnnotationAddressPool, ""},
}

// labelOpenELBPool is the label by which OpenELB remembers the pool of a Service.
const labelOpenELBPool = "eip.openelb.kubesphere.io/v1alpha2"

// withoutEquivalent are the annotations of other load balancers that ask for what no annotation of
// ours can ask for, and what to do instead.
var withoutEquivalent = []struct{ theirs, instead string }{
	{"protocol.openelb.kubesphere.io/v1alpha1", "whether an address is announced on the local network or by BGP is for an L2Advertisement or a BGPAdvertisement to say"},
	{"kube-vip.io/serviceInterface", "name the link in spec.interfaces of an L2Advertisement"},
	{"kube-vip.io/ignore", "a Service with another spec.loadBalancerClass is left alone"},
	{"kube-vip.io/egress", "there is nothing that gives the packets that Pods send the address of their Service"},
	{"kube-vip.io/loadbalancerHostname", "there is nothing that writes a host name into the status"},
}

// compatMetalLB has the controller read MetalLB's annotations.
const compatMetalLB = "--compat-annotations=metallb.io"

// Theirs returns what svc asks a product for by the annotation that does the same as that
// one of ours; "": nothing.
func Theirs(svc *corev1.Service, product, ours string) string {
	for _, x := range equivalents {
		if v := svc.Annotations[x.theirs]; v != "" && x.product == product && x.ours == ours {
			return v
		}
	}
	return ""
}

// Ignored is an annotation of another load balancer that has no effect.
type Ignored struct {
	Name    string `json:"name"`
	Label   bool   `json:"label,omitempty"`   // it is a label
	Use     string `json:"use,omitempty"`     // the annotation of ours that does the same; empty: none does
	Flag    string `json:"flag,omitempty"`    // with it the controller reads this one; empty: there is none
	Instead string `json:"instead,omitempty"` // what to do where no annotation does the same
}

func (x Ignored) String() string {
	kind, remedy := "annotation", x.Instead
	if x.Label {
		kind = "label"
	}
	if x.Use != "" {
		remedy = "use " + x.Use
	}
	text := fmt.Sprintf("%s %s does nothing here: %s", kind, x.Name, remedy)
	if x.Flag != "" {
		text += ", or run the controller with " + x.Flag
	}
	return text
}

// Ignored returns the annotations of other load balancers by which svc asks for what
// nothing that counts asks for.
func (d AnnotationPrefixes) Ignored(svc *corev1.Service) []Ignored {
	var out []Ignored
	if svc.Labels[labelOpenELBPool] != "" && svc.Annotations[labelOpenELBPool] == "" && !d.asks(svc, v1beta1.AnnotationAddressPool) {
		out = append(out, Ignored{Name: labelOpenELBPool, Label: true, Use: v1beta1.AnnotationAddressPool})
	}
	if len(svc.Annotations) == 0 {
		return out
	}
	for _, x := range equivalents {
		v := svc.Annotations[x.theirs]
		if v == "" || x.ours == v1beta1.AnnotationLoadBalancerIPs && v == svc.Spec.LoadBalancerIP {
			continue
		}
		if !d.asks(svc, x.ours) {
			out = append(out, Ignored{Name: x.theirs, Use: x.ours, Flag: x.flag})
		}
	}
	for _, x := range withoutEquivalent {
		if v := svc.Annotations[x.theirs]; v != "" && v != "false" {
			out = append(out, Ignored{Name: x.theirs, Instead: x.instead})
		}
	}
	return out
}

// asks reports whether svc has that annotation of ours, or one that counts for it.
func (d AnnotationPrefixes) asks(svc *corev1.Service, ours string) bool {
	name, _ := d.find(svc, ours)
	_, counts := svc.Annotations[name]
	return counts
}

// IgnoredText puts what Ignored returns in words; "": it returns nothing.
func IgnoredText(all []Ignored) string {
	const most = 3
	var parts []string
	for i, x := range all {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more of other load balancers do nothing either", len(all)-i))
			break
		}
		parts = append(parts, x.String())
	}
	return strings.Join(parts, "; ")
}
