package planner

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// trailed is a controller whose writes succeed at once, unless they fail with err, on one pool.
type trailed struct {
	*State
	in    Input
	err   error
	lines []string // of the log
}

func newTrailed() *trailed {
	objects := intent.Objects{Pools: []v1beta1.IPAddressPool{graced("lan", "0s", "192.0.2.10-192.0.2.11")}}
	return &trailed{State: New(nil, Finalizer{}), in: Input{Now: time.Unix(1000, 0), Configured: intent.Configured{Objects: objects, Config: parsed(objects)}, Namespaces: map[string]map[string]string{"n": nil}}}
}

func (t *trailed) log(all []Changed) {
	for _, x := range all {
		t.lines = append(t.lines, strings.TrimRight(fmt.Sprintln(x.Log()...), "\n"))
	}
}

// versions returns new versions of Services.
func versions(services []*corev1.Service) []*corev1.Service {
	out := make([]*corev1.Service, len(services))
	for i, svc := range services {
		out[i] = svc.DeepCopy()
	}
	return out
}

// take has the one of services with that UID be as it was written.
func take(services []*corev1.Service, written *corev1.Service) {
	for _, svc := range services {
		if svc.UID == written.UID {
			*svc = *written
		}
	}
}

// pass makes a pass a second later, writes, and writes the status of the pool. It returns how many
// statuses of pools that took.
func (t *trailed) pass(services ...*corev1.Service) (writes int) {
	t.in.Now, t.in.Services = t.in.Now.Add(time.Second), versions(services)
	plan, sends, _ := t.Pass(t.in)
	t.log(plan.Released)
	summary := plan.Summary()
	for _, s := range sends {
		svc := s.Service.DeepCopy()
		if t.err == nil {
			s.Change.Apply(svc, t.Finalizer())
			take(services, svc)
		}
		t.log(t.Done(s.Write, Answer{svc, t.err, t.in.Now}).Changed)
	}
	for _, c := range Statuses(t.in.Configured, Reports{}, summary) {
		t.in.Objects.Pools[0] = *c.After.(*v1beta1.IPAddressPool)
		writes++
	}
	return writes
}

// remembered is what the status of the pool remembers, the oldest first.
func (t *trailed) remembered() (out []string) {
	for _, c := range t.in.Objects.Pools[0].Status.History {
		out = append([]string{fmt.Sprintf("%d %s %s %s %s%s", c.At.Unix(), c.Change, c.Address, c.Service, c.Reason, c.Node)}, out...)
	}
	return out
}

// The status of a pool remembers who had its addresses in the same write that counts them; another
// replica goes on from there.
func TestAPoolRemembersWhoHadItsAddresses(t *testing.T) {
	x := newTrailed()
	x.in.Claims = []*v1beta1.L2Claim{{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.10"}, Status: v1beta1.L2ClaimStatus{Node: "node1", Conditions: []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue}}}}}
	var services []*corev1.Service
	for _, c := range []struct {
		name     string
		services []*corev1.Service // nil: as before
		writes   int
	}{
		{"a Service comes", []*corev1.Service{aService("a", 1)}, 1},
		{"nothing happens", nil, 0},
		{"it is deleted", []*corev1.Service{}, 1},
		{"another one gets the address", []*corev1.Service{aService("b", 2)}, 1},
		{"a new leader goes on", nil, 0},
		{"the second is deleted", []*corev1.Service{}, 1},
	} {
		if c.services == nil {
			c.services = services
		}
		services = c.services
		if strings.Contains(c.name, "leader") {
			x.Reset()
		}
		if writes := x.pass(c.services...); writes != c.writes {
			t.Errorf("%s: %d writes of the pool, want %d", c.name, writes, c.writes)
		}
	}
	want := []string{
		"1001 Granted 192.0.2.10 n/a Assigned", "1003 Released 192.0.2.10 n/a ServiceGonenode1",
		"1004 Granted 192.0.2.10 n/b Assigned", "1006 Released 192.0.2.10 n/b ServiceGonenode1",
	}
	if d := cmp.Diff(want, x.remembered()); d != "" {
		t.Error(d)
	}
	logged := []string{
		"address 192.0.2.10 change Granted service n/a was  node  from  pool lan reason Assigned",
		"address 192.0.2.10 change Released service n/a was  node node1 from  pool lan reason ServiceGone",
		"address 192.0.2.10 change Granted service n/b was n/a node  from  pool lan reason Assigned",
		"address 192.0.2.10 change Released service n/b was  node node1 from  pool lan reason ServiceGone",
	}
	if d := cmp.Diff(logged, x.lines); d != "" {
		t.Error(d)
	}
}

// What was refused did not come true; what failed otherwise is tried again, and remembered once.
func TestOnlyWhatCameTrueIsRemembered(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"a policy refuses it", apierrors.NewForbidden(corev1.Resource("services"), "a", errors.New("no")), 0},
		{"the Service is gone", apierrors.NewNotFound(corev1.Resource("services"), "a"), 0},
		{"the answer is lost", errors.New("cut off"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newTrailed()
			x.err = c.err
			a := aService("a", 1)
			for range 3 {
				x.pass(a)
				x.in.Now = x.in.Now.Add(LongestRefusedPause)
			}
			if got := x.trail["lan"]; len(got) != c.want || len(x.lines) > 0 {
				t.Errorf("it remembers %v and logged %v", got, x.lines)
			}
			x.err = nil
			x.pass(a)
			if got := x.trail["lan"]; len(got) != 1 || got[0].Change != v1beta1.ChangeGranted || len(x.lines) != 1 {
				t.Errorf("when it succeeds it remembers %v and logged %v", got, x.lines)
			}
		})
	}
}

// The reason says why an address was taken away.
func TestWhyAnAddressIsTakenAway(t *testing.T) {
	x := newTrailed()
	a := aService("a", 1)
	x.pass(a)
	moved := a.DeepCopy()
	moved.ResourceVersion, moved.Annotations = "2", map[string]string{v1beta1.AnnotationLoadBalancerIPs: "192.0.2.11"}
	x.pass(moved)
	refused := moved.DeepCopy()
	refused.ResourceVersion, refused.Annotations = "3", map[string]string{v1beta1.AnnotationLoadBalancerIPs: "198.51.100.1"}
	x.pass(refused)
	want := []string{
		"1001 Granted 192.0.2.10 n/a Assigned", "1002 Released 192.0.2.10 n/a Moved",
		"1002 Granted 192.0.2.11 n/a Assigned", "1003 Released 192.0.2.11 n/a AddressOutsidePools",
	}
	if d := cmp.Diff(want, x.remembered()); d != "" {
		t.Error(d)
	}
}

// A pool that is gone is not remembered: its object is, as long as it is there.
func TestAPoolThatIsGoneIsForgotten(t *testing.T) {
	x := newTrailed()
	x.trail = history.Trail{"gone": nil, "lan": nil}
	x.pass()
	if _, there := x.trail["gone"]; there {
		t.Error("it is remembered still")
	}
}
