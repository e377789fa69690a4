package overview

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// noon is when the pages of the tests are made.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *metav1.Time { t := metav1.NewTime(noon.Add(-d)); return &t }

// says is a condition.
func says(kind, reason, message string, yes bool) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if yes {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func poolWith(name string, v4, v6 *v1beta1.PoolUsage, conditions ...metav1.Condition) v1beta1.IPAddressPool {
	return v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1beta1.IPAddressPoolStatus{IPv4: v4, IPv6: v6, Conditions: conditions}}
}

func withKept(u *v1beta1.PoolUsage, kept string) *v1beta1.PoolUsage {
	u.Kept = kept
	return u
}

func usageFor(assigned, capacity, available string) *v1beta1.PoolUsage {
	return &v1beta1.PoolUsage{Assigned: assigned, Capacity: capacity, Available: available}
}

func claimOf(address, node string, since time.Duration, services []string, conditions ...metav1.Condition) v1beta1.L2Claim {
	return v1beta1.L2Claim{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(address, ":", "-")},
		Spec:       v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address), Node: node},
		Status: v1beta1.L2ClaimStatus{
			Node: node, Links: []v1beta1.ClaimLink{{Name: "eth0", MAC: "02:00:00:00:00:01"}}, Services: services, Since: ago(since), Conditions: conditions,
		},
	}
}

func sessionTo(peer, node, state, bfd, failure string, routes int32) v1beta1.BGPSession {
	return v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{
		Node: node, Peer: peer, State: state, Since: ago(3*time.Hour + 12*time.Minute), BFD: bfd, LastError: failure, Prefixes: &v1beta1.PrefixCount{Advertised: routes},
	}}
}

func speakerOn(node string, link bool, conditions ...metav1.Condition) v1beta1.Speaker {
	return v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: v1beta1.SpeakerStatus{
		Links: []v1beta1.SpeakerLink{{Name: "eth0", MAC: "02:00:00:00:00:01", Up: link}}, Addresses: 3, Sessions: &v1beta1.SessionCount{Established: 1, Total: 2},
		Version: "v1.0.0", Since: ago(30 * time.Hour), Conditions: conditions,
	}}
}

func serviceNamed(name string, ips []string, conditions ...metav1.Condition) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for _, ip := range ips {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	svc.Status.Conditions = conditions
	return svc
}

