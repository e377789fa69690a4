package intent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// claimIn is a claim whose condition Announced is as given.
func claimIn(addr string, status metav1.ConditionStatus, reason, message string) *v1beta1.L2Claim {
	c := &v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(addr)}}
	c.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: status, Reason: reason, Message: message}}
	return c
}

// claimTaken is the claim of an address that a host has.
func claimTaken(addr, mac string) *v1beta1.L2Claim {
	text := intent.ConflictText(mac, "eth0", "node1", netip.MustParseAddr(addr)) + ", so that it is not announced"
	return claimIn(addr, metav1.ConditionFalse, v1beta1.ReasonAddressConflict, text)
}

func macOf(i int) string { return fmt.Sprintf("02:00:00:00:00:%02x", i) }

func occupying(k intent.Conflicts, now time.Time) (out []string) {
	for _, x := range k.Occupying(now) {
		out = append(out, x.Addr.String())
	}
	return out
}

// What a foreign host has is not chosen for an hour, and then for as long again as it is known.
// The status of the pool remembers it as well as the controller does.
func TestConflictsAreLookedAtAgain(t *testing.T) {
	c := configOf("192.0.2.0/24")
	start := time.Unix(1000, 0)
	claims := []*v1beta1.L2Claim{
		claimTaken("192.0.2.7", macOf(1)),
		claimTaken("198.51.100.1", macOf(1)), // of no pool
		claimIn("192.0.2.8", metav1.ConditionTrue, v1beta1.ReasonAnnounced, ""),
		claimIn("192.0.2.9", metav1.ConditionFalse, v1beta1.ReasonNoLocalEndpoints, ""),
	}
	after := func(k intent.Conflicts, claims []*v1beta1.L2Claim, d time.Duration) intent.Conflicts {
		k = c.Conflicts(k, claims, start.Add(d))
		pool := v1beta1.IPAddressPool{}
		pool.Status.Conflicts = k.Status(func(netip.Addr) bool { return true })
		return c.Conflicts(intent.RememberedConflicts([]v1beta1.IPAddressPool{pool}), claims, start.Add(d))
	}
	known := after(nil, claims, 0)
	for _, step := range []struct {
		after time.Duration
		found bool // a Service was given the address, and the host is there still
		want  []string
	}{
		{59 * time.Minute, false, []string{"192.0.2.7"}},
		{time.Hour, false, nil},
		{3 * time.Hour, true, []string{"192.0.2.7"}},
		{5*time.Hour + 59*time.Minute, false, []string{"192.0.2.7"}},
		{6 * time.Hour, false, nil},
		{29 * time.Hour, true, []string{"192.0.2.7"}},
		{53*time.Hour - time.Minute, false, []string{"192.0.2.7"}},
		{53 * time.Hour, false, nil},
	} {
		var claims []*v1beta1.L2Claim
		if step.found {
			claims = append(claims, claimTaken("192.0.2.7", macOf(1)))
		}
		known = after(known, claims, step.after)
		if diff := gocmp.Diff(step.want, occupying(known, start.Add(step.after))); diff != "" {
			t.Errorf("after %s: %s", step.after, diff)
		}
	}
	if n := len(after(known, nil, 77*time.Hour)); n != 0 {
		t.Error("it is never forgotten")
	}
	known = after(known, claims, 54*time.Hour)
	if n := len(after(known, []*v1beta1.L2Claim{claimIn("192.0.2.7", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "")}, 54*time.Hour)); n != 0 {
		t.Error("a node announces the address, and it counts as taken")
	}
}

// A pool remembers a bounded number. A host that answers for many addresses has none of them.
func TestConflictsAreBounded(t *testing.T) {
	c := configOf("192.0.2.0/24")
	now := time.Unix(1000, 0)
	var each, one []*v1beta1.L2Claim
	for i := range 200 {
		each = append(each, claimTaken(fmt.Sprintf("192.0.2.%d", i+10), macOf(i)))
		one = append(one, claimTaken(fmt.Sprintf("192.0.2.%d", i+10), macOf(1)))
	}
	known := c.Conflicts(nil, each[100:], now)
	slices.Reverse(each)
	again := c.Conflicts(known, each, now.Add(time.Second))
	if len(known) != v1beta1.MaxConflicts || !slices.Equal(occupying(known, now), occupying(again, now)) {
		t.Errorf("%d are known, then %v", len(known), occupying(again, now))
	}
	if n := len(occupying(c.Conflicts(nil, one[:16], now), now)); n != 16 {
		t.Errorf("of 16 addresses of one host %d are not chosen", n)
	}
	if n := len(occupying(c.Conflicts(nil, one[:17], now), now)); n != 0 {
		t.Errorf("a host answers for all, and %d are not chosen", n)
	}
}

func TestLeaving(t *testing.T) {
	now := time.Unix(1000, 0)
	a := netip.MustParseAddr("192.0.2.7")
	for name, test := range map[string]struct {
		edit func(*intent.Objects, []*corev1.Service, []*ipam.Request)
		want bool
	}{
		"it was chosen": {func(*intent.Objects, []*corev1.Service, []*ipam.Request) {}, true},
		"one that shares it asks for it": {func(_ *intent.Objects, _ []*corev1.Service, r []*ipam.Request) {
			r[1].Want = []netip.Addr{a}
		}, false},
		"it has been announced": {func(_ *intent.Objects, s []*corev1.Service, _ []*ipam.Request) {
			s[0].Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionServiceAnnounced, Status: metav1.ConditionTrue}}
		}, false},
		"BGP announces it": {func(o *intent.Objects, _ []*corev1.Service, _ []*ipam.Request) {
			o.BGP = []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}}
		}, false},
		"foreign hosts are ignored": {func(o *intent.Objects, _ []*corev1.Service, _ []*ipam.Request) {
			o.L2[0].Spec.ConflictPolicy = v1beta1.ConflictIgnore
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := intent.Objects{L2: []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}}}
			o.Pools = []v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.0/24"}}}}
			services := []*corev1.Service{{}, {}}
			requests := []*ipam.Request{{Has: []netip.Addr{a}}, {Has: []netip.Addr{a, netip.MustParseAddr("2001:db8::1")}}}
			test.edit(&o, services, requests)
			c := intent.Parse(o)
			leaving := c.Leaving(c.Conflicts(nil, []*v1beta1.L2Claim{claimTaken("192.0.2.7", macOf(1))}, now), func(yield func(intent.Holding) bool) {
				for i, svc := range services {
					if !yield(intent.Holding{Service: svc, Request: requests[i]}) {
						return
					}
				}
			})
			var want []netip.Addr
			if test.want {
				want = []netip.Addr{a}
			}
			if have := intent.Leaves(requests[1], leaving); !slices.Equal(want, have) {
				t.Errorf("it leaves %v", have)
			}
		})
	}
}

func TestSameConflict(t *testing.T) {
	none := (*v1beta1.L2Claim)(nil)
	announced := claimIn("192.0.2.7", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "")
	taken, byAnother := claimTaken("192.0.2.7", macOf(1)), claimTaken("192.0.2.7", macOf(2))
	for _, x := range []struct {
		before, after any
		want          bool
	}{
		{none, announced, true}, {announced, none, true}, {announced, announced, true}, {taken, claimTaken("192.0.2.7", macOf(1)), true},
		{none, taken, false}, {nil, taken, false}, {taken, nil, false}, {taken, announced, false}, {announced, taken, false}, {taken, byAnother, false},
	} {
		if have := intent.SameConflict(x.before, x.after); have != x.want {
			t.Errorf("%v, then %v: %t", x.before, x.after, have)
		}
	}
}
