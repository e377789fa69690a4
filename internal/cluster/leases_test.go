package cluster

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaseOf is the Lease of a node's speaker, renewed at second at; at -1 it was
// released.
func leaseOf(node string, at int) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "speaker-" + node}}
	renewed := metav1.NewMicroTime(time.Unix(int64(at), 0))
	l.Spec.RenewTime = &renewed
	if at >= 0 {
		l.Spec.HolderIdentity = &node
	}
	return l
}

func TestOnlyAnotherHolderIsTold(t *testing.T) {
	signals := 0
	handler := onHolder(func() { signals++ })
	for _, c := range []struct {
		name string
		does func()
		want int
	}{
		{"a new one is signaled", func() { handler.OnAdd(leaseOf("a", 1), true) }, 1},
		{"a renewal is not", func() { handler.OnUpdate(leaseOf("a", 1), leaseOf("a", 2)) }, 1},
		{"a release is", func() { handler.OnUpdate(leaseOf("a", 2), leaseOf("a", -1)) }, 2},
		{"one that goes is", func() { handler.OnDelete(leaseOf("a", -1)) }, 3},
	} {
		if c.does(); signals != c.want {
			t.Errorf("%s: signaled %d times, want %d", c.name, signals, c.want)
		}
	}
}