// trouble has something of everything.
func trouble() Objects {
	accepted, running := says(v1beta1.ConditionAccepted, "Accepted", "", true), says(v1beta1.ConditionReady, "Running", "", true)
	announced := says(v1beta1.ConditionAnnounced, "Announced", "", true)
	o := Objects{
		Pools: []v1beta1.IPAddressPool{
			poolWith("web", withKept(usageFor("93", "100", "5"), "2"), usageFor("12", "18446744073709551616", "18446744073709551604"), accepted),
			poolWith("edge", usageFor("4", "4", "0"), nil, accepted),
			poolWith("spare", nil, nil, says(v1beta1.ConditionAccepted, "Overlaps", `192.0.2.0/28 is in IPAddressPool "web", which is older`, false)),
			poolWith("new", usageFor("0", "1048576", "1048576"), nil),
		},
		Others: []Configured{
			{"BGPPeer", "tor-b", []metav1.Condition{says(v1beta1.ConditionResolvedRefs, "NotFound", `no Secret "tor-b" in namespace steelyard-system`, false)}},
			{"BFDProfile", "fast", []metav1.Condition{accepted, says(v1beta1.ConditionProgrammed, "UnsupportedField", "accepted, but without any effect in this version: echoMode", false)}},
			{"L2Advertisement", "lan", []metav1.Condition{accepted}},
		},
		Objects: health.Objects{Now: noon, Claims: []v1beta1.L2Claim{
			claimOf("2001:db8::a", "node-2", 26*time.Hour, []string{"shop/web"}, announced),
			claimOf("192.0.2.100", "node-1", 3*time.Hour, []string{"shop/web", "shop/web-udp"}, announced),
			claimOf("192.0.2.20", "node-3", 40*time.Second, []string{"shop/cart"}, says(v1beta1.ConditionAnnounced, "AddressConflict", "", false),
				says(v1beta1.ConditionConflict, "AddressConflict", "02:42:ac:11:00:02 on link eth0 of node-3 has the address as well", true)),
			claimOf("192.0.2.21", "node-3", 2*time.Second, nil),
		},
			Sessions: []v1beta1.BGPSession{
				sessionTo("tor-a", "node-2", "Established", "Up", "", 12),
				sessionTo("tor-a", "node-1", "Established", "Up", "", 12),
				sessionTo("tor-b", "node-1", "Active", "Down", `the router sent NOTIFICATION "administrative shutdown", saying "back at <script>alert(1)</script>"`, 0),
			},
			Speakers: []v1beta1.Speaker{
				speakerOn("node-1", true, running), speakerOn("node-2", false, running),
				speakerOn("node-3", true, running, says(v1beta1.ConditionIsolated, "Isolated", "it hears no other speaker, and no gateway answers; so it answers for nothing", true)),
				speakerOn("node-4", true, says(v1beta1.ConditionRestarting, "Restarting", "", true)),
				speakerOn("node-5", true, says(v1beta1.ConditionReady, "Stopped", "", false)),
			}},
		Services: []*corev1.Service{
			serviceNamed("web", []string{"192.0.2.100", "2001:db8::a"}, says(v1beta1.ConditionAllocated, "Assigned", `192.0.2.100 of IPAddressPool "web"`, true)),
			serviceNamed("cart", []string{"192.0.2.20"}, says(v1beta1.ConditionAllocated, "Assigned", `192.0.2.20 of IPAddressPool "web"; no node announces 192.0.2.20: no L2Advertisement or BGPAdvertisement covers it`, true)),
			serviceNamed("queue", nil, says(v1beta1.ConditionAllocated, "PoolExhausted", `every address of IPAddressPool "edge" is taken`, false)),
			serviceNamed("fresh", nil),
		},
	}
	return o
}

// quiet has no problem.
func quiet() Objects {
	o := trouble()
	return Objects{Pools: o.Pools[:1], Objects: health.Objects{Now: noon, Claims: o.Claims[:2], Sessions: o.Sessions[:2], Speakers: o.Speakers[:1]}, Services: o.Services[:1]}
}

