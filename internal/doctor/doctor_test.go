package doctor_test

import (
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/doctor"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/stories"
	"github.com/steelyard-lb/steelyard/internal/world"
)

func now() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// cluster is a healthy cluster, to be harmed.
type cluster struct {
	*world.Snapshot
	doctor.Environment
}

func lease(name, holder string, ago time.Duration) coordinationv1.Lease {
	renewed, written := metav1.NewMicroTime(now().Add(-ago)), metav1.NewTime(now().Add(-ago))
	seconds := int32(3)
	return coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Time: &written}}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed, LeaseDurationSeconds: &seconds},
	}
}

func healthy() *cluster {
	w := &world.Snapshot{Objects: health.Objects{Now: now()}}
	w.Config.Pools = []v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.100-192.0.2.120"}}}}
	w.Config.L2 = []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}}}
	w.Config.Peers = []v1beta1.BGPPeer{{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.1"}}}
	w.Leases = []coordinationv1.Lease{lease("steelyard-controller", "controller-1", time.Second)}
	for i, name := range []string{"node1", "node2"} {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: []string{"192.0.2.11", "192.0.2.12"}[i]}}
		n.Spec.PodCIDRs = []string{[]string{"10.1.1.0/24", "10.1.2.0/24"}[i]}
		w.Nodes = append(w.Nodes, n)
		w.Leases = append(w.Leases, lease("speaker-"+name, name, time.Second))
		w.Speakers = append(w.Speakers, v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1beta1.SpeakerStatus{
			Version:    "v1.0.0",
			Links:      []v1beta1.SpeakerLink{{Name: "eth0", Up: true, Prefixes: []string{"192.0.2.0/24"}}},
			Host:       &v1beta1.SpeakerHost{Kernel: "6.1", ProxyMode: "nftables", StrictReversePath: []string{"eth0"}},
			Conditions: []metav1.Condition{{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue}},
		}})
		w.Sessions = append(w.Sessions, v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: name, Peer: "tor", State: "Established", BFD: "Up"}})
	}
	web := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: []string{"10.96.0.7"}}}
	web.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	web.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.100"}}
	w.Services = []corev1.Service{web}
	node, port := "node1", int32(8080)
	w.Endpoints = []discoveryv1.EndpointSlice{{
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Addresses: []string{"10.1.1.2"}}},
	}}
	claim := v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.100"}, Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.100", Node: "node1"}}
	claim.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue}}
	w.Claims = []v1beta1.L2Claim{claim}
	w.Claims[0].Status.Node, w.Services[0].Annotations = "node1", map[string]string{v1beta1.AnnotationPool: "lan"}
	w.ClusterIPs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	return &cluster{w, doctor.Environment{
		System: "steelyard-system", Policy: true, ProxyConfigs: []string{"mode: \"\"\n"},
		Workloads: []doctor.Workload{
			{Kind: "Deployment", Namespace: "steelyard-system", Name: "c", Images: []string{"r.example/steelyard-controller:v1"}, Replicas: 2, Current: 2},
			{Kind: "DaemonSet", Namespace: "steelyard-system", Name: "s", Images: []string{"r.example/steelyard-speaker:v1"}, Replicas: 2, Current: 2},
		},
	}}
}

// sick returns the findings that are not OK, one a line. It checks that each has a
// remedy and evidence, and that the order of the input does not matter. It leaves out the
// check reachable where another one finds the cause: that it tells of the Services that the
// same harm keeps clients from is held by the plugin's TestAllPlacesAgree.
func sick(t *testing.T, p *cluster) []string {
	t.Helper()
	findings := doctor.Examine(p.Snapshot, p.Environment)
	rng := rand.New(rand.NewSource(1))
	p.Nodes, p.Speakers, p.Sessions, p.Leases, p.Workloads = stories.Shuffle(p.Nodes, rng), stories.Shuffle(p.Speakers, rng), stories.Shuffle(p.Sessions, rng), stories.Shuffle(p.Leases, rng), stories.Shuffle(p.Workloads, rng)
	if diff := cmp.Diff(findings, doctor.Examine(p.Snapshot, p.Environment)); diff != "" {
		t.Errorf("another order, another end:\n%s", diff)
	}
	out := []string{}
	for _, f := range findings {
		if f.Result == doctor.OK {
			if f.Remedy != "" || len(f.Evidence) == 0 {
				t.Errorf("%s is OK, and has a remedy, or no evidence: %+v", f.Check, f)
			}
			continue
		}
		if f.Remedy == "" || len(f.Evidence) == 0 {
			t.Errorf("%s: no remedy or no evidence: %+v", f.Check, f)
		}
		out = append(out, f.Check+" "+string(f.Result)+": "+strings.Join(f.Evidence, "; "))
	}
	if len(out) > 1 {
		out = slices.DeleteFunc(out, func(f string) bool { return strings.HasPrefix(f, "reachable ") })
	}
	return out
}

