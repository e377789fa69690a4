package migrate

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// metalLB is what is known of MetalLB, up to 0.16. Our kinds and fields have its
// names wherever they mean the same.
func metalLB() converter {
	resource := func(version, name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "metallb.io", Version: version, Resource: name}
	}
	return converter{
		kinds: []schema.GroupVersionResource{
			resource("v1beta1", "ipaddresspools"), resource("v1beta1", "l2advertisements"), resource("v1beta1", "bgpadvertisements"),
			resource("v1beta2", "bgppeers"), resource("v1beta1", "bfdprofiles"), resource("v1beta1", "communities"),
			{Group: "frrk8s.metallb.io", Version: "v1beta1", Resource: "frrconfigurations"},
		},
		foreign: map[string]string{
			"AddressPool":         "MetalLB itself gave this kind up in 0.14: go to IPAddressPool and its advertisements first",
			"FRRConfiguration":    "what it has FRR do beside MetalLB has no equal: who needs it must keep FRR",
			"FRRNodeState":        "it is a report of MetalLB's",
			"ServiceL2Status":     "it is a report of MetalLB's; ours is kubectl get l2claims.steelyard.dev",
			"ServiceBGPStatus":    "it is a report of MetalLB's; ours is kubectl get bgpsessions.steelyard.dev",
			"BGPSessionState":     "it is a report of MetalLB's; ours is kubectl get bgpsessions.steelyard.dev",
			"ConfigurationState":  "it is a report of MetalLB's; ours is a condition on each object",
			"FRRNodeStateList":    "it is a report of MetalLB's",
			"BGPSessionStateList": "it is a report of MetalLB's",
		},
		homes: []string{"metallb-system"},
		convert: func(d *draft) {
			v1 := []string{"metallb.io/v1beta1"}
			d.each("IPAddressPool", v1, d.metalLBPool)
			d.each("L2Advertisement", v1, d.metalLBL2)
			d.each("BGPAdvertisement", v1, d.metalLBBGP)
			d.each("BGPPeer", []string{"metallb.io/v1beta2", "metallb.io/v1beta1"}, d.metalLBPeer)
			d.each("BFDProfile", v1, d.metalLBProfile)
			d.each("Community", v1, d.metalLBCommunity)
		},
		asks: func(_ *draft, svc *corev1.Service) request {
			w := requestOf(svc, MetalLB)
			w.known = []string{"loadBalancerIPs", "address-pool", "allow-shared-ip", "ip-allocated-from-pool"}
			w.prefixes = []string{"metallb.io/", "metallb.universe.tf/"}
			return w
		},
		steps: metalLBSteps,
	}
}

func (d *draft) metalLBPool(e entry) {
	s := e.spec
	spec := v1beta1.IPAddressPoolSpec{Addresses: d.ranges(s, "addresses", s.texts("addresses"))}
	if s.has("autoAssign") && !s.flag("autoAssign") {
		no := false
		spec.AutoAssign = &no
	}
	spec.AvoidBuggyIPs = s.flag("avoidBuggyIPs")
	if s.has("serviceAllocation") {
		a := s.sub("serviceAllocation")
		spec.ServiceAllocation = &v1beta1.ServiceAllocation{
			Priority:           d.priority(a, "priority"),
			Namespaces:         a.texts("namespaces"),
			NamespaceSelectors: a.selectors("namespaceSelectors"),
			ServiceSelectors:   a.selectors("serviceSelectors"),
		}
	}
	m := d.meta("IPAddressPool", e.obj.GetName(), e)
	d.poolOf[e.obj.GetName()] = m.Name
	d.pool(m, spec)
}

// priority returns the priority of a pool: lower goes first and 0 last, here and
// there.
func (d *draft) priority(f fields, name string) int32 {
	n, _ := f.number(name)
	if n < 0 || n > 1_000_000 {
		f.noteField(Changed, name, n, "priorities go from 0 to 1000000 here; 0, which is last, is taken instead")
		return 0
	}
	return int32(n)
}

// selection reads what both kinds of MetalLB's advertisements have in common.
func selection(s fields) v1beta1.Selection {
	return v1beta1.Selection{
		IPAddressPools:         s.texts("ipAddressPools"),
		IPAddressPoolSelectors: s.selectors("ipAddressPoolSelectors"),
		NodeSelectors:          s.selectors("nodeSelectors"),
		ServiceSelectors:       s.selectors("serviceSelectors"),
	}
}

func (d *draft) metalLBL2(e entry) {
	s := e.spec
	d.facts["layer2"] = true
	spec := v1beta1.L2AdvertisementSpec{Selection: selection(s), WithdrawWithoutEndpoints: true} // as MetalLB does
	for _, name := range s.texts("interfaces") {
		spec.Interfaces = append(spec.Interfaces, v1beta1.InterfacePattern(name))
	}
	s.into("preferredNodeSelectors", &spec.PreferredNodeSelectors)
	d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.meta("L2Advertisement", e.obj.GetName(), e), Spec: spec})
}

func (d *draft) metalLBBGP(e entry) {
	s := e.spec
	d.facts["bgp"] = true
	spec := v1beta1.BGPAdvertisementSpec{
		Selection:           selection(s),
		AggregationLength:   length(s, "aggregationLength"),
		AggregationLengthV6: length(s, "aggregationLengthV6"),
		Peers:               s.texts("peers"),

		WithdrawWithoutEndpoints: true, // as MetalLB does
	}
	spec.LocalPref, _ = s.number("localPref")
	for _, c := range s.texts("communities") {
		spec.Communities = append(spec.Communities, v1beta1.CommunityName(c))
	}
	d.config.BGP = append(d.config.BGP, v1beta1.BGPAdvertisement{ObjectMeta: d.meta("BGPAdvertisement", e.obj.GetName(), e), Spec: spec})
}

