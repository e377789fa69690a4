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
	Name string `json:"name"`
	Use  string `json:"use"`            // the annotation of ours that does the same
	Flag string `json:"flag,omitempty"` // with it the controller reads this one; empty: there is none
}

func (x Ignored) String() string {
	text := fmt.Sprintf("annotation %s does nothing here: use %s", x.Name, x.Use)
	if x.Flag != "" {
		text += ", or run the controller with " + x.Flag
	}
	return text
}

// Ignored returns the annotations of other load balancers by which svc asks for what
// nothing that counts asks for.
func (d AnnotationPrefixes) Ignored(svc *corev1.Service) []Ignored {
	if len(svc.Annotations) == 0 {
		return nil
	}
	var out []Ignored
	for _, x := range equivalents {
		v := svc.Annotations[x.theirs]
		if v == "" || x.ours == v1beta1.AnnotationLoadBalancerIPs && v == svc.Spec.LoadBalancerIP {
			continue
		}
		name, _ := d.find(svc, x.ours)
		if _, counts := svc.Annotations[name]; !counts {
			out = append(out, Ignored{x.theirs, x.ours, x.flag})
		}
	}
	return out
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
