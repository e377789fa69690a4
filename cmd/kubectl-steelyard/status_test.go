package main

import (
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/world"
)

func TestSessionsOfSpeakersThatAreNotHeardOfAreNotUp(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	w := &world.Snapshot{Objects: health.Objects{Now: now}}
	w.Config.Peers = []v1beta1.BGPPeer{{ObjectMeta: metav1.ObjectMeta{Name: "tor"}}}
	for name, silent := range map[string]time.Duration{"alive": time.Second, "silent": 50 * time.Second} {
		seconds, renewed := int32(3), metav1.NewMicroTime(now.Add(-silent))
		meta := metav1.ObjectMeta{Name: name}
		w.Nodes = append(w.Nodes, corev1.Node{ObjectMeta: meta})
		w.Speakers = append(w.Speakers, v1beta1.Speaker{ObjectMeta: meta})
		w.Leases = append(w.Leases, coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &renewed, LeaseDurationSeconds: &seconds},
		})
		w.Sessions = append(w.Sessions, v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: name, Peer: "tor", State: health.Established}})
	}
	uses := sessionUses(w)
	if len(uses) != 1 || uses[0].Established != 1 || uses[0].Total != 2 || len(uses[0].Down) != 1 || uses[0].Down[0].Node != "silent" || uses[0].Down[0].State != "Unknown" || !strings.HasPrefix(uses[0].Down[0].Detail, "the API server has not heard of its speaker") {
		t.Errorf("the sessions are %+v, want one of two up", uses)
	}
}