func TestAHealthyClusterHasNothing(t *testing.T) {
	h := healthy()
	if f := doctor.Examine(h.Snapshot, h.Environment, "reachable")[0]; f.Result != doctor.OK {
		t.Errorf("%+v", f)
	}
	if diff := cmp.Diff([]string{}, sick(t, healthy())); diff != "" {
		t.Error(diff)
	}
	if n := len(doctor.Examine(healthy().Snapshot, doctor.Environment{}, "clocks", "bfd")); n != 2 {
		t.Errorf("two checks were asked for, %d were made", n)
	}
}

func TestAControllerOfAnotherVersionThanTheSpeakers(t *testing.T) {
	for version, want := range map[string][]string{
		"v1.0.0": {}, "": {},
		"v1.1.0": {`versions Warning: speakers of version "v1.0.0" run on node1, node2; the controller is of version "v1.1.0"`},
	} {
		p := healthy()
		p.Leases[0].Labels = map[string]string{intent.LabelVersion: version}
		if diff := cmp.Diff(want, sick(t, p)); diff != "" {
			t.Errorf("%q: %s", version, diff)
		}
	}
}

func TestAnEmptyClusterIsNoReasonToPanic(t *testing.T) {
	for _, f := range doctor.Examine(&world.Snapshot{Objects: health.Objects{Now: now()}}, doctor.Environment{}) {
		if f.Result == "" {
			t.Errorf("%s says nothing", f.Check)
		}
	}
	if len(doctor.Checks()) != len(doctor.Examine(&world.Snapshot{}, doctor.Environment{})) {
		t.Error("a check is left out")
	}
}

// harm is a change to a healthy cluster, and everything that is found then.
type harm struct {
	name string
	do   func(*cluster)
	want []string
}

func condition(kind, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Message: message}
}

