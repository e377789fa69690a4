package doctor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/doctor"
)

func productHarms() []harm {
	return []harm{
		{"MetalLB runs", func(p *cluster) {
			p.Workloads = append(p.Workloads, doctor.Workload{Kind: "Deployment", Namespace: "metallb-system", Name: "controller", Images: []string{"quay.io/metallb/controller:v0.16"}, Replicas: 1})
			p.Services[0].Annotations = map[string]string{"metallb.io/ip-allocated-from-pool": "x"}
		}, []string{"other-load-balancers Fault: MetalLB runs: Deployment metallb-system/controller; Service n/web is served by MetalLB as well (metallb.io/ip-allocated-from-pool)"}},
		{"MetalLB has stopped, or has a class of its own", func(p *cluster) {
			p.Workloads = append(p.Workloads, doctor.Workload{Kind: "Deployment", Name: "a", Images: []string{"quay.io/metallb/controller@sha256:0"}},
				doctor.Workload{Kind: "Deployment", Name: "b", Images: []string{"metallb/controller:v0.16"}, Replicas: 1, Settings: []string{"--lb-class=x"}},
				doctor.Workload{Kind: "DaemonSet", Name: "c", Images: []string{"ghcr.io/kube-vip/kube-vip:v1"}, Replicas: 1, Settings: []string{"svc_enable=false"}},
				doctor.Workload{Kind: "Pod", Name: "d", Images: []string{"ghcr.io/kube-vip/kube-vip:v1"}, Replicas: 1, Settings: []string{"manager", "cp_enable=true"}},
				doctor.Workload{Kind: "Pod", Name: "e", Images: []string{"ghcr.io/kube-vip/kube-vip:v1"}, Replicas: 1, Settings: []string{"svc_enable=true", "lb_class_only=true"}})
		}, []string{}},
		{"kube-vip runs, as a DaemonSet and in static Pods", func(p *cluster) {
			p.Workloads = append(p.Workloads,
				doctor.Workload{Kind: "DaemonSet", Namespace: "kube-system", Name: "a", Images: []string{"ghcr.io/kube-vip/kube-vip:v1"}, Replicas: 1, Settings: []string{"svc_enable=true"}},
				doctor.Workload{Kind: "Pod", Namespace: "kube-system", Name: "kube-vip-node1", Images: []string{"ghcr.io/kube-vip/kube-vip@sha256:0"}, Replicas: 1, Settings: []string{"manager", "--services"}},
				doctor.Workload{Kind: "Deployment", Namespace: "kube-system", Name: "c", Images: []string{"ghcr.io/kube-vip/kube-vip-cloud-provider:v1"}, Replicas: 1})
		}, []string{"other-load-balancers Fault: kube-vip runs: DaemonSet kube-system/a; kube-vip runs: Deployment kube-system/c; kube-vip runs: Pod kube-system/kube-vip-node1"}},
		{"kube-vip has our class alone", func(p *cluster) {
			p.Class, p.Services = "steelyard.dev/lb", nil
			p.Workloads = append(p.Workloads, doctor.Workload{Kind: "DaemonSet", Namespace: "k", Name: "a", Images: []string{"ghcr.io/kube-vip/kube-vip:v1"}, Replicas: 1, Settings: []string{"svc_enable=true", "lb_class_only=true", "lb_class_name=steelyard.dev/lb"}})
		}, []string{"other-load-balancers Fault: kube-vip runs: DaemonSet k/a"}},
		{"MetalLB runs, for other classes than ours", func(p *cluster) {
			p.Class, p.Services = "steelyard.dev/lb", nil
			p.Workloads = append(p.Workloads, doctor.Workload{Kind: "Deployment", Name: "a", Images: []string{"quay.io/metallb/controller:v1"}, Replicas: 1})
		}, []string{}},
		{"MetalLB has our class", func(p *cluster) {
			p.Class, p.Services = "steelyard.dev/lb", nil
			p.Workloads = append(p.Workloads, doctor.Workload{Kind: "Deployment", Namespace: "m", Name: "a", Images: []string{"quay.io/metallb/controller:v1"}, Replicas: 1, Settings: []string{"--lb-class=steelyard.dev/lb"}})
		}, []string{"other-load-balancers Fault: MetalLB runs: Deployment m/a"}},
		{"Cilium assigns addresses", func(p *cluster) {
			p.Foreign = []doctor.Foreign{{Product: "Cilium", Kind: "CiliumLoadBalancerIPPool", Count: 2}}
		}, []string{"other-load-balancers Fault: Cilium has 2 CiliumLoadBalancerIPPools: its LB IPAM assigns addresses as well"}},
	}
}

