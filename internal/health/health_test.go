package health

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// noon is when the objects of the tests are read.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func lease(name, holder string, ago time.Duration) coordinationv1.Lease {
	at, seconds := metav1.NewMicroTime(noon.Add(-ago)), int32(3)
	return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: &seconds}}
}

// is is a condition that holds, or with a dash in front does not.
func is(kind, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
	if name, not := strings.CutPrefix(kind, "-"); not {
		c.Type, c.Status = name, metav1.ConditionFalse
	}
	return c
}

func speaker(node string, conditions ...metav1.Condition) v1beta1.Speaker {
	return v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: v1beta1.SpeakerStatus{
		Links: []v1beta1.SpeakerLink{{Name: "eth0", Up: true}}, Conditions: append(conditions, is(v1beta1.ConditionReady, "Running", "")),
	}}
}

func session(node, state, bfd, failure string) v1beta1.BGPSession {
	return v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: node, Peer: "tor", State: state, BFD: bfd, LastError: failure}}
}

// troubled has one problem of each kind.
func troubled() *Objects {
	down := speaker("down")
	down.Status.Links[0].Up = false
	down.Status.Host = &v1beta1.SpeakerHost{Addresses: []v1beta1.HostAddress{{Address: "192.0.2.2", Link: "eth0"}, {Address: "192.0.2.3", Link: "eth0"}}}
	claim := func(address, node string, conditions ...metav1.Condition) v1beta1.L2Claim {
		return v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address), Node: node}, Status: v1beta1.L2ClaimStatus{Conditions: conditions}}
	}
	return &Objects{
		Now: noon, Namespace: "steelyard-system",
		Leases: []coordinationv1.Lease{
			lease("speaker-fine", "fine", 0), lease("speaker-lost", "lost", time.Minute), lease("speaker-alone", "alone", 0),
			lease("speaker-loud", "loud", 0), lease("speaker-down", "down", 0), lease("speaker-again", "again", 0),
		},
		Speakers: []v1beta1.Speaker{
			speaker("fine"), speaker("lost"), speaker("alone", is(v1beta1.ConditionIsolated, "Isolated", "it hears no other speaker")),
			speaker("loud", is(v1beta1.ConditionKernelAnswers, "NoStrictARP", "it answers")), down,
			speaker("again", metav1.Condition{Type: v1beta1.ConditionRestarting, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon)}),
		},
		Sessions: []v1beta1.BGPSession{
			session("fine", "Established", "Up", ""), session("lost", "Active", "", "refused"), session("down", "Active", "", "refused"),
			session("loud", "Established", "Down: silent", ""), session("alone", "", "", ""),
		},
		Claims: []v1beta1.L2Claim{
			claim("192.0.2.1", "", is(v1beta1.ConditionConflict, "AddressConflict", "machine 02:…")),
			claim("192.0.2.2", "fine"), claim("192.0.2.3", "down"), // which may announce its own
		},
	}
}

// slip is what is said of a Service that is misspelled.
const slip = "annotation steelyard.io/address-pool means nothing: do you mean steelyard.dev/address-pool?"

func misspelled(svc *corev1.Service) *corev1.Service {
	svc.Annotations = map[string]string{"steelyard.io/address-pool": "lan"}
	return svc
}

