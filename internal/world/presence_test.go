package world_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/world"
)

func TestASpeakerThatIsNotHeardOfMayAnnounceStill(t *testing.T) {
	says := func(kind string, status metav1.ConditionStatus, ago time.Duration) func(*world.Snapshot) {
		return func(w *world.Snapshot) {
			s := &w.Speakers[0].Status
			s.Conditions = append([]metav1.Condition{{Type: kind, Status: status, Message: "it hears no other", LastTransitionTime: metav1.NewTime(now().Add(-ago))}}, s.Conditions...)
		}
	}
	for _, c := range []struct {
		name, given string
		do          func(*world.Snapshot)
		want        health.Presence
	}{
		{"it renews its Lease", "node a\nnode b", nil, health.Presence{State: health.Alive}},
		{"it was never there", "node a absent\nnode b", nil, health.Presence{State: health.Never, Message: "no speaker has ever run there"}},
		{"it said that it stops", "node a stopped\nnode b", nil, health.Presence{State: health.Stopped, Message: "its speaker has stopped"}},
		{"it gave its Lease up", "node a\nnode b", func(w *world.Snapshot) { w.Leases[0].Spec.HolderIdentity = nil },
			health.Presence{State: health.Stopped, Message: "its speaker has stopped"}},
		{"it restarts", "node a\nnode b", says(v1beta1.ConditionRestarting, metav1.ConditionTrue, 5*time.Second), health.Presence{State: health.Alive}},
		{"it did not come back from a restart", "node a\nnode b", says(v1beta1.ConditionRestarting, metav1.ConditionTrue, time.Minute),
			health.Presence{State: health.Stopped, Message: "its speaker has stopped, and has not come back"}},
		{"it has cut itself off", "node a\nnode b", says(v1beta1.ConditionIsolated, metav1.ConditionTrue, time.Minute),
			health.Presence{State: health.Isolated, Message: "its speaker has cut itself off: it hears no other"}},
		{"its Lease is old", "node a late\nnode b", nil,
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still"}},
		{"its Lease is old, and others leave it its addresses", "node a late\nnode b\nclaim 192.0.2.1 a\nclaim 192.0.2.2 a\nclaim 192.0.2.3 b by a", nil,
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still; no other node has taken over its 2 addresses on the local network"}},
		{"its Lease is old, and others have its addresses", "node a late\nnode b\nclaim 192.0.2.1 b", func(w *world.Snapshot) { w.Speakers[0].Status.Addresses = 1 },
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still; no L2Claim names it any more"}},
		{"its Lease is old, and it had routes", "node a late\nnode b\nsession a tor Established", func(w *world.Snapshot) { w.Sessions[0].Status.Prefixes = &v1beta1.PrefixCount{Advertised: 7} },
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still; when last heard of it offered 7 routes by BGP"}},
		{"it was cut off when it was last heard of", "node a late\nnode b", says(v1beta1.ConditionIsolated, metav1.ConditionTrue, time.Minute),
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still"}},
		{"all Leases are old", "node a late\nnode b late", func(w *world.Snapshot) { w.Now = w.Now.Add(time.Minute) },
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 2m0s: it may announce still"}},
		{"its Lease is gone", "node a\nnode b", func(w *world.Snapshot) { w.Leases = w.Leases[1:] },
			health.Presence{State: health.Unknown, Message: "its speaker holds no Lease: it may announce still"}},
		{"its Lease is old, and tells that it lasts for a day", "node a late\nnode b", func(w *world.Snapshot) { *w.Leases[0].Spec.LeaseDurationSeconds = 86400 },
			health.Presence{State: health.Unknown, Message: "the API server has not heard of its speaker for 59s: it may announce still"}},
		{"its Lease is new, and tells that it never lasted", "node a\nnode b", func(w *world.Snapshot) { *w.Leases[0].Spec.LeaseDurationSeconds = -86400 }, health.Presence{State: health.Alive}},
		{"another Lease was renewed in the future", "node a\nnode b", func(w *world.Snapshot) { renewed(&w.Leases[1], 50*time.Second) }, health.Presence{State: health.Alive}},
		{"its own was renewed in the future", "node a\nnode b", func(w *world.Snapshot) { renewed(&w.Leases[0], 50*time.Second) }, health.Presence{State: health.Alive}},
		{"its own was renewed in a future that no clock explains", "node a\nnode b", func(w *world.Snapshot) { renewed(&w.Leases[0], 24*time.Hour) },
			health.Presence{State: health.Unknown, Message: "its speaker holds no Lease: it may announce still"}},
		{"no Lease could be read", "node a late\nnode b", func(w *world.Snapshot) { w.Leases = nil }, health.Presence{State: health.Alive}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := parseWorld(t, c.given)
			if c.do != nil {
				c.do(w)
			}
			if have := w.Presence("a"); have != c.want {
				t.Errorf("%+v, want %+v", have, c.want)
			}
		})
	}
}

// renewed sets the time of a Lease's last renewal to a time in the future.
func renewed(l *coordinationv1.Lease, ahead time.Duration) {
	at := metav1.NewMicroTime(now().Add(ahead))
	l.Spec.RenewTime = &at
}

func TestTheActiveControllerIsWhoRenewsItsLease(t *testing.T) {
	for _, c := range []struct {
		name         string
		holder       string
		renewed      time.Duration // ago
		seconds      int32
		want, absent string
	}{
		{"it renews", "pod_1", time.Second, 6, "pod", ""},
		{"it renews, and tells that the Lease never lasts", "pod_1", time.Second, -86400, "pod", ""},
		{"its clock is ahead", "pod_1", -30 * time.Second, 6, "pod", ""},
		{"it does not renew", "pod_1", 30 * time.Second, 6, "", "no controller runs: the last one renewed its Lease 30s ago"},
		{"another program holds it for a day", "mallory", 30 * time.Second, 86400, "", "no controller runs: the last one renewed its Lease 30s ago"},
		{"another program renewed it in the future", "mallory", -24 * time.Hour, 86400, "", "no controller runs: Lease steelyard-controller tells of a renewal in the future"},
		{"it was released", "", time.Second, 1, "", "no controller runs: no replica holds Lease steelyard-controller in namespace "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := parseWorld(t, "node a")
			lease := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: health.LeaseController}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &c.holder, LeaseDurationSeconds: &c.seconds}}
			renewed(&lease, -c.renewed)
			w.Leases = append(w.Leases, lease)
			if have, absent := w.Controller(); have != c.want || absent != c.absent {
				t.Errorf("%q, %q; want %q, %q", have, absent, c.want, c.absent)
			}
		})
	}
}
