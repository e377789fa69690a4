package planner

import (
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/health"
	outside "github.com/steelyard-lb/steelyard/internal/world"
)

// seenFromOutside is a snapshot as a tool sees it that reads the cluster once.
func seenFromOutside(s Snapshot) *outside.Snapshot {
	w := &outside.Snapshot{Objects: health.Objects{Now: s.Now}, Config: s.Objects, Nodes: othersAt(s.Now).Nodes}
	for _, svc := range s.Services {
		ours := *svc
		ours.Spec.Type = corev1.ServiceTypeLoadBalancer
		w.Services = append(w.Services, ours)
	}
	for name, labels := range s.Namespaces {
		w.Namespaces = append(w.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	return w
}

// What kubectl's plugin works out is what the controller does, while no write is
// under way.
func TestWhoLooksFromOutsideComesToTheSameGrants(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	s := world()
	for step := range 500 {
		s.Attempts = map[types.UID]Attempt{}
		edit(rnd, &s, step)
		s.Attempts = nil
		if len(s.Namespaces) < 2 {
			continue // the controller waits for the Namespace
		}
		evaluation := seenFromOutside(s).Evaluate()
		for k, want := range grants(s) {
			if have := evaluation.Grant(k); !sameGrant(want, have) {
				t.Fatalf("step %d: %s: the controller grants %+v, from outside it is %+v", step, k, want, have)
			}
		}
		arrive(&s)
	}
}

// arrive has everything written that a new planner would write.
func arrive(s *Snapshot) {
	for _, x := range new(Planner).Plan(*s).Services {
		if x.Change != nil {
			svc := x.Object.DeepCopy()
			x.Change.Apply(svc, Finalizer{})
			s.Services[slices.Index(s.Services, x.Object)] = svc
		}
	}
}