// rest are the problems of objects that tell of themselves alone.
func rest() []Problem {
	service := func(conditions ...metav1.Condition) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Status: corev1.ServiceStatus{Conditions: conditions}}
	}
	full := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}}
	full.Status.IPv4, full.Status.IPv6 = &v1beta1.PoolUsage{Capacity: "4", Assigned: "4", Available: "0"}, &v1beta1.PoolUsage{Capacity: "0", Assigned: "0", Available: "0"}
	return slices.Concat(
		OfConfiguration("BGPPeer", "tor", []metav1.Condition{is("-"+v1beta1.ConditionAccepted, "Overlaps", "an older one"), is("-"+v1beta1.ConditionResolvedRefs, "NotFound", "no Secret"), is("-"+v1beta1.ConditionProgrammed, "NotAccepted", "see there")}),
		OfConfiguration("BFDProfile", "fast", []metav1.Condition{is(v1beta1.ConditionAccepted, "Accepted", ""), is("-"+v1beta1.ConditionProgrammed, "UnsupportedField", "echoMode")}),
		OfPool(full), OfPool(&v1beta1.IPAddressPool{}),
		OfService(service()),
		OfService(service(is(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1 of IPAddressPool \"lan\""))),
		OfService(service(is(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1 of IPAddressPool \"lan\"; no node announces it"))),
		OfService(misspelled(service(is(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1 of IPAddressPool \"lan\"; "+slip)))),
		OfService(misspelled(service(is(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1 of IPAddressPool \"lan\"; no node announces it; "+slip)))),
		OfService(service(is("-"+v1beta1.ConditionAllocated, "PoolExhausted", "every address is taken"))),
		OfService(service(is(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1"), is(v1beta1.ConditionContested, "StatusOverwritten", "\x1b[2J overwrites"))),
	)
}

func TestAPoolOfOneAddressThatServicesAskForIsMeantToBeFull(t *testing.T) {
	for _, c := range []struct {
		capacity   string
		autoAssign bool
		problems   int
	}{{"1", false, 0}, {"1", true, 1}, {"2", false, 1}} {
		p := &v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{AutoAssign: &c.autoAssign}}
		p.Status.IPv4 = &v1beta1.PoolUsage{Capacity: c.capacity, Assigned: c.capacity, Available: "0"}
		if found := OfPool(p); len(found) != c.problems {
			t.Errorf("of %s addresses, autoAssign %t: %v, want %d problems", c.capacity, c.autoAssign, found, c.problems)
		}
	}
}

func TestProblems(t *testing.T) {
	var got []string
	for _, p := range append(troubled().Problems(), rest()...) {
		got = append(got, fmt.Sprintf("%d %s %s %s: %.24s (%s)", p.Severity, p.Kind, p.Name, p.Reason, p.Message, p.Alert))
	}
	want := []string{
		"0 BGPPeer tor SessionsDown: on 2 of 4 nodes (alone,  (SteelyardNodeWithoutSession)",
		"0 BGPPeer tor BFDDown: on 1 of 4 nodes (loud):  (SteelyardBFDDown)",
		"0 Controller  NotRunning: no controller runs: no r (SteelyardNoLeader)",
		"0 L2Claim 192.0.2.1 AddressConflict: machine 02:… (SteelyardAddressConflict)",
		"0 L2Claim 192.0.2.2 LeftoverAddress: node down has it on its  ()",
		"1 Speaker again Restarting: its node keeps its addre ()",
		"0 Speaker alone Isolated: its speaker has cut itse (SteelyardSpeakerIsolated)",
		"1 Speaker down LinkDown: link eth0 is down, or ha ()",
		"0 Speaker lost Unknown: the API server has not h (SteelyardSpeakerMissing)",
		"0 Speaker loud KernelAnswers: it answers (SteelyardKernelAnswers)",
		"0 BGPPeer tor Overlaps: an older one (SteelyardConfigRefused)",
		"0 BGPPeer tor NotFound: no Secret (SteelyardConfigRefused)",
		"1 BFDProfile fast UnsupportedField: echoMode ()",
		"1 IPAddressPool lan Full: every IPv4 address is as (SteelyardPoolExhausted)",
		"1 Service shop/web Pending: the controller has not s ()",
		"1 Service shop/web Incomplete: no node announces it ()",
		"1 Service shop/web UnknownAnnotation: annotation steelyard.io/ ()",
		"1 Service shop/web Incomplete: no node announces it ()",
		"1 Service shop/web UnknownAnnotation: annotation steelyard.io/ ()",
		"0 Service shop/web PoolExhausted: every address is taken (SteelyardServicesPending)",
		`0 Service shop/web StatusOverwritten: \x1b[2J overwrites (SteelyardServiceContested)`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
	fine := &Objects{Now: noon, Leases: []coordinationv1.Lease{lease("speaker-fine", "fine", 0), lease(LeaseController, "c_1", 0)}, Speakers: []v1beta1.Speaker{speaker("fine")}}
	if p := fine.Problems(); len(p) > 0 {
		t.Errorf("of what is well: %v", p)
	}
}

// An alert that a problem names is there, and has a page that says what to do.
func TestEachAlertHasARuleAndAPage(t *testing.T) {
	rules, err1 := os.ReadFile("../../config/monitoring/rules.yaml")
	page, err2 := os.ReadFile("../../docs/troubleshooting/alerts.md")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, p := range append(troubled().Problems(), rest()...) {
		if p.Alert != "" && (!strings.Contains(string(rules), "- alert: "+p.Alert+"\n") || !strings.Contains(string(page), "\n## "+p.Alert+"\n")) {
			t.Errorf("%s %s: there is no alert %s, or no page of it", p.Kind, p.Reason, p.Alert)
		}
	}
}