const noLeases = "you may not list leases.coordination.k8s.io in namespace steelyard-system"

// TestWhatCantBeSeenIsNotWell has one kind of objects after the other withheld.
func TestWhatCantBeSeenIsNotWell(t *testing.T) {
	for _, c := range []struct {
		gap  doctor.Gap
		want []string
	}{
		{doctor.Gap{Resource: "deployments.apps"}, []string{
			"versions Unknown: you may not list deployments.apps in all namespaces", "other-load-balancers Unknown: you may not list deployments.apps in all namespaces"}},
		{doctor.Gap{Resource: "daemonsets.apps"}, []string{
			"versions Unknown: you may not list daemonsets.apps in all namespaces", "other-load-balancers Unknown: you may not list daemonsets.apps in all namespaces"}},
		{doctor.Gap{Resource: "statefulsets.apps"}, []string{"other-load-balancers Unknown: you may not list statefulsets.apps in all namespaces"}},
		{doctor.Gap{Resource: "pods", Namespace: "kube-system"}, []string{"other-load-balancers Unknown: you may not list pods in namespace kube-system"}},
		{doctor.Gap{Resource: "ciliumloadbalancerippools.cilium.io"}, []string{"other-load-balancers Unknown: you may not list ciliumloadbalancerippools.cilium.io"}},
		{doctor.Gap{Resource: "customresourcedefinitions.apiextensions.k8s.io"}, []string{"versions Unknown: you may not list customresourcedefinitions.apiextensions.k8s.io"}},
		{doctor.Gap{Resource: "configmaps", Namespace: "kube-system"}, []string{}}, // every speaker tells kube-proxy's mode
	} {
		p := healthy()
		p.Forbidden = []doctor.Gap{c.gap}
		if diff := cmp.Diff(c.want, sick(t, p)); diff != "" {
			t.Errorf("%s: want -, have +:\n%s", c.gap.Resource, diff)
		}
	}
	p := healthy()
	p.ClusterIPs, p.ClusterIPsUnread = nil, true
	if diff := cmp.Diff([]string{"addresses-in-use Unknown: you may not list servicecidrs.networking.k8s.io"}, sick(t, p)); diff != "" {
		t.Error(diff)
	}
	p = healthy()
	p.Forbidden, p.Speakers[0].Status.Host.ProxyMode = []doctor.Gap{{Resource: "configmaps", Namespace: "kube-system"}}, ""
	if diff := cmp.Diff([]string{"strict-arp Unknown: you may not list configmaps in namespace kube-system"}, sick(t, p)); diff != "" {
		t.Error(diff)
	}
	f := doctor.Examine(p.Snapshot, p.Environment, "strict-arp")[0]
	if want := "ask for the permission, or let a user with it run this (kubectl auth can-i list configmaps -n kube-system)"; f.Remedy != want {
		t.Errorf("%q, want %q", f.Remedy, want)
	}
}

func TestOfServicesOfAClassThatIsGuessedNothingIsKnown(t *testing.T) {
	p := healthy()
	p.Guessed = true
	const guessed = " Unknown: which class of Services Steelyard serves could not be read"
	if diff := cmp.Diff([]string{"waiting" + guessed, "local-endpoints" + guessed, "annotations" + guessed}, sick(t, p)); diff != "" {
		t.Error(diff)
	}
}