func programHarms() []harm {
	return []harm{
		{"no controller has ever run", func(p *cluster) { p.Leases = p.Leases[1:] },
			[]string{"controller Fault: there is no Lease steelyard-controller in namespace steelyard-system: no controller has ever run"}},
		{"the controller is gone", func(p *cluster) { p.Leases[0] = lease("steelyard-controller", "c", 40*time.Second) },
			[]string{"controller Fault: c holds the Lease; no controller runs: the last one renewed its Lease 40s ago"}},
		{"the controller is gone, as status has it", func(p *cluster) { p.Leases[0] = lease("steelyard-controller", "c", 11*time.Second) },
			[]string{"controller Fault: c holds the Lease; no controller runs: the last one renewed its Lease 11s ago"}},
		{"the controller has stopped", func(p *cluster) { *p.Leases[0].Spec.HolderIdentity = "" },
			[]string{"controller Fault: the Lease steelyard-controller was released: no controller is active"}},
		{"Leases can't be read", func(p *cluster) { p.Leases = nil },
			[]string{"controller Unknown: " + noLeases, "speakers Unknown: " + noLeases, "clocks Unknown: " + noLeases}},
		{"Leases can't be read, and a speaker is missing", func(p *cluster) { p.Leases, p.Speakers = nil, p.Speakers[:1] },
			[]string{"controller Unknown: " + noLeases, "speakers Warning: node2: no speaker has ever run there; " + noLeases, "clocks Unknown: " + noLeases}},
		{"a speaker is missing", func(p *cluster) { p.Speakers = p.Speakers[:1] },
			[]string{"speakers Warning: node2: no speaker has ever run there"}},
		{"Pod security refuses the speakers", func(p *cluster) {
			p.Speakers, p.Leases = nil, p.Leases[:1]
			p.Workloads[1].Current, p.Workloads[1].Refused = 0, `pods "s-x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`
		}, []string{`speakers Fault: DaemonSet steelyard-system/s has 0 of 2 Pods: FailedCreate: pods "s-x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true); ` +
			"node1: no speaker has ever run there; node2: no speaker has ever run there",
			"subnets Unknown: no speaker tells of a subnet", "membership Unknown: no speaker tells whom it hears"}},
		{"speakers can't be made, and events can't be read", func(p *cluster) {
			p.Workloads[1].Current, p.Forbidden = 1, []doctor.Gap{{Resource: "events", Namespace: "steelyard-system"}}
		}, []string{"speakers Warning: DaemonSet steelyard-system/s has 1 of 2 Pods; you may not list events in namespace steelyard-system, which tell why"}},
		{"a quota refuses the controller", func(p *cluster) {
			p.Leases = p.Leases[1:]
			p.Workloads[0].Current, p.Workloads[0].Refused = 0, "exceeded quota"
		}, []string{"controller Fault: Deployment steelyard-system/c has 0 of 2 Pods: FailedCreate: exceeded quota; there is no Lease steelyard-controller in namespace steelyard-system: no controller has ever run"}},
		{"a quota refuses the second controller", func(p *cluster) { p.Workloads[0].Current = 1 },
			[]string{"controller Warning: Deployment steelyard-system/c has 1 of 2 Pods"}},
		{"two versions", func(p *cluster) {
			p.Speakers[0].Status.Version = "v0.9.0"
			p.Workloads[0].Images[0] = "localhost:5000/steelyard-controller:v2"
			p.OldKinds = []string{"Speaker lacks status.host"}
		}, []string{`versions Warning: speakers of version "v0.9.0" run on node1; speakers of version "v1.0.0" run on node2; ` +
			"the controller's image is v2, the speakers' v1; the kind Speaker lacks status.host: it is of an older version than this program"}},
		{"images of one release, by tag and digest", func(p *cluster) {
			p.Workloads[0].Images[0] = "example.org/steelyard-controller:v1@sha256:01"
			p.Workloads[1].Images[0] = "example.org/steelyard-speaker:v1@sha256:02"
		}, []string{}},
		{"images by digest alone, and a Pod is missing", func(p *cluster) {
			p.Workloads[0].Images[0], p.Workloads[0].Current = "example.org/steelyard-controller@sha256:01", 1
		}, []string{"controller Warning: Deployment steelyard-system/c has 1 of 2 Pods"}},
		{"a clock is behind", func(p *cluster) { p.Leases[2].Spec.RenewTime.Time = now().Add(-20 * time.Second) },
			[]string{"speakers Warning: node2: the API server has not heard of its speaker for 19s: it may announce still", "clocks Warning: the clock of node2 is off by -19s"}},
		{"an object is wrong", func(p *cluster) {
			p.Config.L2[0].Spec.IPAddressPools = []string{"lan", "none"}
		}, []string{`configuration Fault: L2Advertisement lan: NotFound: spec.ipAddressPools: there is no IPAddressPool "none"; the others that it names are announced`}},
	}
}

