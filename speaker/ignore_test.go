package main

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/status"
)

// In a burst each new address brings two changes of its L2Claim to every speaker. None but
// the owner is concerned, and that one wrote them.
func TestClaimsOfOthersStartNoPassAtOnce(t *testing.T) {
	claim := func(node, version string) *v1beta1.L2Claim {
		return &v1beta1.L2Claim{
			ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.1", UID: "u", ResourceVersion: version},
			Spec:       v1beta1.L2ClaimSpec{Address: "192.0.2.1", Node: node},
		}
	}
	addr := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name          string
		before, after client.Object
		plan          *failover.Output // nil: there was no pass
		wrote         bool             // this speaker
		waits         bool
	}{
		{name: "another node's new claim", after: claim("b", "2"), plan: &failover.Output{}, waits: true},
		{name: "another node's claim changes", before: claim("b", "1"), after: claim("b", "2"), plan: &failover.Output{}, waits: true},
		{name: "it moves between others", before: claim("b", "1"), after: claim("c", "2"), plan: &failover.Output{}, waits: true},
		{name: "it moves here", before: claim("b", "1"), after: claim("a", "2"), plan: &failover.Output{}},
		{name: "it moves away", before: claim("a", "1"), after: claim("b", "2"), plan: &failover.Output{}},
		{name: "another node takes what this one answers for", after: claim("b", "2"), plan: &failover.Output{Claimed: map[netip.Addr]bool{addr: true}}},
		{name: "the claim of an address on its way to another node", before: claim("b", "1"), after: claim("b", "2"), plan: &failover.Output{Proxy: []announce.Claim{{Addr: addr}}}},
		{name: "this speaker's own write", after: claim("a", "2"), plan: &failover.Output{Claimed: map[netip.Addr]bool{addr: true}}, wrote: true, waits: true},
		{name: "a claim that a user gives this node", after: claim("a", "2"), plan: &failover.Output{}},
		{name: "a claim is deleted", before: claim("b", "1"), plan: &failover.Output{}},
		{name: "before the first pass", after: claim("b", "2")},
		{name: "not a claim", after: &v1beta1.Speaker{}, plan: &failover.Output{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reconciler{core: core{options: options{node: "a"}}, sources: sources{claimOverlay: new(overlay.Objects[*v1beta1.L2Claim])}}
			if c.plan != nil {
				r.plan.Store(&status.Applied{Output: *c.plan})
			}
			if c.wrote {
				r.claimOverlay.RecordWrite(c.after.(*v1beta1.L2Claim))
			}
			if waits := r.mayWait(c.before, c.after); waits != c.waits {
				t.Errorf("it waits: %t", waits)
			}
		})
	}
}

func TestADelayedSignalServesAllThatAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, d := time.Now(), newDelayed(time.Second)
		for range 2 {
			d.Signal()
			time.Sleep(time.Second / 4)
			d.Signal()
			<-d.c
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("two signals took %s", took)
		}
		time.Sleep(time.Minute)
		if len(d.c) > 0 {
			t.Error("a signal came that nothing asked for")
		}
	})
}
