package planner

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func announcedAs(status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: v1beta1.ConditionServiceAnnounced, Status: status, Reason: reason}
}

func TestAConditionAnnouncedTravelsWithTheAddress(t *testing.T) {
	for _, c := range []struct {
		name      string
		edit      func(*corev1.Service, *ipam.Grant)
		uncovered bool   // there is no advertisement
		due       string // the reason of the condition that is due; "": none is
		reason    string // that the change gives
		alone     bool   // it is written for this alone
		differs   bool
		event     bool
	}{
		{name: "nothing is known of it", edit: func(*corev1.Service, *ipam.Grant) {}},
		{name: "a new address is not announced yet", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status = corev1.ServiceStatus{} }, reason: "Pending", differs: true},
		{name: "what was due for the old one is dropped", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status = corev1.ServiceStatus{} }, due: "NoLinkUp", reason: "Pending", differs: true},
		{name: "a refusal changes both", edit: func(s *corev1.Service, g *ipam.Grant) {
			*g = ipam.Grant{Reason: ipam.PoolExhausted}
		}, reason: "NotAllocated", differs: true},
		{name: "no advertisement covers a new address", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Status = corev1.ServiceStatus{} }, uncovered: true, reason: "NotAdvertised", differs: true, event: true},
		{name: "alone", edit: func(*corev1.Service, *ipam.Grant) {}, due: "NoLinkUp", reason: "NoLinkUp", alone: true, differs: true, event: true},
		{name: "with another change", edit: func(s *corev1.Service, _ *ipam.Grant) { s.Annotations = nil }, due: "NoLinkUp", reason: "NoLinkUp", differs: true, event: true},
		{name: "what it says already", edit: func(s *corev1.Service, _ *ipam.Grant) {
			s.Status.Conditions = append(s.Status.Conditions, announcedAs("False", "NoLinkUp"))
		}, due: "NoLinkUp", reason: "NoLinkUp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc, g := settledService()
			svc.UID = "u"
			all := &Announced{Of: map[types.UID]*Announcement{}}
			if c.due != "" {
				all.Of[svc.UID] = &Announcement{Addrs: slices.Clone(g.Addrs), Condition: announcedAs("False", c.due)}
			}
			c.edit(svc, &g)
			objects := intent.Objects{L2: []v1beta1.L2Advertisement{{}}}
			if c.uncovered {
				objects.L2 = nil
			}
			p := Plan{Services: []*Service{{Object: svc}}, Grants: []ipam.Grant{g}, config: parsed(objects), announced: all}
			have, differs := p.changeFor(0)
			if differs != c.differs || have.AnnouncedOnly != c.alone || have.ConditionsOnly != c.alone || have.Announced.Reason != c.reason {
				t.Errorf("differs: %t, alone: %t, reason %q", differs, have.AnnouncedOnly, have.Announced.Reason)
			}
			if c.reason != "" && meta.FindStatusCondition(have.Conditions, v1beta1.ConditionServiceAnnounced).Reason != c.reason {
				t.Errorf("it is not in %v", have.Conditions)
			}
			warned := slices.ContainsFunc(have.events(svc), func(e Event) bool { return e.Type == corev1.EventTypeWarning && e.Reason == c.reason })
			if warned != c.event {
				t.Errorf("its events are %v", have.events(svc))
			}
		})
	}
}

