package planner

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// quietly is a sim without faults, with three addresses.
func quietly(seed uint64) *sim {
	s := newSim(seed)
	s.faulty = false
	s.config.Config = parsed(intent.Objects{Pools: []v1beta1.IPAddressPool{*fixedPool("p", "10.0.0.1-10.0.0.3")}})
	s.wake()
	return s
}

func (s *sim) live(d time.Duration) { s.run(time.Now().Add(d)) }

// shows returns the addresses that a Service shows, as text.
func (s *sim) shows(name string) string { return intent.Join(intent.Holds(s.there[name])) }

// says returns the message of a Service's condition Contested.
func (s *sim) says(name string) string {
	if c := meta.FindStatusCondition(s.there[name].Status.Conditions, v1beta1.ConditionContested); c != nil {
		return c.Message
	}
	return ""
}

// Two load balancers that serve one Service write its status in turns, as fast as
// they can, unless one of them backs off.
func TestAnotherControllerIsReportedAndNotFoughtForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quietly(1)
		s.create("a")
		s.live(time.Minute)
		s.overwriter["a"] = true
		s.overwrite("a", "203.0.113.1")
		s.live(time.Minute)
		if said := s.says("a"); !strings.HasPrefix(said, `field manager "k3s\x1b[2J" overwrites`) || !strings.Contains(said, "10.0.0.1") {
			t.Errorf("the condition says %q", said)
		}
		s.create("b") // younger, and after a free address
		s.live(time.Hour)
		if s.shows("a") != "203.0.113.1" || s.shows("b") != "10.0.0.2" {
			t.Errorf("a shows %s, and b %s: no other Service may get a's address", s.shows("a"), s.shows("b"))
		}
		if n := s.writes["a"]; n < 10 || n > 40 {
			t.Errorf("in an hour it was written %d times", n)
		}
		warnings := 0
		for _, n := range s.notes {
			if n.Type == corev1.EventTypeWarning {
				warnings++
			}
		}
		if warnings != 1 || len(s.notes) > 5 { // and two addresses, that of a perhaps again for each of the first slips
			t.Errorf("there are %d warnings among %+v", warnings, s.notes)
		}
		clear(s.overwriter)
		s.live(LongestContestPause + time.Minute)
		if s.shows("a") != "10.0.0.1" || s.says("a") == "" {
			t.Errorf("when the other controller has stopped, a shows %s, and says %q", s.shows("a"), s.says("a"))
		}
		s.live(Quiet)
		if said := s.says("a"); said != "" {
			t.Errorf("after a long calm, it still says %q", said)
		}
		if err := s.atRest(); err != nil {
			t.Error(err)
		}
	})
}

// Another controller that never stops writing is no reason to write more often.
func TestAControllerThatNeverStopsCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quietly(2)
		s.create("a")
		s.live(time.Minute)
		for i := range 6000 {
			s.in(time.Duration(i)*100*time.Millisecond, func() { s.overwrite("a", fmt.Sprint("203.0.113.", i%3)) })
		}
		s.live(10 * time.Minute)
		if n := s.writes["a"]; n > 20 {
			t.Errorf("in ten minutes it was written %d times", n)
		}
	})
}

// A single foreign write is undone at once, without an event.
func TestASlipIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quietly(3)
		s.create("a")
		s.create("b")
		s.live(time.Minute)
		s.overwrite("a", "10.0.0.2") // b's
		s.live(10 * time.Second)
		if s.shows("a") != "10.0.0.1" || s.shows("b") != "10.0.0.2" || s.says("a") != "" || len(s.notes) != 2 {
			t.Errorf("a shows %s, b %s, and these events were recorded: %+v", s.shows("a"), s.shows("b"), s.notes)
		}
	})
}

// Who is deleted is let go even while we back off.

// A machine can stand still together with its clock: then a former leader takes itself for
// the leader for a moment. What the present one wrote is no foreign write.
func TestWhatAnotherReplicaWroteIsNotFought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quietly(1)
		s.create("a")
		s.live(time.Minute)
		writes := s.writes["a"]
		s.edit("a", func(svc *corev1.Service) {
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.3"}}
			svc.ManagedFields = nil // the controllers have one name, which the cache leaves out
		})
		s.live(time.Minute)
		if n := s.writes["a"] - writes; s.shows("a") != "10.0.0.3" || s.says("a") != "" || n > 1 {
			t.Errorf("after %d writes it shows %s, and says %q", n, s.shows("a"), s.says("a"))
		}
	})
}
