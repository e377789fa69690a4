package world_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// TestDiagnoses runs the stories of testdata: objects, one a line, and what is
// to know of each Service.
//
//	pool NAME RANGE
//	l2 NAME
//	bgp NAME
//	peer NAME ADDRESS [unusable]
//	node NAME [excluded] [down] [absent|stopped|late|isolated]
//	svc NAME [has ADDRESS] [class C] [local] [on NODES] [type T] [wants ADDRESS] [six]
//	claim ADDRESS NODE [by NODE] [reason REASON] [conflict]
//	session NODE PEER STATE [error TEXT] [routes N]
func TestDiagnoses(t *testing.T) {
	stories.Run(t, "testdata/*.txt", func(t *testing.T, given, want string) {
		w := parseWorld(t, given)
		evaluation := w.Evaluate()
		announced := evaluation.Announcements(evaluation.Shown())
		var lines []string
		for i := range w.Services {
			k := intent.KeyOf(&w.Services[i])
			d := evaluation.Diagnose(k, announced.Of[k])
			line := k.Name + ": " + d.Text
			if d.Reason != "" {
				line = k.Name + " " + d.Reason + ": " + d.Text
			}
			lines = append(lines, line)
		}
		if diff := gocmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}

func now() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

func parseWorld(t *testing.T, text string) *world.Snapshot {
	w := &world.Snapshot{Objects: health.Objects{Now: now(), Leases: []coordinationv1.Lease{}}}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			add(t, w, words{fields[0], fields[1:]})
		}
	}
	return w
}

// words are those of one line.
type words struct {
	kind string
	rest []string
}

func (o words) has(word string) bool {
	for _, x := range o.rest {
		if x == word {
			return true
		}
	}
	return false
}

// after returns what stands after a word, or "".
func (o words) after(word string) string {
	for i, x := range o.rest[:len(o.rest)-1] {
		if x == word {
			return o.rest[i+1]
		}
	}
	return ""
}

func add(t *testing.T, w *world.Snapshot, o words) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: o.rest[0], CreationTimestamp: metav1.NewTime(now().Add(-time.Hour))}
	switch o.kind {
	case "pool":
		w.Config.Pools = append(w.Config.Pools, v1beta1.IPAddressPool{ObjectMeta: meta, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{v1beta1.AddressRange(o.rest[1])}}})
	case "l2":
		w.Config.L2 = append(w.Config.L2, v1beta1.L2Advertisement{ObjectMeta: meta})
	case "bgp":
		w.Config.BGP = append(w.Config.BGP, v1beta1.BGPAdvertisement{ObjectMeta: meta})
	case "peer":
		w.Config.Peers = append(w.Config.Peers, v1beta1.BGPPeer{ObjectMeta: meta, Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: v1beta1.IPAddress(o.rest[1])}})
		if o.has("unusable") {
			p := &w.Config.Peers[len(w.Config.Peers)-1]
			p.Spec.PasswordSecret = &v1beta1.SecretName{Name: "password"}
			p.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionResolvedRefs, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNotFound, Message: "spec.passwordSecret: there is no such Secret; no session is held"}}
		}
	case "node":
		addNode(w, meta, o)
	case "svc":
		addService(w, meta, o)
	case "claim":
		w.Claims = append(w.Claims, claim(o))
	case "session":
		x := v1beta1.BGPSessionStatus{Node: o.rest[0], Peer: o.rest[1], State: o.rest[2], LastError: o.after("error")}
		if o.has("routes") {
			x.Prefixes = &v1beta1.PrefixCount{Advertised: 3}
		}
		w.Sessions = append(w.Sessions, v1beta1.BGPSession{Status: x})
	default:
		t.Fatalf("what is %q?", o.kind)
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func addNode(w *world.Snapshot, meta metav1.ObjectMeta, o words) {
	n := corev1.Node{ObjectMeta: meta}
	if o.has("excluded") {
		n.Labels = map[string]string{v1beta1.LabelExcludeNode: ""}
	}
	w.Nodes = append(w.Nodes, n)
	if o.has("absent") {
		return
	}
	ready := metav1.ConditionTrue
	if o.has("stopped") {
		ready = metav1.ConditionFalse
	}
	w.Speakers = append(w.Speakers, v1beta1.Speaker{ObjectMeta: meta, Status: v1beta1.SpeakerStatus{
		Links:      []v1beta1.SpeakerLink{{Name: "eth0", Up: !o.has("down"), Prefixes: []string{"192.0.2.0/24"}}},
		Conditions: []metav1.Condition{{Type: v1beta1.ConditionReady, Status: ready}},
	}})
	if o.has("isolated") {
		s := &w.Speakers[len(w.Speakers)-1].Status
		s.Conditions = append(s.Conditions, metav1.Condition{Type: v1beta1.ConditionIsolated, Status: metav1.ConditionTrue, Message: "it hears no other"})
	}
	renewed, seconds := metav1.NewMicroTime(now().Add(-time.Second)), int32(3)
	if o.has("late") {
		renewed = metav1.NewMicroTime(now().Add(-time.Minute))
	}
	w.Leases = append(w.Leases, coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + n.Name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &n.Name, RenewTime: &renewed, LeaseDurationSeconds: &seconds},
	})
}

