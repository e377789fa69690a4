package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/config/crd"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/ports"
)

// A node with too many of everything still gets its reports written.
func TestNoReportIsLargerThanItsSchemaAllows(t *testing.T) {
	long, node := strings.Repeat("x\x1b", 5000), strings.Repeat("n", 253)
	var links []layer2.Link
	for i := range 2000 {
		l := layer2.Link{Name: fmt.Sprintf("long-name-%05d", i), MAC: net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}, Up: true}
		for j := range 100 {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(fmt.Sprintf("2001:db8:1111:2222:3333:4444:%x:%x/128", 0x1000+i, 0x1000+j)))
		}
		links = append(links, l)
	}
	var keys []ipam.Key
	for i := range 5000 {
		keys = append(keys, ipam.Key{Namespace: strings.Repeat("s", 63), Name: fmt.Sprintf("%063d", i)})
	}
	proc, standing := t.TempDir(), map[string]membership.Standing{}
	for i := range 2000 {
		dir := filepath.Join(proc, fmt.Sprintf("net/ipv4/conf/long-name-%05d", i))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "rp_filter"), []byte("1"), 0o644)); err != nil {
			t.Fatal(err)
		}
		standing[fmt.Sprintf("%0253d", i)] = membership.Unknown
	}
	r := &Reporter{Options: Options{Node: node}}
	h := &Host{
		bgp: func() (out []ports.Use) {
			for i := range 300 {
				out = append(out, ports.Use{Program: long, Ours: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Theirs: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})})
			}
			return out
		},
		proc: proc, ready: func(context.Context) (string, error) { return "", errors.New(long) }, nulls: func() string { return long },
		view: func() membership.View { return membership.View{Standing: standing} }, token: func(context.Context) string { return "" },
		network: func() (Network, error) {
			var n Network
			for i := range 300 {
				a := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
				n.Addrs, n.Gateways = append(n.Addrs, v1beta1.HostAddress{Address: a.String(), Link: "eth0"}), append(n.Gateways, a)
			}
			return n, nil
		},
	}
	h.check(t.Context())
	facts := h.check(t.Context()) // speakers that are unreachable twice are reported
	if len(facts.UnreachableSpeakers) != maxUnreachable || len(facts.StrictReversePath) != maxStrict {
		t.Fatalf("too few for the test: %d unreachable, %d strict", len(facts.UnreachableSpeakers), len(facts.StrictReversePath))
	}
	condition := func(name string) metav1.Condition {
		return metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: "Reason", Message: long}
	}
	speaker := &v1beta1.Speaker{Status: v1beta1.SpeakerStatus{Links: linksOf(links, nil), Host: &facts}}
	for _, c := range []string{v1beta1.ConditionReady, v1beta1.ConditionIsolated, v1beta1.ConditionRestarting, v1beta1.ConditionKernelAnswers} {
		intent.SetCondition(&speaker.Status.Conditions, condition(c))
	}
	var all layer2.AddressStatus
	for _, l := range links {
		all.Links = append(all.Links, l.Name)
	}
	claim := &v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: "192.0.2.1", Node: node}, Status: r.claimStatus(all, users{keys: keys, pool: "lan"}, links)}
	for _, c := range []string{v1beta1.ConditionAnnounced, v1beta1.ConditionConflict} {
		intent.SetCondition(&claim.Status.Conditions, condition(c))
	}
	session := &v1beta1.BGPSession{}
	r.enter(session, bgp.State{Peer: node, Session: bgp.Established, LastError: long, BFD: &bfd.State{Problem: long}}, node)

	for plural, o := range map[string]any{"speakers": speaker, "l2claims": claim, "bgpsessions": session} {
		if refused := refusedStatus(t, plural, o); len(refused) > 0 {
			t.Errorf("%s: %v", plural, refused.ToAggregate())
		}
	}
	// The test would notice a report that is too large.
	claim.Status.Services = append(claim.Status.Services, "shop/web")
	if refused := refusedStatus(t, "l2claims", claim); len(refused) == 0 {
		t.Error("nothing would be refused")
	}
}

// A network plugin gives all its links one address (kindnet, for one), a link may have two
// addresses in a subnet, and a router often has one link-local address on each of its links.
// The API server takes nothing twice in a list that is a set or a map.
func TestNoReportSaysAnythingTwice(t *testing.T) {
	subnet, gateway := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("fe80::1")
	h := &Host{
		bgp:  func() []ports.Use { return nil },
		proc: t.TempDir(), ready: func(context.Context) (string, error) { return "", nil }, nulls: func() string { return "" },
		view: func() membership.View { return membership.View{} }, token: func(context.Context) string { return "" },
		network: func() (Network, error) {
			return Network{
				Addrs: []v1beta1.HostAddress{
					{Address: "10.244.2.1", Link: "veth1"}, {Address: "192.0.2.11", Link: "eth0"},
					{Address: "10.244.2.1", Link: "veth2"}, {Address: "192.0.2.11", Link: "eth1"},
				},
				Gateways: []netip.Addr{gateway.WithZone("eth0"), gateway.WithZone("eth1")},
			}, nil
		},
	}
	facts := h.check(t.Context())
	links := linksOf([]layer2.Link{{Name: "eth0", Prefixes: []netip.Prefix{subnet, subnet}}}, nil)
	speaker := &v1beta1.Speaker{Status: v1beta1.SpeakerStatus{Links: links, Host: &facts}}
	if refused := refusedStatus(t, "speakers", speaker); len(refused) > 0 {
		t.Error(refused.ToAggregate())
	}
	want := []v1beta1.HostAddress{{Address: "10.244.2.1", Link: "veth1"}, {Address: "192.0.2.11", Link: "eth0"}}
	if !slices.Equal(facts.Addresses, want) || !slices.Equal(facts.Gateways, []string{"fe80::1"}) {
		t.Errorf("reported %v and gateways %v", facts.Addresses, facts.Gateways)
	}
}

// refusedStatus returns the API server's errors for an object's status.
func refusedStatus(t *testing.T, plural string, o any) field.ErrorList {
	t.Helper()
	text, err := crd.Files.ReadFile("steelyard.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition apiextensionsv1.CustomResourceDefinition
	var props apiextensions.JSONSchemaProps
	err = errors.Join(yaml.Unmarshal(text, &definition),
		apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil))
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	return append(validation.ValidateCustomResource(nil, fields, validator), listtype.ValidateListSetsAndMaps(nil, structural, fields)...)
}