func nodeHarms() []harm {
	exclude := func(n *corev1.Node) { n.Labels = map[string]string{v1beta1.LabelExcludeNode: ""} }
	return []harm{
		{"a node is excluded", func(p *cluster) { exclude(&p.Nodes[1]) },
			[]string{"excluded-nodes Warning: node2: by label " + v1beta1.LabelExcludeNode + " (kubectl label node node2 " + v1beta1.LabelExcludeNode + "- takes it off; with --ignore-exclude-label it has no effect)"}},
		{"a control plane is excluded, as it should", func(p *cluster) {
			exclude(&p.Nodes[1])
			p.Nodes[1].Labels["node-role.kubernetes.io/control-plane"] = ""
		}, []string{}},
		{"all nodes are excluded", func(p *cluster) {
			for i := range p.Nodes {
				exclude(&p.Nodes[i])
				p.Nodes[i].Labels["node-role.kubernetes.io/control-plane"] = ""
			}
		}, []string{"excluded-nodes Fault: node1: by label " + v1beta1.LabelExcludeNode + " (kubectl label node node1 " + v1beta1.LabelExcludeNode + "- takes it off; with --ignore-exclude-label it has no effect); node2: by label " + v1beta1.LabelExcludeNode + " (kubectl label node node2 " + v1beta1.LabelExcludeNode + "- takes it off; with --ignore-exclude-label it has no effect)"}},
		{"a kernel answers", func(p *cluster) {
			p.Speakers[0].Status.Conditions = append(p.Speakers[0].Status.Conditions, condition(v1beta1.ConditionKernelAnswers, "arp_ignore is 0"))
		}, []string{"strict-arp Fault: node1: arp_ignore is 0"}},
		{"ipvs is configured without strictARP", func(p *cluster) { p.ProxyConfigs = []string{"ipvs:\n  strictARP: false\nmode: ipvs\n"} },
			[]string{"strict-arp Warning: the ConfigMap of kube-proxy has mode ipvs, and strictARP not set; no node shows it yet"}},
		{"ipvs is configured with strictARP", func(p *cluster) { p.ProxyConfigs = []string{"ipvs:\n  strictARP: true\nmode: \"ipvs\"\n"} }, []string{}},
		{"kube-proxy does not answer, and modes differ", func(p *cluster) {
			p.Speakers[0].Status.Host.ProxyError = "connection refused"
			p.Speakers[1].Status.Host.ProxyMode = "iptables"
		}, []string{"kube-proxy Warning: kube-proxy in mode iptables forwards on node2; kube-proxy in mode nftables forwards on node1; node1: connection refused"}},
		{"another program has a port", func(p *cluster) {
			p.Speakers[1].Status.Host.PortsTaken = []string{"TCP 7474 (metrics): nginx (process 7)"}
		},
			[]string{"ports Warning: node2: TCP 7474 (metrics): nginx (process 7)"}},
		{"another program of the node has the router", func(p *cluster) {
			p.Speakers[0].Status.Host.BGPPrograms = []v1beta1.BGPProgram{{Program: "bird (process 7)"}, {Program: "bird (process 7)", Router: "192.0.2.1", Address: "192.0.2.11"}}
			p.Sessions[0].Status.State, p.Sessions[0].Status.LastError = "Idle", "another program of this node has a BGP session with 192.0.2.1 from 192.0.2.11, and a router has one with each address: bird (process 7)"
			p.Sessions[0].Status.BFD = ""
		}, []string{
			"bgp-sessions Fault: BGPPeer tor: down on 1 of 2 nodes (node1): another program of this node has a BGP session with 192.0.2.1 from 192.0.2.11, and a router has one with each address: bird (process 7)",
			"bgp-programs Fault: node1: another program of this node has a BGP session with 192.0.2.1 from 192.0.2.11: bird (process 7)",
		}},
		{"another program of the node has another address", func(p *cluster) {
			p.Speakers[0].Status.Host.BGPPrograms = []v1beta1.BGPProgram{{Program: "bird (process 7)", Router: "192.0.2.1", Address: "192.0.2.211"}}
		}, []string{}},
		{"null routes can't be made", func(p *cluster) { p.Speakers[1].Status.Host.NullRouteError = "the table is taken" },
			[]string{"null-routes Warning: node2: the table is taken"}},
		{"a token tells no node", func(p *cluster) { p.Speakers[0].Status.Host.TokenError = "it tells no node" },
			[]string{"speaker-policy Warning: node1: it tells no node"}},
		{"the policy for speakers is not installed", func(p *cluster) { p.Policy = false },
			[]string{"speaker-policy Warning: the ValidatingAdmissionPolicy steelyard-speaker is not in force for namespace steelyard-system"}},
		{"strict reverse path with two links", func(p *cluster) {
			p.Speakers[0].Status.Links = append(p.Speakers[0].Status.Links, v1beta1.SpeakerLink{Name: "eth1", Up: true, Prefixes: []string{"198.51.100.0/24"}})
		}, []string{"reverse-path Warning: node1: strict on eth0, and it has 2 links"}},
	}
}