func addService(w *world.Snapshot, meta metav1.ObjectMeta, o words) {
	svc := corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: o.after("wants")}}
	svc.Namespace = "n"
	if kind := o.after("type"); kind != "" {
		svc.Spec.Type = corev1.ServiceType(kind)
	}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}}
	if o.has("two") {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt(53)})
	}
	if class := o.after("class"); class != "" {
		svc.Spec.LoadBalancerClass = &class
	}
	if o.has("six") {
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	}
	if o.has("local") {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if addr := o.after("has"); addr != "" {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
		svc.Annotations = map[string]string{v1beta1.AnnotationPool: "lan"}
	}
	w.Services = append(w.Services, svc)
	slice := discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, ObjectMeta: metav1.ObjectMeta{Namespace: "n", Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}}}
	if o.has("six") {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	slice.Ports = endpointPorts(o.after("listing"))
	for node := range strings.FieldsFuncSeq(o.after("on"), func(r rune) bool { return r == ',' }) {
		e := discoveryv1.Endpoint{NodeName: &node, Addresses: []string{fmt.Sprintf("10.0.0.%d", len(slice.Endpoints))}}
		if node == "nowhere" {
			e.NodeName = nil
		}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	w.Endpoints = append(w.Endpoints, slice)
}

// endpointPorts returns these ports, such as "http,dns"; "": http; "-": none.
func endpointPorts(names string) []discoveryv1.EndpointPort {
	number, protocols := int32(8080), map[string]corev1.Protocol{"http": corev1.ProtocolTCP, "dns": corev1.ProtocolUDP}
	var out []discoveryv1.EndpointPort
	for name := range strings.SplitSeq(cmp.Or(names, "http"), ",") {
		if protocol, known := protocols[name]; known {
			out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
		}
	}
	return out
}

func claim(o words) v1beta1.L2Claim {
	c := v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(o.rest[0]), Node: o.rest[1]}}
	c.Name = intent.ClaimName(netip.MustParseAddr(o.rest[0]))
	c.Status.Node = o.rest[1]
	if by := o.after("by"); by != "" {
		c.Status.Node = by
	}
	announced := metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}
	if reason := o.after("reason"); reason != "" {
		announced.Status, announced.Reason = metav1.ConditionFalse, reason
	}
	c.Status.Conditions = []metav1.Condition{announced}
	if o.has("conflict") {
		c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionConflict, Status: metav1.ConditionTrue, Message: "machine 02:00:00:00:00:09 has it as well"})
	}
	return c
}

func TestSecretsAreTakenForGoodUnlessTheControllerSaysOtherwise(t *testing.T) {
	peer := func(condition string) *world.Snapshot {
		var p v1beta1.BGPPeer
		text := `{metadata: {name: p, generation: 2}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, passwordSecret: {name: s}}, status: {conditions: [` + condition + `]}}`
		if err := yaml.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return &world.Snapshot{Config: intent.Objects{Peers: []v1beta1.BGPPeer{p}}}
	}
	for _, c := range []struct {
		name, condition string
		want            int
	}{
		{"nothing is said of it yet", "", 1},
		{"it is fine", `{type: ResolvedRefs, status: "True", reason: ResolvedRefs, observedGeneration: 2}`, 1},
		{"the Secret is at fault", `{type: ResolvedRefs, status: "False", reason: NotFound, observedGeneration: 2, message: "spec.passwordSecret: there is no Secret"}`, 0},
		{"that was said of what the peer was before", `{type: ResolvedRefs, status: "False", reason: NotFound, observedGeneration: 1, message: "spec.passwordSecret: there is no Secret"}`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := len(peer(c.condition).Evaluate().Checked.Neighbors); have != c.want {
				t.Errorf("%d sessions are held, want %d", have, c.want)
			}
		})
	}
}

func TestUsageCountsASharedAddressOnce(t *testing.T) {
	w := parseWorld(t, "pool lan 192.0.2.0/30\nsvc a has 192.0.2.1\nsvc b\nsvc c")
	for _, i := range []int{0, 1} {
		w.Services[i].Annotations = map[string]string{v1beta1.AnnotationAllowSharedIP: "k"}
		w.Services[i].Spec.Ports = []corev1.ServicePort{{Port: int32(80 + i)}}
	}
	evaluation := w.Evaluate()
	if have := evaluation.Usage()[0][ipam.IPv4]; have != 2 {
		t.Errorf("%d addresses are given, want 2: %v", have, evaluation.Grants)
	}
}