func TestProblemsAreNamedWorstFirst(t *testing.T) {
	var got []string
	for _, p := range problemsOf(new(trouble())).Rows {
		got = append(got, fmt.Sprintf("%s %s %s %s: %.30s", p.Mark.Class, p.Mark.Text, p.Kind, p.Name, p.Message))
	}
	want := []string{
		`bad PoolExhausted Service shop/queue: every address of IPAddressPool`,
		`bad SessionsDown BGPPeer tor-b: on node-1: the router sent NOT`,
		`bad NotFound BGPPeer tor-b: no Secret "tor-b" in namespace`,
		`bad Overlaps IPAddressPool spare: 192.0.2.0/28 is in IPAddressPo`,
		`bad AddressConflict L2Claim 192.0.2.20: 02:42:ac:11:00:02 on link eth0`,
		`bad Isolated Speaker node-3: its speaker has cut itself off`,
		`bad Stopped Speaker node-5: its speaker has stopped`,
		`wait Incomplete Service shop/cart: no node announces 192.0.2.20: `,
		`wait Pending Service shop/fresh: the controller has not said an`,
		`wait UnsupportedField BFDProfile fast: accepted, but without any effe`,
		`wait Full IPAddressPool edge: every IPv4 address is assigned`,
		`wait LinkDown Speaker node-2: link eth0 is down, or has no c`,
		`wait Restarting Speaker node-4: its node keeps its addresses m`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
	if rows := problemsOf(new(quiet())).Rows; len(rows) > 0 {
		t.Errorf("of what is well: %v", rows)
	}
}

func TestWhatASilentSpeakerSaidLastIsNotTakenForTrue(t *testing.T) {
	lease := func(name, holder string, ago time.Duration) coordinationv1.Lease {
		at, seconds := metav1.NewMicroTime(noon.Add(-ago)), int32(3)
		return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: &seconds}}
	}
	o := quiet()
	o.Speakers = trouble().Speakers[:2]
	o.Leases = []coordinationv1.Lease{lease("speaker-node-1", "node-1", 90*time.Second), lease("speaker-node-2", "node-2", time.Second), lease("steelyard-controller", "c_1", 0)}
	o.Away = "timeout"
	var got []string
	for _, p := range problemsOf(&o).Rows {
		got = append(got, fmt.Sprintf("%s %s %s: %.40s", p.Mark.Text, p.Kind, p.Name, p.Message))
	}
	for _, s := range sessionsOf(&o).Rows {
		got = append(got, s.Peer+" "+s.Node+" "+s.Mark.Text+" "+s.Error)
	}
	got = append(got, speakersOf(&o).Rows[0].Mark.Text, fmt.Sprint(pageOf(o, Scene{}).Up))
	want := []string{
		"Cut off Controller : the API server can't be asked, so all th",
		"Unknown Speaker node-1: the API server has not heard of its spea",
		"LinkDown Speaker node-2: link eth0 is down, or has no carrier",
		"tor-a node-1 Unknown the node's speaker is not heard of; what it said last was Established",
		"tor-a node-2 Established ",
		"Unknown", "1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}

func TestPoolsTellTheirUse(t *testing.T) {
	var got []string
	for _, p := range poolsOf(trouble().Pools).Rows {
		got = append(got, fmt.Sprintf("%s %s: %s of %s, kept %s, %s free, %s %s, %s, bar %.0f", p.Name, p.Family, p.Assigned, p.Capacity, p.Kept, p.Free, p.Share, p.Fullness, p.Mark.Text, p.Percent))
	}
	want := []string{
		"edge IPv4: 4 of 4, kept , 0 free, 100 % full, Accepted, bar 100",
		"new IPv4: 0 of 1,048,576, kept , 1,048,576 free, 0 % , Not judged yet, bar 0",
		"spare :  of , kept ,  free,  , Overlaps, bar 0",
		"web IPv4: 93 of 100, kept 2, 5 free, 93 % nearly full, Accepted, bar 93",
		"web IPv6: 12 of 1.8 × 10¹⁹, kept , 1.8 × 10¹⁹ free, less than 1 % , Accepted, bar 0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}

func TestNumbersCanBeReadAtAGlance(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1,000", "1048576": "1,048,576", "16777216": "1.7 × 10⁷", "340282366920938463463374607431768211456": "3.4 × 10³⁸",
		"": "?", "many": "many",
	} {
		if got := short(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Minute: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 12*time.Minute: "3 h 12 min", 50 * time.Hour: "2 d 2 h"} {
		if got := age(noon, ago(d)); got != want {
			t.Errorf("%s ago is %q, want %q", d, got, want)
		}
	}
	if got := age(noon, nil); got != "–" {
		t.Errorf("an unknown time is %q", got)
	}
}

func TestAddressesAreInTheirOrder(t *testing.T) {
	var got []string
	o := trouble()
	for _, c := range claimsOf(&o).Rows {
		got = append(got, c.Address+" "+c.Mark.Text)
	}
	want := []string{"192.0.2.20 Conflict", "192.0.2.21 Not announced", "192.0.2.100 Announced", "2001:db8::a Announced"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
}

// render returns the page of o.
func render(t *testing.T, o Objects, scene Scene) string {
	t.Helper()
	r, err := NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Render(o, scene)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestThePageEscapesWhatOthersWrote(t *testing.T) {
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>'` + "{{.}}"
	c := says(v1beta1.ConditionAccepted, evil, evil, false)
	page := render(t, Objects{
		Pools:  []v1beta1.IPAddressPool{poolWith(evil, usageFor(evil, evil, evil), usageFor("1", "2", evil), c)},
		Others: []Configured{{evil, evil, []metav1.Condition{c}}},
		Objects: health.Objects{Claims: []v1beta1.L2Claim{claimOf(evil, evil, 0, []string{evil}, says(v1beta1.ConditionConflict, evil, evil, true))},
			Sessions: []v1beta1.BGPSession{sessionTo(evil, evil, evil, evil, evil, 1)},
			Speakers: []v1beta1.Speaker{{ObjectMeta: metav1.ObjectMeta{Name: evil}, Status: v1beta1.SpeakerStatus{Version: evil, Links: []v1beta1.SpeakerLink{{Name: evil}}}}}},
		Services: []*corev1.Service{serviceNamed(evil, nil, says(v1beta1.ConditionAllocated, evil, evil, false))},
	}, Scene{Replica: evil})
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("the page has a script or an image")
	}
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("what was written is not shown at all")
	}
}

// TestAHostileTextStaysSmall has every field that a tenant or a speaker's stolen
// token can write hold a quarter of a megabyte of what must not be shown.
func TestAHostileTextStaysSmall(t *testing.T) {
	hostile := strings.Repeat("\x01\u202e\x1b[2J", 40000)
	var o Objects
	for i := range 30 {
		name := fmt.Sprint("s", i)
		words := slices.Repeat([]string{hostile}, 40)
		o.Services = append(o.Services, serviceNamed(name, nil, says(v1beta1.ConditionAllocated, hostile, hostile, false)),
			serviceNamed("kept-"+name, []string{"192.0.2.1"}, says(v1beta1.ConditionAllocated, "Assigned", "192.0.2.1; "+hostile, true)))
		claim := claimOf("192.0.2.1", hostile, time.Hour, words, says(v1beta1.ConditionConflict, hostile, hostile, true))
		claim.Spec.Address = v1beta1.IPAddress(hostile)
		speaker := speakerOn(name, false, says(v1beta1.ConditionIsolated, hostile, hostile, true))
		speaker.Status.Version = hostile
		for range 40 {
			claim.Status.Links = append(claim.Status.Links, v1beta1.ClaimLink{Name: hostile})
		}
		speaker.Status.Links = append(speaker.Status.Links, v1beta1.SpeakerLink{Name: hostile})
		o.Claims, o.Speakers = append(o.Claims, claim), append(o.Speakers, speaker)
		o.Sessions = append(o.Sessions, sessionTo(hostile, hostile, hostile, hostile, hostile, 1))
		o.Pools = append(o.Pools, poolWith(name, usageFor(hostile, hostile, hostile), nil, says(v1beta1.ConditionAccepted, hostile, hostile, false)))
		o.Others = append(o.Others, Configured{Kind: "BGPPeer", Name: name, Conditions: []metav1.Condition{says(v1beta1.ConditionProgrammed, hostile, hostile, false)}})
	}
	html := render(t, o, Scene{})
	if len(html) > 1<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
	if i := strings.IndexFunc(html, func(r rune) bool { return r != '\n' && !printable.Rune(r) }); i >= 0 {
		t.Errorf("it holds %q", html[i:i+10])
	}
	if !strings.Contains(html, "and 31 more") {
		t.Error("it does not say how many links are left out")
	}
}

func TestAPageOfThousandsStaysSmall(t *testing.T) {
	var o Objects
	for i := range 20_000 {
		o.Claims = append(o.Claims, claimOf(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "n", 0, nil))
		o.Services = append(o.Services, serviceNamed(fmt.Sprint("s", i), nil))
	}
	page := render(t, o, Scene{})
	if len(page) > 500_000 {
		t.Errorf("it has %d bytes", len(page))
	}
	for _, want := range []string{"19700 more are not shown: <code>kubectl get l2claims.steelyard.dev</code>", "19700 more are not shown.", "more than 300 things need attention"} {
		if !strings.Contains(page, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

func TestThePageOfAnEmptyClusterSaysWhatIsMissing(t *testing.T) {
	page := render(t, Objects{}, Scene{Replica: "controller-7", Leads: true})
	for _, want := range []string{"nothing needs attention", "No IPAddressPool yet", "No address is announced", "No node has a BGP session", "No speaker has ever started", "controller-7, the replica that assigns"} {
		if !strings.Contains(page, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
