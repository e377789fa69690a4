package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// product is another load balancer, known by the names of its images.
type product struct {
	name    string
	images  []string
	marks   []string // annotations that it writes to Services that it serves
	classes []string // that it serves beside Services without a class
}

// The two programs of kube-vip: one answers for addresses, from a DaemonSet or a
// static Pod on each node; the other assigns them.
const (
	kubeVIP         = "kube-vip/kube-vip"
	kubeVIPProvider = "kube-vip/kube-vip-cloud-provider"
)

func products() []product {
	return []product{
		{"MetalLB", []string{"metallb/controller", "metallb/speaker"}, []string{"metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"}, nil},
		{"PureLB", []string{"purelb/allocator", "purelb/lbnodeagent"}, []string{"purelb.io/allocated-by"}, []string{"purelb.io/purelb", "purelb.io/purelbv2"}},
		{"OpenELB", []string{"kubesphere/openelb"}, []string{"lb.kubesphere.io/v1alpha1"}, nil},
		{"kube-vip", []string{kubeVIPProvider, kubeVIP}, []string{"kube-vip.io/vipHost"}, []string{"kube-vip.io/kube-vip-class"}},
		{"ServiceLB of k3s", []string{"rancher/klipper-lb"}, nil, nil},
		{"LoxiLB", []string{"loxilb-io/kube-loxilb"}, nil, []string{"loxilb.io/loxilb"}},
	}
}

func (p *cluster) others() outcome {
	var evidence []string
	running := map[string]bool{}
	for _, w := range p.Workloads {
		for _, r := range products() {
			if w.Replicas == 0 || !slices.ContainsFunc(w.Images, func(image string) bool { return isOf(image, r.images) }) || !r.serves(w, p.Class) {
				continue
			}
			running[r.name] = true
			evidence = append(evidence, fmt.Sprintf("%s runs: %s", r.name, w))
		}
	}
	for _, f := range p.Foreign {
		if f.Product == "Cilium" && f.Count > 0 {
			evidence = append(evidence, fmt.Sprintf("Cilium has %s: its LB IPAM assigns addresses as well", plural(f.Count, f.Kind)))
		}
	}
	for _, svc := range p.Served {
		for _, r := range products() {
			for _, mark := range r.marks {
				if _, marked := svc.Annotations[mark]; marked && running[r.name] {
					evidence = append(evidence, fmt.Sprintf("Service %s/%s is served by %s as well (%s)", svc.Namespace, svc.Name, r.name, mark))
				}
			}
		}
	}
	return found(Fault, evidence, "two load balancers take "+intent.ClassesText(p.Class)+" from each other: remove one (kubectl steelyard migrate tells how), or give each a class of its own")
}

// contested finds Services of ours that another program changes.
func (p *cluster) contested() outcome {
	var overwritten, finalized []string
	for _, svc := range p.Served {
		name := svc.Namespace + "/" + svc.Name
		for _, x := range health.OfService(svc) {
			if x.Alert == "SteelyardServiceContested" {
				overwritten = append(overwritten, "Service "+name+": "+x.Message)
			}
		}
		if intent.ForeignFinalizer(svc) {
			finalized = append(finalized, "Service "+name+" has the finalizer "+v1beta1.FinalizerCleanup+", which Steelyard did not set")
		}
	}
	if len(overwritten) > 0 {
		return found(Fault, slices.Concat(overwritten, finalized), "let one load balancer serve each Service: turn the other one off, or give one of them a class of its own (spec.loadBalancerClass)")
	}
	return found(Warning, finalized, "such a Service can't be deleted until the program that set the finalizer, such as a cloud provider or another load balancer, takes it off: where that does not run any more, take it off by hand")
}

// serves reports whether a workload of the product serves Services of one of these classes, by
// commas.
func (r product) serves(w Workload, classes string) bool {
	of := "" // these alone
	settings := map[string]string{}
	for _, x := range w.Settings {
		name, value, _ := strings.Cut(strings.TrimLeft(x, "-"), "=")
		settings[name] = value
	}
	on := func(name string) bool { return settings[name] == "true" }
	if r.name == "MetalLB" {
		of = settings["lb-class"]
	}
	if slices.ContainsFunc(w.Images, func(image string) bool {
		return isOf(image, []string{kubeVIP}) && !isOf(image, []string{kubeVIPProvider})
	}) {
		flag, given := settings["services"]
		if !on("svc_enable") && (!given || flag == "false") {
			return false // it looks after the API server's address alone
		}
		if on("lb_class_only") {
			of = cmp.Or(settings["lb_class_name"], r.classes[0])
		}
	}
	if of != "" {
		return intent.ServesClass(classes, of)
	}
	return intent.ServesClass(classes, "") || slices.ContainsFunc(r.classes, func(class string) bool { return intent.ServesClass(classes, class) })
}

// isOf reports whether an image has one of these names, in any registry.
func isOf(image string, names []string) bool {
	path, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path = path[:i]
	}
	return slices.ContainsFunc(names, func(n string) bool {
		return path == n || strings.HasSuffix(path, "/"+n) || strings.HasPrefix(path, n+"-") || strings.Contains(path, "/"+n+"-")
	})
}
