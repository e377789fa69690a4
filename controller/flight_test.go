package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// advertise makes an L2Advertisement of all pools, or removes it.
func (b *rig) advertise(t *testing.T, there bool) {
	t.Helper()
	ad := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all", UID: "all"}}
	do := func() error { return b.client.Delete(t.Context(), ad) }
	if there {
		do = func() error { return b.client.Create(t.Context(), ad) }
	}
	if err := do(); err != nil {
		t.Fatal(err)
	}
}

func TestWordsThatChangeDuringAWriteAreWrittenAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1))
		b.slow["a"] = time.Second
		b.pass(t)
		b.advertise(t, true)
		b.pass(t)
		time.Sleep(2 * time.Second)
		if len(b.writer.Written) == 0 {
			t.Error("no pass is due when the write has landed")
		}
		b.settle(t)
		time.Sleep(2 * time.Second)
		if words := b.words(t, "a"); words != `10.0.0.1 of IPAddressPool "p"` {
			t.Errorf("it says %s", words)
		}
	})
}

// A write has arrived, another client has written since, and only then its answer
// is read: the pass in between must not take that write for the last word.
func TestAForeignWriteBeforeOurAnswerIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1))
		b.late["a"] = time.Second
		b.pass(t) // 10.0.0.1 is on a; the answer is on its way
		b.overwrite(t, "a", "203.0.113.9")
		b.pass(t)
		time.Sleep(2 * time.Second)
		if len(b.writer.Written) == 0 {
			t.Error("no pass is due when the answer has come")
		}
		for range 3 {
			b.settle(t)
			time.Sleep(2 * time.Second)
		}
		expect(t, map[string]string{"a": "10.0.0.1"}, b.addresses(t))
	})
}

// overwrite has another client write an address into a Service's status.
func (b *rig) overwrite(t *testing.T, name, address string) {
	t.Helper()
	svc := &corev1.Service{}
	if err := b.client.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: name}, svc); err != nil {
		t.Fatal(err)
	}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	if err := b.client.Status().Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
}

// What was refused and is not wanted any more leaves nothing behind.
func TestARefusalThatTimeHasOvertakenIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1))
		b.advertise(t, true)
		b.settle(t)
		b.refused["a"] = true
		b.advertise(t, false)
		b.settle(t)
		b.advertise(t, true)
		b.settle(t)
		time.Sleep(planner.LongestRefusedPause)
		b.settle(t)
		again := b.pass(t)
		if open, _ := b.state.Open(time.Now()); again != 0 || open != 0 {
			t.Errorf("to look again after %s, for %d attempts", again, open)
		}
	})
}

// So is an answer that was lost, when the Service already shows what it shall:
// and whichever client waits for the address that it might have got, gets it.
func TestALostAnswerThatTimeHasOvertakenBlocksNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), poolOf("q", "10.0.1.1"), waiting("a", 1))
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "p")
		b.settle(t)
		b.dropped["a"] = true
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "q")
		b.settle(t) // 10.0.1.1 may be on a
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "p")
		if err := b.client.Create(t.Context(), waiting("b", 2)); err != nil {
			t.Fatal(err)
		}
		b.settle(t)
		delete(b.dropped, "a")
		time.Sleep(planner.LongestPause)
		expect(t, map[string]string{"a": "10.0.0.1", "b": "10.0.1.1"}, b.settle(t))
		if again := b.pass(t); again != 0 {
			t.Errorf("to look again after %s", again)
		}
	})
}

// A write whose answer was lost may have arrived, whatever becomes of the next.
func TestARefusalAfterALostAnswerFreesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), waiting("a", 1), waiting("b", 2))
		stale, err := b.services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fresh := b.services
		b.delayCache(stale)
		b.lost["a"] = true
		b.settle(t)
		b.refused["a"] = true
		for range 3 {
			time.Sleep(planner.LongestRefusedPause)
			expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
		}
		b.services = fresh
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
	})
}

func TestASwapDoesNotWaitForAnUnrelatedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1-10.0.0.9"), waiting("a", 1), waiting("b", 2))
		b.settle(t)
		b.refused["c"] = true
		if err := b.client.Create(t.Context(), waiting("c", 3)); err != nil {
			t.Fatal(err)
		}
		b.settle(t)
		b.annotate(t, "a", v1beta1.AnnotationLoadBalancerIPs, "10.0.0.2")
		b.annotate(t, "b", v1beta1.AnnotationLoadBalancerIPs, "10.0.0.1")
		expect(t, map[string]string{"a": "10.0.0.2", "b": "10.0.0.1"}, b.settle(t))
	})
}

// No client waits for a foreign host's write.
func TestAFreedAddressDoesNotWaitForASlowWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("p", "10.0.0.1"), poolOf("q", "10.0.1.1-10.0.1.2"), waiting("a", 1))
		b.settle(t)
		b.slow["d"], b.slow["a"] = time.Hour, time.Second
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "q")
		want := waiting("b", 2)
		want.Annotations = map[string]string{v1beta1.AnnotationAddressPool: "p"}
		for _, svc := range []*corev1.Service{want, waiting("d", 3)} {
			if err := b.client.Create(t.Context(), svc); err != nil {
				t.Fatal(err)
			}
		}
		b.settle(t)
		time.Sleep(2 * time.Second)
		expect(t, map[string]string{"a": "10.0.1.1", "b": "10.0.0.1"}, b.settle(t))
		time.Sleep(time.Hour)
	})
}

// Which pools serve a Service is not known before its Namespace is.
func TestAServiceWaitsForItsNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := poolOf("own", "10.0.0.1")
		own.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}}
		b := newRig(t, own, poolOf("open", "10.0.1.1"))
		svc := waiting("a", 1)
		svc.Namespace = "late"
		if err := b.client.Create(t.Context(), svc); err != nil {
			t.Fatal(err)
		}
		expect(t, map[string]string{}, b.settle(t))
		if err := b.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "late", Labels: map[string]string{"team": "red"}}}); err != nil {
			t.Fatal(err)
		}
		expect(t, map[string]string{"a": "10.0.0.1"}, b.settle(t))
	})
}

func TestAClaimStaysWhileItsAddressIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := waiting("other", 1)
		class := "other/lb"
		other.Spec.LoadBalancerClass = &class
		other.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.9.9.9"}}
		b := newRig(t, poolOf("p", "10.0.0.1"), poolOf("q", "10.0.1.1"), waiting("a", 1), other)
		for _, address := range []string{"10.0.0.1", "10.9.9.9", "10.8.8.8"} {
			claim := &v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: address}, Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address)}}
			if err := b.client.Create(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
		}
		b.settle(t)
		b.refused["a"] = true
		b.annotate(t, "a", v1beta1.AnnotationAddressPool, "q")
		b.settle(t)
		if _, err := b.reporter().Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left v1beta1.L2ClaimList
		if err := b.client.List(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range left.Items {
			names = append(names, c.Name)
		}
		if have := strings.Join(names, " "); have != "10.0.0.1 10.9.9.9" {
			t.Errorf("the claims left are %s", have)
		}
	})
}
