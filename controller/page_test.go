package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/overview/page"
)

func TestThePageComesFromTheCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("lan", "10.0.0.1"), waiting("a", 1), waiting("b", 2),
			&v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.1"}, Spec: v1beta1.L2ClaimSpec{Address: "10.0.0.1", Node: "node7"}},
			&v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node8"}},
			&v1beta1.BGPSession{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Status: v1beta1.BGPSessionStatus{Node: "node9", Peer: "tor", State: "Active"}},
			&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Status: v1beta1.BGPPeerStatus{Conditions: []metav1.Condition{
				{Type: v1beta1.ConditionResolvedRefs, Status: metav1.ConditionFalse, Reason: "NotFound", Message: "no Secret mystery"}}}},
		)
		b.settle(t)
		b.leader = nil // a standby shows the same
		pages, err := page.New(page.Options{
			Cached: b.client, Direct: b.direct, Configuration: b.configuration, Services: b.services, Namespace: "steelyard-system",
			Leads: func() bool { return b.leading() != nil }, Log: b.log,
		})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		for _, want := range []string{"lan", "node7", "node8", "node9", "n/b", "PoolExhausted", "no Secret mystery"} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("the page does not tell of %s", want)
			}
		}
	})
}