func addressHarms() []harm {
	pool := func(p *cluster, ranges ...v1beta1.AddressRange) { p.Config.Pools[0].Spec.Addresses = ranges }
	return []harm{
		{"a pool holds what others have", func(p *cluster) { pool(p, "192.0.2.0/24", "10.1.1.200-10.1.1.201", "10.96.0.0/28") },
			[]string{"subnets Warning: IPAddressPool lan: 10.1.1.200-10.1.1.201 is in no subnet of any node; IPAddressPool lan: 10.96.0.0-10.96.0.15 is in no subnet of any node"}},
		{"a Service has what another has by now", func(p *cluster) { p.Config.Peers[0].Spec.PeerAddress = "192.0.2.100" },
			[]string{`addresses-in-use Fault: IPAddressPool lan: 1 of its addresses are never chosen: 192.0.2.100 is the address of BGPPeer "tor"; Service n/web has 192.0.2.100, which is the address of BGPPeer "tor"`}},
		{"what is excluded is not held", func(p *cluster) {
			pool(p, "192.0.2.0/24")
			p.Config.Pools[0].Spec.Exclude = []v1beta1.AddressRange{"192.0.2.0-192.0.2.99"}
		}, []string{}},
		{"another program overwrites a Service", func(p *cluster) {
			p.Services[0].Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionContested, Status: metav1.ConditionTrue, Message: "field manager \x1b"}}
		}, []string{`contested Fault: Service n/web: field manager \x1b`}},
		{"a Service can't be deleted", func(p *cluster) { p.Services[0].Finalizers = []string{v1beta1.FinalizerCleanup} },
			[]string{"contested Warning: Service n/web has the finalizer service.kubernetes.io/load-balancer-cleanup, which Steelyard did not set"}},
		{"our own finalizer is no fault", func(p *cluster) {
			p.Services[0].Finalizers, p.Services[0].Annotations = []string{v1beta1.FinalizerCleanup}, map[string]string{v1beta1.AnnotationPool: "lan", v1beta1.AnnotationFinalizer: "class="}
		}, []string{}},
		{"a pool is in no subnet", func(p *cluster) {
			p.Config.Pools = append(p.Config.Pools, v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "far"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"203.0.113.9"}}})
		}, []string{"subnets Warning: IPAddressPool far: 203.0.113.9 is in no subnet of any node"}},
		{"a pool in no subnet is for BGP", func(p *cluster) {
			p.Config.Pools = append(p.Config.Pools, v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "far"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"203.0.113.9"}}})
			p.Config.BGP = []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "far"}, Spec: v1beta1.BGPAdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: []string{"far"}}}}}
		}, []string{}},
		{"no advertisement", func(p *cluster) { p.Config.L2 = nil }, []string{"advertised Warning: IPAddressPool lan: no advertisement is for it"}},
		{"no pool", func(p *cluster) { p.Config.Pools, p.Services = nil, nil }, []string{"advertised Warning: there is no IPAddressPool"}},
	}
}