// length returns the length of a prefix; nil: it is not set.
func length(f fields, name string) *int32 {
	if !f.has(name) {
		return nil
	}
	out := f.small(name)
	return &out
}

func (d *draft) metalLBPeer(e entry) {
	s := e.spec
	d.facts["bgp"] = true
	spec := v1beta1.BGPPeerSpec{
		DynamicASN:             s.text("dynamicASN"),
		PeerAddress:            v1beta1.IPAddress(s.text("peerAddress")),
		Interface:              s.text("interface"),
		SourceAddress:          v1beta1.IPAddress(s.text("sourceAddress")),
		HoldTime:               d.duration(s, "holdTime", 3*time.Second, "a hold time is at least 3s here; the usual 90s are taken"),
		KeepaliveTime:          d.duration(s, "keepaliveTime", time.Second, "it is at least 1s here; a third of the hold time is taken"),
		ConnectTime:            d.duration(s, "connectTime", time.Second, "it is at least 1s here; the usual 2s are taken"),
		RouterID:               s.text("routerID"),
		NodeSelectors:          metalLBNodes(s),
		Password:               s.password("password"),
		BFDProfile:             s.text("bfdProfile"),
		EBGPMultiHop:           s.flag("ebgpMultiHop"),
		EnableGracefulRestart:  s.flag("enableGracefulRestart"),
		VRF:                    s.text("vrf"),
		DualStackAddressFamily: s.flag("dualStackAddressFamily"),
	}
	spec.MyASN, _ = s.number("myASN")
	spec.LocalASN, _ = s.number("localASN")
	spec.PeerASN, _ = s.number("peerASN")
	spec.PeerPort = s.small("peerPort")
	secret := s.sub("passwordSecret")
	spec.PasswordSecret = d.secret(theirSecret{types.NamespacedName{Namespace: cmp.Or(secret.text("namespace"), e.obj.GetNamespace()), Name: secret.text("name")}, "password"})
	s.drop(Unneeded, "disableMP", "a session carries the family of its own addresses, unless dualStackAddressFamily is set")
	d.addPeer(d.meta("BGPPeer", e.obj.GetName(), e), spec)
}

// metalLBNodes reads the selectors of nodes. In v1beta1 one that selects everything
// was written out as well.
func metalLBNodes(s fields) []metav1.LabelSelector {
	var out []metav1.LabelSelector
	for _, x := range s.selectors("nodeSelectors") {
		if len(x.MatchLabels) == 0 && len(x.MatchExpressions) == 0 {
			return nil
		}
		out = append(out, x)
	}
	return out
}

// duration reads a duration. One below the minimum is reported and left out.
func (d *draft) duration(f fields, name string, least time.Duration, reason string) v1beta1.Duration {
	text := f.text(name)
	if text == "" {
		return ""
	}
	t, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.unreadable(name, text)
		return ""
	case t == 0 && name != "holdTime":
		return ""
	case t < least:
		f.noteField(Changed, name, text, "%s", reason)
		return ""
	}
	return v1beta1.Duration(trimmed(t))
}

// trimmed returns 1m30s unchanged, and 90m for 90m0s.
func trimmed(t time.Duration) string {
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d *draft) metalLBProfile(e entry) {
	s := e.spec
	spec := v1beta1.BFDProfileSpec{PassiveMode: s.flag("passiveMode")}
	for _, x := range []struct {
		name string
		into *int32
	}{
		{"receiveInterval", &spec.ReceiveInterval}, {"transmitInterval", &spec.TransmitInterval},
		{"detectMultiplier", &spec.DetectMultiplier}, {"minimumTtl", &spec.MinimumTTL},
	} {
		*x.into = s.small(x.name)
	}
	s.drop(NoEqual, "echoMode", "the echo function is not offered; packets of the usual kind find the fault, at their own interval")
	s.drop(NoEqual, "echoInterval", "the echo function is not offered")
	d.config.Profiles = append(d.config.Profiles, v1beta1.BFDProfile{ObjectMeta: d.meta("BFDProfile", e.obj.GetName(), e), Spec: spec})
}

func (d *draft) metalLBCommunity(e entry) {
	var spec v1beta1.CommunitySpec
	e.spec.into("communities", &spec.Communities)
	if len(spec.Communities) == 0 {
		d.note(Note{Severity: Unneeded, Object: e.name(), Reason: "it names nothing"})
		return
	}
	d.config.Communities = append(d.config.Communities, v1beta1.Community{ObjectMeta: d.meta("Community", e.obj.GetName(), e), Spec: spec})
}

func metalLBSteps(d *draft) []string {
	namespace := d.namespace("metallb-system")
	return d.usual(usual{
		stopController: fmt.Sprintf("kubectl scale deployment controller --replicas=0 -n %s     # by Helm: metallb-controller", namespace),
		stopSpeakers:   fmt.Sprintf("kubectl delete daemonset speaker -n %s     # by Helm: metallb-speaker", namespace),
		never:          "Do not delete its pools before its controller has stopped: while it runs, a pool that goes takes its Services' addresses away.",
		remove:         "Uninstall MetalLB. What it leaves on Services (annotations under metallb.io) does no harm.",
		compat:         true,
	})
}
