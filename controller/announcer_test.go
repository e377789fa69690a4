package main

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announcer"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// counted is a rig with an announcer, and a speaker on one node, which counts what is
// written to Services.
type counted struct {
	*rig
	*announcer.Announcer
	lease   *coordinationv1.Lease // the speaker's
	patches atomic.Int64
}

func newCounted(t *testing.T, objects ...client.Object) *counted {
	t.Helper()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "steelyard-system", Name: intent.LeaseName("node1")},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("node1"), LeaseDurationSeconds: new(int32(3))},
	}
	speaker := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	speaker.Status.Links = []v1beta1.SpeakerLink{{Name: "eth0", Up: true, Prefixes: []string{"10.0.0.0/24"}}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	c := &counted{rig: newRig(t, append(objects, lease, speaker, node)...), lease: lease}
	c.writer.Count = func(string, error) { c.patches.Add(1) }
	c.Announcer = newAnnouncer(c.reconciler, options{namespace: "steelyard-system"})
	c.Endpoints = func(context.Context) ([]*discoveryv1.EndpointSlice, error) { return nil, nil }
	return c
}

// run has both loops run for d, as often as anything may happen, and returns how many
// patches were sent.
func (c *counted) run(t *testing.T, d time.Duration) int64 {
	t.Helper()
	before := c.patches.Load()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		c.lease.Spec.RenewTime = new(metav1.NowMicro())
		if err := c.rig.client.Update(t.Context(), c.lease); err != nil {
			t.Fatal(err)
		}
		c.Happened()
		if _, err := c.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.pass(t)
	}
	return c.patches.Load() - before
}

// announced returns the condition Announced of a Service.
func (c *counted) shown(t *testing.T, name string) metav1.Condition {
	t.Helper()
	svc := &corev1.Service{}
	if err := c.rig.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc); err != nil {
		t.Fatal(err)
	}
	if found := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionServiceAnnounced); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// What the planner says at once of an address that no advertisement covers is what the
// announcer finds later: otherwise that would be written as well.
func TestAnAddressThatNoAdvertisementCoversCostsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, poolOf("p", "10.0.0.1", "2001:db8::1"))
		c.run(t, time.Second)
		svc := waiting("a", 1)
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		svc.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack)
		if err := c.rig.client.Create(t.Context(), svc); err != nil {
			t.Fatal(err)
		}
		if n := c.run(t, 45*time.Second); n != 1 {
			t.Errorf("it cost %d writes", n)
		}
		want := "no node announces 10.0.0.1, 2001:db8::1: no L2Advertisement or BGPAdvertisement covers it"
		if shown := c.shown(t, "a"); shown.Status != metav1.ConditionFalse || shown.Reason != v1beta1.ReasonNotAdvertised || shown.Message != want {
			t.Errorf("it says %+v", shown)
		}
		var reasons []string
		for _, e := range c.notes {
			reasons = append(reasons, e.Reason)
		}
		if want := []string{v1beta1.ReasonAssigned, v1beta1.ReasonNotAdvertised}; !slices.Equal(reasons, want) {
			t.Errorf("its events are %v", reasons)
		}
	})
}

func TestAnAddressThatIsAnnouncedCostsTwoWritesAndOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, poolOf("p", "10.0.0.1"))
		c.advertise(t, true)
		c.run(t, time.Second)
		if err := c.rig.client.Create(t.Context(), waiting("a", 1)); err != nil {
			t.Fatal(err)
		}
		if n := c.run(t, time.Second); n != 1 {
			t.Errorf("the address cost %d writes", n)
		}
		claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.1"}, Spec: v1beta1.L2ClaimSpec{Address: "10.0.0.1", Node: "node1"}}
		claim.Status.Node = "node1"
		claim.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}
		if err := c.rig.client.Create(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		if n := c.run(t, 45*time.Second); n != 1 {
			t.Errorf("that it is announced cost %d writes", n)
		}
		if shown := c.shown(t, "a"); shown.Status != metav1.ConditionTrue {
			t.Errorf("it says %+v", shown)
		}
		if len(c.notes) != 1 {
			t.Errorf("its events are %v", c.notes)
		}
	})
}

// Conditions of Services that are announced already wait for the addresses of others.
func TestConditionsAnnouncedComeAfterTheAddressesOfABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, poolOf("p", "10.0.0.0/24"))
		c.advertise(t, true)
		c.run(t, time.Second)
		for i := range 20 { // one in 100 ms, and each is announced at once
			name := string(rune('a' + i))
			if err := c.rig.client.Create(t.Context(), waiting(name, int64(i))); err != nil {
				t.Fatal(err)
			}
			if n := c.run(t, 100*time.Millisecond); n != 1 {
				t.Errorf("%s: %d writes", name, n)
			}
			claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: c.addresses(t)[name]}}
			claim.Spec = v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(claim.Name), Node: "node1"}
			claim.Status.Node = "node1"
			claim.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}
			if err := c.rig.client.Create(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.run(t, 3*time.Second); n != 20 {
			t.Errorf("%d conditions were written", n)
		}
	})
}

// An advertisement's count is written once it stands: one that grows with a burst is not written for each address.
func TestWhatAnAdvertisementComesToIsWrittenOnceItStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounted(t, poolOf("p", "10.0.0.0/24"))
		c.advertise(t, true)
		c.run(t, 2*time.Second)
		all := intent.Ref{Kind: "L2Advertisement", Name: "all"}
		if have, is := c.Programmed()[all]; !is || have != (v1beta1.AdvertisementCount{}) {
			t.Errorf("before there is a Service: %v, %t", have, is)
		}
		for i := range 9 {
			svc := waiting(string(rune('a'+i)), 1)
			if err := c.rig.client.Create(t.Context(), svc); err != nil {
				t.Fatal(err)
			}
			c.run(t, 300*time.Millisecond)
			claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: c.addresses(t)[svc.Name]}}
			claim.Spec = v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(claim.Name), Node: "node1"}
			claim.Status.Node = "node1"
			claim.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}
			if err := c.rig.client.Create(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
			c.run(t, 300*time.Millisecond)
			if have := c.Programmed()[all]; have.Addresses > 0 {
				t.Fatalf("after %d addresses: %v", i+1, have)
			}
		}
		c.run(t, 2*time.Second)
		if have, want := c.Programmed()[all], (v1beta1.AdvertisementCount{Addresses: 9, Nodes: 1}); have != want {
			t.Errorf("%v, want %v", have, want)
		}
	})
}
