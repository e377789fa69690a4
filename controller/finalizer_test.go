package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// finalizing is a rig whose controller sets the finalizer.
func finalizing(t *testing.T, objects ...client.Object) *rig {
	b := newRig(t, objects...)
	b.state = planner.New(nil, planner.Finalizer{Wanted: true})
	return b
}

// service reads a Service; nil: it is gone.
func (b *rig) service(t *testing.T, name string) *corev1.Service {
	t.Helper()
	svc := &corev1.Service{}
	err := b.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (b *rig) delete(t *testing.T, o client.Object) {
	t.Helper()
	if err := b.client.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// finalizers checks those of a Service, and whether it says that one is ours.
func (b *rig) finalizers(t *testing.T, name string, ours bool, want ...string) {
	t.Helper()
	svc := b.service(t, name)
	if svc == nil {
		t.Fatalf("Service %s is gone", name)
	}
	if !slices.Equal(want, svc.Finalizers) || b.state.Finalizer().Ours(svc) != ours {
		t.Errorf("Service %s: want finalizers %v, ours %v; have %v, annotations %v", name, want, ours, svc.Finalizers, svc.Annotations)
	}
}

// with returns svc with finalizers.
func with(svc *corev1.Service, finalizers ...string) *corev1.Service {
	svc.Finalizers = finalizers
	return svc
}

func TestTheFinalizerComesWithTheAddressAndGoesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := waiting("a", 1), waiting("b", 2)
		rig := finalizing(t, poolOf("p", "10.0.0.1"), a, b)
		expect(t, map[string]string{"a": "10.0.0.1"}, rig.settle(t))
		rig.finalizers(t, "a", true, v1beta1.FinalizerCleanup)
		rig.finalizers(t, "b", false) // it has no address
		rig.delete(t, a)
		rig.finalizers(t, "a", true, v1beta1.FinalizerCleanup) // it waits
		expect(t, map[string]string{"b": "10.0.0.1"}, rig.settle(t))
		if rig.service(t, "a") != nil {
			t.Error("a deleted Service is still there")
		}
		rig.finalizers(t, "b", true, v1beta1.FinalizerCleanup)
	})
}

func TestAServiceThatLosesItsAddressLosesTheFinalizer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolOf("p", "10.0.0.1")
		b := finalizing(t, p, with(waiting("a", 1), "example.org/theirs"))
		b.settle(t)
		b.finalizers(t, "a", true, "example.org/theirs", v1beta1.FinalizerCleanup)
		b.delete(t, p)
		b.settle(t)
		b.finalizers(t, "a", false, "example.org/theirs")
	})
}

func TestAServiceThatOthersHoldGivesItsAddressBackAndGetsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := with(waiting("a", 1), "example.org/theirs")
		b := finalizing(t, poolOf("p", "10.0.0.1-10.0.0.3"), a)
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		b.delete(t, a)
		for range 2 { // nor is it given an address again
			expect(t, map[string]string{}, b.settle(t))
			b.finalizers(t, "a", false, "example.org/theirs")
		}
		svc := b.service(t, "a")
		if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated); c != nil || svc.Annotations[v1beta1.AnnotationPool] != "" {
			t.Errorf("our words are left: %v, %v", c, svc.Annotations)
		}
	})
}

func TestWithoutTheFlagADeletedServiceKeepsItsAddressUntilItIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := with(waiting("a", 1), "example.org/theirs")
		b := newRig(t, poolOf("p", "10.0.0.1"), a)
		b.settle(t)
		b.delete(t, a)
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		b.finalizers(t, "a", false, "example.org/theirs")
	})
}

func TestTheFinalizerOfOthersIsLeftAlone(t *testing.T) {
	for _, finalize := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a := with(waiting("a", 1), v1beta1.FinalizerCleanup)
			b := newRig(t, poolOf("p", "10.0.0.1"), a)
			b.state = planner.New(nil, planner.Finalizer{Wanted: finalize})
			b.settle(t)
			b.finalizers(t, "a", false, v1beta1.FinalizerCleanup)
			b.delete(t, a)
			expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
			b.finalizers(t, "a", false, v1beta1.FinalizerCleanup)
		})
	}
}

func TestWithoutTheFlagOurFinalizerIsTakenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := waiting("deleted", 2)
		b := finalizing(t, poolOf("p", "10.0.0.1-10.0.0.2"), waiting("a", 1), deleted)
		b.settle(t)
		b.delete(t, deleted)
		b.state = planner.New(nil, planner.Finalizer{}) // started again, without the flag
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		b.finalizers(t, "a", false)
		if b.service(t, "deleted") != nil {
			t.Error("a deleted Service is still there")
		}
	})
}

// An address that may still be seen on a Service is given to no other.
func TestAnAddressIsGivenOnWhenItsHolderHasGivenItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := waiting("a", 1)
		b := finalizing(t, poolOf("p", "10.0.0.1"), a, waiting("b", 2))
		b.settle(t)
		b.delete(t, a)
		b.refused["a"] = true
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		delete(b.refused, "a")
		time.Sleep(planner.LongestRefusedPause)
		expect(t, map[string]string{"b": "10.0.0.1"}, b.settle(t))
	})
}

func TestAFinalizerThatSomeClientRemovedIsSetAgain(t *testing.T) {
	svc := waiting("a", 1)
	f := planner.Finalizer{Wanted: true, Class: "example.org/edge,"}
	svc.Annotations = map[string]string{v1beta1.AnnotationFinalizer: f.Mark(svc)}
	theirs := with(svc, "example.org/theirs")
	f.Apply(theirs, f.Cleanup(theirs, true))
	if diff := cmp.Diff([]string{"example.org/theirs", v1beta1.FinalizerCleanup}, theirs.Finalizers); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

// No client can delete a Service with a finalizer that no client takes off.
