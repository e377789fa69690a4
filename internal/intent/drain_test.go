package intent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

func TestDrain(t *testing.T) {
	in, out, broken := &corev1.Node{}, &corev1.Node{}, &corev1.Node{}
	out.Labels = map[string]string{v1beta1.LabelExcludeNode: ""}
	broken.Labels = out.Labels
	broken.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
	in.Name, out.Name, broken.Name = "a", "a", "a"
	cordoned := in.DeepCopy()
	cordoned.Spec.Unschedulable = true
	cordonedToo := *cordoned.DeepCopy()
	cordonedToo.Name = "b"
	others := []corev1.Node{*in, cordonedToo}
	type look struct {
		at   int // s
		node *corev1.Node
		want int // s
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"a node that becomes excluded drains", []look{{0, in, 0}, {10, out, 5}, {12, out, 3}, {15, out, 0}, {99, out, 0}}},
		{"a node that was excluded from the start does not drain", []look{{0, out, 0}, {1, out, 0}}},
		{"a node that returns can drain again", []look{{0, in, 0}, {10, out, 5}, {12, in, 0}, {13, out, 5}}},
		{"a node without a network does not drain", []look{{0, in, 0}, {10, broken, 0}, {11, out, 0}}},
		{"a cordoned node does not drain while the others are cordoned too", []look{{0, in, 0}, {10, cordoned, 0}}},
		{"a drain ends when the network fails", []look{{0, in, 0}, {10, out, 5}, {11, broken, 0}, {12, out, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := RouteDrain{Time: 5 * time.Second, Rule: Exclusion{Unschedulable: UnschedulableDrain}}
			for _, l := range c.looks {
				if got := d.Remaining(l.node, others, time.Unix(int64(l.at), 0)); got != time.Duration(l.want)*time.Second {
					t.Errorf("after %d s: %s left, want %d s", l.at, got, l.want)
				}
			}
		})
	}
	others[1].Spec.Unschedulable = false
	d := RouteDrain{Time: 5 * time.Second, Rule: Exclusion{Unschedulable: UnschedulableDrain}}
	d.Remaining(in, others, time.Unix(0, 0))
	if left := d.Remaining(cordoned, others, time.Unix(1, 0)); left != 5*time.Second {
		t.Errorf("a cordoned node drains for %s", left)
	}
}