func TestWritesOfAnnouncementsGiveWay(t *testing.T) {
	alone, address := Attempt{inFlight: true, change: Change{AnnouncedOnly: true}}, Attempt{inFlight: true}
	now := time.Unix(100, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name        string
		since, last time.Time // of the addresses written before
		between     time.Time // of conditions among them
		begin       int
		underWay    map[types.UID]Attempt
		want        int
		again       time.Duration
	}{
		{name: "nothing else is written", want: atOnce},
		{name: "some are under way", underWay: map[types.UID]Attempt{"a": alone, "b": alone}, want: atOnce - 2},
		{name: "an address is to be written", begin: 1, again: quietFor},
		{name: "an address is under way", underWay: map[types.UID]Attempt{"a": address}, again: quietFor},
		{name: "one was written a moment ago", since: ago(quietFor / 3), last: ago(quietFor / 3), again: quietFor - quietFor/3},
		{name: "one was written a while ago", since: ago(quietFor), last: ago(quietFor), want: atOnce},
		{name: "addresses have been written for long", since: ago(longestHeld), last: ago(1), begin: 1, want: betweenAddresses, again: quietFor},
		{name: "and one of these is under way", since: ago(longestHeld), last: ago(1), begin: 1, underWay: map[types.UID]Attempt{"b": alone}, want: betweenAddresses - 1, again: quietFor},
		{name: "and some began a moment ago", since: ago(longestHeld), last: ago(1), between: ago(quietFor / 3), begin: 1, again: quietFor - quietFor/3},
		{name: "for almost as long", since: ago(longestHeld - 1), last: ago(1), begin: 1, again: 1},
		{name: "addresses were written for long, some time ago", since: ago(2 * longestHeld), last: ago(longestHeld), begin: 1, again: quietFor},
		{name: "a write has failed", underWay: map[types.UID]Attempt{"a": {}}, want: atOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, pace := Step{Writes: make([]Write, c.begin), Late: slices.Repeat([]*Service{{Change: new(Change)}}, 2*atOnce)}, pacer{c.since, c.last, c.between}
			pace.begin(&s, c.underWay, now)
			if have := len(s.Writes) - c.begin; have != c.want {
				t.Errorf("%d may begin, want %d", have, c.want)
			}
			if s.Again != c.again || s.Awaits != (c.again == 0) {
				t.Errorf("the next pass is due in %s, or when a write lands: %t; want %s", s.Again, s.Awaits, c.again)
			}
		})
	}
}

func TestManyAnnouncementsAreWrittenSomeAtATime(t *testing.T) {
	all := &Announced{Of: map[types.UID]*Announcement{}}
	var state State
	var services []*corev1.Service
	pools := intent.Objects{Pools: []v1beta1.IPAddressPool{*fixedPool("p", "10.0.0.0/24")}}
	in := Input{Now: time.Unix(1, 0), Configured: intent.Configured{Objects: pools, Config: parsed(pools)}, Namespaces: map[string]map[string]string{"n": nil}, Announced: all}
	for i := range 3 * atOnce {
		services = append(services, aService(string(rune('a'+i%26))+string(rune('a'+i/26)), int64(i)))
	}
	in.Services = services
	_, sends, _ := state.Pass(in)
	if len(sends) != len(services) {
		t.Fatalf("%d addresses are written, want %d", len(sends), len(services))
	}
	for i, x := range sends {
		after := x.Service.DeepCopy()
		x.Change.Apply(after, Finalizer{})
		after.ResourceVersion = "2"
		state.Done(x.Write, Answer{Service: after, Now: in.Now})
		services[i] = after
		all.Of[after.UID] = &Announcement{Addrs: x.Change.Addrs, Condition: announcedAs("True", "Announced")}
	}
	_, sends, again := state.Pass(in)
	if len(sends) > 0 || again != quietFor {
		t.Fatalf("right after the addresses %d conditions are written; the next pass is due in %s", len(sends), again)
	}
	in.Now = in.Now.Add(again)
	written := 0
	for range 3 {
		_, sends, _ = state.Pass(in)
		if len(sends) != atOnce {
			t.Fatalf("after %d: %d are written at once, want %d", written, len(sends), atOnce)
		}
		for _, x := range sends {
			if !x.Change.AnnouncedOnly {
				t.Errorf("more is written than the condition: %+v", x.Change)
			}
			written++
			after := x.Service.DeepCopy()
			x.Change.Apply(after, Finalizer{})
			after.ResourceVersion = "3"
			out := state.Done(x.Write, Answer{Service: after, Now: in.Now})
			if written == 1 && !out.Due {
				t.Error("no pass is due for those that wait")
			}
			services[slices.IndexFunc(services, func(s *corev1.Service) bool { return s.UID == after.UID })] = after
		}
	}
	if _, sends, _ = state.Pass(in); len(sends) > 0 {
		t.Errorf("%d are written again", len(sends))
	}
}