func wireHarms() []harm {
	return []harm{
		{"a speaker does not hear another", func(p *cluster) { p.Speakers[0].Status.Host.UnreachableSpeakers = []string{"node2"} },
			[]string{"membership Warning: node1 has never heard node2"}},
		{"sessions between speakers do not come up", func(p *cluster) {
			p.Speakers[0].Status.Host.SessionsDown = []string{"node2", "node2 on 198.51.100.0/24", "removed"}
		}, []string{"membership Warning: node1 has no BFD session with node2, node2 on 198.51.100.0/24"}},
		{"a speaker is cut off", func(p *cluster) {
			p.Speakers[0].Status.Conditions = append(p.Speakers[0].Status.Conditions, condition(v1beta1.ConditionIsolated, "it hears no other"))
		}, []string{"speakers Warning: node1: its speaker has cut itself off: it hears no other", "membership Fault: node1: it hears no other"}},
		{"older speakers", func(p *cluster) { p.Speakers[0].Status.Host, p.Speakers[1].Status.Host = nil, nil },
			[]string{"membership Unknown: no speaker tells whom it hears"}},
		{"a session is down", func(p *cluster) {
			p.Sessions[0].Status.State, p.Sessions[0].Status.BFD, p.Sessions[0].Status.LastError = "Active", "Down", "dial: i/o timeout"
		}, []string{"bgp-sessions Fault: BGPPeer tor: down on 1 of 2 nodes (node1): dial: i/o timeout"}},
		{"BFD is down", func(p *cluster) { p.Sessions[0].Status.BFD = "Down" }, []string{"bfd Warning: BGPPeer tor: on 1 of 2 nodes (node1): Down"}},
		{"a foreign host", func(p *cluster) {
			p.Claims[0].Status.Conditions = append(p.Claims[0].Status.Conditions, condition(v1beta1.ConditionConflict, "02:00:00:00:00:09 has it"))
		}, []string{"address-conflicts Fault: 192.0.2.100: 02:00:00:00:00:09 has it"}},
		{"a Service waits", func(p *cluster) {
			p.Services[0].Status.LoadBalancer.Ingress = nil
			p.Services[0].Spec.LoadBalancerIP = "203.0.113.1"
		}, []string{"waiting Warning: Service n/web: AddressOutsidePools: no IPAddressPool holds 203.0.113.1; the nearest range is 192.0.2.100-192.0.2.120 of IPAddressPool \"lan\""}},
		{"no node says that it answers", func(p *cluster) { p.Claims[0].Status.Conditions = nil },
			[]string{"reachable Warning: Service n/web: Disagreement: node node1 should answer for 192.0.2.100, and says that it does not: "}},
		{"Local without an endpoint", func(p *cluster) { p.Endpoints = nil },
			[]string{"local-endpoints Warning: Service n/web: 0 of 0 endpoints ready"}},
		{"a targetPort that no container has", func(p *cluster) { p.Endpoints[0].Ports = nil },
			[]string{"reachable Fault: Service n/web: NoEndpointsForPort: 192.0.2.100 on the local network; but no endpoint has port 80/TCP, so that clients are refused there: let its targetPort name a port of the Pods' containers, or an EndpointSlice made by hand the Service's port"}},
		{"a slip in an annotation", func(p *cluster) {
			p.Services[0].Annotations = map[string]string{"steelyard.dev/adress-pool": "x"}
		}, []string{"annotations Warning: Service n/web: annotation steelyard.dev/adress-pool means nothing: do you mean steelyard.dev/address-pool?"}},
		{"an annotation of another load balancer", func(p *cluster) {
			p.Services[0].Annotations = map[string]string{"metallb.io/address-pool": "x"}
		}, []string{"annotations Warning: Service n/web: annotation metallb.io/address-pool does nothing here: use steelyard.dev/address-pool, or run the controller with --compat-annotations=metallb.io"}},
	}
}

// TestEachHarmIsFound does one harm at a time, and looks at all that is found.
func TestEachHarmIsFound(t *testing.T) {
	found := map[string]bool{}
	for _, h := range slices.Concat(programHarms(), nodeHarms(), addressHarms(), productHarms(), wireHarms()) {
		t.Run(h.name, func(t *testing.T) {
			p := healthy()
			h.do(p)
			if diff := cmp.Diff(h.want, sick(t, p)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
		for _, w := range h.want {
			name, _, _ := strings.Cut(w, " ")
			found[name] = true
		}
	}
	for _, name := range doctor.Checks() {
		if !found[name] {
			t.Errorf("no harm is found by the check %s", name)
		}
	}
}

func TestAFloodIsCut(t *testing.T) {
	p := healthy()
	for range 20 {
		p.Nodes = append(p.Nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "more" + string(rune('a'+len(p.Nodes)))}})
	}
	f := doctor.Examine(p.Snapshot, p.Environment, "speakers")[0]
	if len(f.Evidence) != 9 || f.Evidence[8] != "and 12 more" {
		t.Errorf("%q", f.Evidence)
	}
}
