package main

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/writer"
)

// What is compared to make a patch is less than the Service, and the patch is the same.
func TestAPatchIsThatOfTheWholeService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fresh, shown, left := waiting("fresh", 1), with(waiting("shown", 2), "example.org/theirs"), waiting("left", 3)
		fresh.Labels, fresh.Annotations = map[string]string{"app": "web"}, map[string]string{"example.org/note": "x", "steelyard.dev/allow-shared-ip": "k"}
		shown.Status.Conditions = []metav1.Condition{{Type: "example.org/Theirs", Status: metav1.ConditionTrue, Reason: "R"}}
		pool := poolOf("p", "10.0.0.1-10.0.0.3")
		b := finalizing(t, pool, fresh, shown, left)
		compare := func(want int) {
			t.Helper()
			in, err := b.snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, sends, _ := b.state.Pass(in)
			if len(sends) != want {
				t.Fatalf("%d writes, want %d", len(sends), want)
			}
			for _, s := range sends {
				after := s.Service.DeepCopy()
				s.Change.Apply(after, b.state.Finalizer())
				whole, err := client.MergeFromWithOptions(s.Service, client.MergeFromWithOptimisticLock{}).Data(after)
				if err != nil {
					t.Fatal(err)
				}
				have, err := writer.Patch(s.Write, b.state.Finalizer())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(whole), string(have)); diff != "" {
					t.Errorf("the patch of %s (-whole +have):\n%s", s.Service.Name, diff)
				}
			}
			b.state.Reset()
		}
		compare(3) // addresses come
		b.settle(t)
		b.delete(t, left)
		b.delete(t, pool)
		compare(3) // and go
	})
}
