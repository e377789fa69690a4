package intent_test

import (
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

func TestClaimNamesAreNamesOfObjects(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.10":   "192.0.2.10",
		"2001:db8::10": "2001-db8--10",
		"::1":          "0--1",
		"2001:db8::":   "2001-db8--0",
	} {
		if got := intent.ClaimName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

func TestNeedsDAD(t *testing.T) {
	condition := func(status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: status, Reason: reason}}
	}
	conflict := metav1.Condition{Type: v1beta1.ConditionConflict, Status: metav1.ConditionTrue}
	for _, c := range []struct {
		name       string
		conditions []metav1.Condition
		want       bool
	}{
		{"no object has said anything of it yet", nil, true},
		{"it is announced", condition(metav1.ConditionTrue, v1beta1.ReasonAnnounced), false},
		{"it was, and no node can any more", condition(metav1.ConditionFalse, string(announce.NoLinkUp)), false},
		{"a foreign host has it", append(condition(metav1.ConditionFalse, v1beta1.ReasonAddressConflict), conflict), true},
		{"a foreign host has it, by a speaker of a former version", append(condition(metav1.ConditionFalse, "AddressInUse"), conflict), true},
		{"it is announced, and a foreign host also has it", append(condition(metav1.ConditionTrue, v1beta1.ReasonAnnounced), conflict), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := intent.NeedsDAD(&v1beta1.L2Claim{Status: v1beta1.L2ClaimStatus{Conditions: c.conditions}}); got != c.want {
				t.Errorf("needsDAD = %t, want %t", got, c.want)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	s := read[v1beta1.Speaker](t, `
status:
  addresses: 0
  links:
  - {name: eth0, mac: "02:00:00:00:00:01", up: true, prefixes: [192.0.2.0/24, nonsense, "2001:db8::/64"]}
  - {name: eth1, mac: nonsense, up: false}
`)
	want := []announce.Link{
		{Name: "eth0", Up: true, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}},
		{Name: "eth1"},
	}
	if diff := gocmp.Diff(want, intent.Links(s), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestHeldClaim(t *testing.T) {
	c := read[v1beta1.L2Claim](t, `spec: {address: 192.0.2.1, node: a}`)
	held, ok := intent.HeldClaim(c)
	if want := (announce.HeldClaim{Addr: netip.MustParseAddr("192.0.2.1"), Node: "a", NeedsDAD: true}); !ok || held != want {
		t.Errorf("have %+v, %t; want %+v", held, ok, want)
	}
	c.Spec.Address = "nonsense"
	if held, ok := intent.HeldClaim(c); ok {
		t.Errorf("an address that can't be read gives %+v", held)
	}
}

func TestGoesDown(t *testing.T) {
	now := metav1.Now()
	ready := func(status corev1.ConditionStatus, message string) *corev1.Node {
		n := new(corev1.Node)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Message: message}}
		return n
	}
	deleted, leaving := new(corev1.Pod), ready(corev1.ConditionTrue, "")
	deleted.DeletionTimestamp, leaving.DeletionTimestamp = &now, &now
	for _, c := range []struct {
		name string
		node *corev1.Node
		pod  *corev1.Pod
		want bool
	}{
		{"the DaemonSet replaces the Pod", ready(corev1.ConditionTrue, ""), deleted, false},
		{"the machine's init ends the container", ready(corev1.ConditionTrue, ""), new(corev1.Pod), true},
		{"the kubelet shuts down, and says so", ready(corev1.ConditionFalse, "node is shutting down"), nil, true},
		{"beside another reason", ready(corev1.ConditionFalse, "[container runtime is down, node is shutting down]"), deleted, true},
		{"a kubelet in trouble is none that shuts down", ready(corev1.ConditionFalse, "container runtime is down"), deleted, false},
		{"nothing is known of the Pod", ready(corev1.ConditionTrue, ""), nil, false},
		{"the Node was deleted", nil, deleted, true},
		{"the Node is being deleted", leaving, deleted, true},
	} {
		if got := intent.GoesDown(c.node, c.pod); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
