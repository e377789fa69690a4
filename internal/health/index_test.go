package health

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOtherLeasesAreLookedAt has an object be asked before and after it gets others.
func TestOtherLeasesAreLookedAt(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	lease := func(age time.Duration) coordinationv1.Lease {
		at := metav1.NewMicroTime(now.Add(-age))
		return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
	}
	w := &Objects{Now: now, Leases: []coordinationv1.Lease{lease(9 * time.Second)}}
	for _, c := range []struct {
		change func()
		want   time.Duration
	}{
		{func() {}, 9 * time.Second},
		{func() { w.Leases = []coordinationv1.Lease{lease(4 * time.Second)} }, 4 * time.Second},
		{func() { w.Leases = append(w.Leases, lease(2*time.Second)) }, 2 * time.Second},
		{func() { w.Now = now.Add(time.Hour) }, -time.Hour}, // no Lease is renewed
		{func() { w.Leases = nil }, -time.Hour},
	} {
		if c.change(); !w.Newest().Equal(now.Add(-c.want)) {
			t.Errorf("the newest is of %s, want %s", w.Newest(), now.Add(-c.want))
		}
	}
}
