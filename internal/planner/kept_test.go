package planner

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// replica is a controller that writes what it plans at once.
type replica struct {
	Planner
	memory KeptAddresses
	again  time.Duration
	awaits bool
}

// plan makes a pass at a time, and writes to the Services. It returns what they
// show then: addresses, reason and message.
func (r *replica) plan(at time.Time, pools []v1beta1.IPAddressPool, services *[]*corev1.Service) map[string]string {
	s := Snapshot{Now: at, Configured: intent.Configured{Objects: intent.Objects{Pools: pools}, Config: parsed(intent.Objects{Pools: pools})}}
	s.Namespaces = map[string]map[string]string{"n": nil, "m": nil}
	s.Services, s.Memory = *services, &r.memory
	p := r.Plan(s)
	step := p.Step(s)
	r.again, r.awaits = step.Again, step.Awaits
	out := map[string]string{}
	*services = nil
	for i, x := range p.Services {
		svc := x.Object
		if x.Change != nil {
			r.send(Write{x.Object, *x.Change})
			svc = svc.DeepCopy()
			x.Change.Apply(svc, r.Finalizer)
		}
		*services = append(*services, svc)
		out[svc.Name] = strings.TrimSpace(fmt.Sprint(intent.Join(p.Grants[i].Addrs), " ", x.Change.message(svc)))
	}
	for i := range pools {
		pools[i].Status.Kept = intent.KeptStatus(p.keptIn()[pools[i].Name])
	}
	return out
}

func (c *Change) message(svc *corev1.Service) string {
	if c != nil {
		return c.Allocated.Message
	}
	return svc.Status.Conditions[0].Message
}

func (r *replica) watch(at time.Time, pools []v1beta1.IPAddressPool, services []*corev1.Service) {
	r.Watch(Snapshot{Now: at, Configured: intent.Configured{Objects: intent.Objects{Pools: pools}, Config: parsed(intent.Objects{Pools: pools})}, Services: services}, &r.memory)
}

func (r *replica) lead() {
	r.Reset()
	r.memory.Forget()
}

func another(name string) *corev1.Service {
	svc := aService(name, 1)
	svc.Namespace = "m"
	return svc
}

func again(name, uid string) *corev1.Service {
	svc := aService(name, 50)
	svc.UID = types.UID(uid)
	return svc
}

func graced(name, grace string, addresses ...v1beta1.AddressRange) v1beta1.IPAddressPool {
	p := *aPool(name, addresses...)
	p.Spec.GraceTime = v1beta1.Duration(grace)
	return p
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if !strings.HasPrefix(got, want) {
		t.Errorf("want %q, have %q", want, got)
	}
}

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// deleted gives n/web the only address of a pool, for which m/old waits, and then
// deletes it.
func (r *replica) deleted(grace string) ([]v1beta1.IPAddressPool, []*corev1.Service) {
	pools := []v1beta1.IPAddressPool{graced("p", grace, "10.0.0.1")}
	services := []*corev1.Service{aService("web", 0), another("old")}
	r.plan(noon, pools, &services)
	return pools, services[1:]
}

func TestAnAddressIsKeptForAServiceThatIsCreatedAgain(t *testing.T) {
	var r replica
	pools, services := r.deleted("1m") // and no pass has seen what it was given
	got := r.plan(noon.Add(time.Hour), pools, &services)
	want(t, got["old"], `every IPv4 address is taken: IPAddressPools p; 10.0.0.1 is kept for Service n/web, which had it, until 2030-01-01T13:01:00Z`)
	if r.again != time.Minute {
		t.Errorf("looks again after %s", r.again)
	}
	services = append(services, again("web", "2"))
	got = r.plan(noon.Add(time.Hour+59*time.Second), pools, &services)
	want(t, got["web"], `10.0.0.1 10.0.0.1 of IPAddressPool "p"`)
	if !r.awaits {
		t.Error("no pass comes when the Service shows its address, and the pool's status goes on saying that it is kept")
	}
	r.plan(noon.Add(time.Hour+59*time.Second), pools, &services)
	if len(pools[0].Status.Kept) > 0 {
		t.Errorf("%v is still kept", pools[0].Status.Kept)
	}
}

// A Service that is to have an address waits until the one that has it has given it up.
// If it is deleted meanwhile, it never had the address.
func TestWhatWasNeverWrittenIsNotKept(t *testing.T) {
	pools := []v1beta1.IPAddressPool{graced("p", "1m", "10.0.0.1")}
	c := intent.Configured{Objects: intent.Objects{Pools: pools}, Config: parsed(intent.Objects{Pools: pools})}
	in := Input{Now: noon, Configured: c, Namespaces: map[string]map[string]string{"n": nil, "m": nil}}
	holder := holding(aService("web", 0), "10.0.0.1")
	holder.Annotations[v1beta1.AnnotationAddressPool] = "none" // so it is to lose its address
	services := schema.GroupResource{Resource: "services"}
	for _, c := range []struct {
		name   string
		holder bool // the other Service shows the address still
		answer error
		kept   bool
	}{
		{"the holder shows the address still", true, nil, false},
		{"a write is under way", false, nil, true},
		{"the answer to the write was lost", false, context.DeadlineExceeded, true},
		{"the write was refused", false, apierrors.NewForbidden(services, "next", nil), false},
		{"the write found no such Service", false, apierrors.NewNotFound(services, "next"), false},
		{"the write was not sent", false, ErrUnsent, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(nil, Finalizer{})
			in.Services = []*corev1.Service{another("next")}
			if c.holder {
				in.Services = append(in.Services, holder)
			}
			_, sends, _ := s.Pass(in)
			for _, x := range sends {
				if x.Service.Name == "next" && c.holder {
					t.Fatal("two Services have one address")
				}
				if c.answer != nil {
					s.Done(x.Write, Answer{Err: c.answer, Now: noon})
				}
			}
			in.Services = in.Services[1:]
			if p, _, _ := s.Pass(in); len(p.Kept) > 0 != c.kept {
				t.Errorf("kept: %v", p.Kept)
			}
		})
	}
}

// A Service that asks for another address shows its own until it has the other one. If it
// leaves meanwhile, its own is kept for it.
func TestWhatAServiceStillShowsIsKept(t *testing.T) {
	pools := []v1beta1.IPAddressPool{graced("p", "1m", "10.0.0.1-10.0.0.2")}
	c := intent.Configured{Objects: intent.Objects{Pools: pools}, Config: parsed(intent.Objects{Pools: pools})}
	in := Input{Now: noon, Configured: c, Namespaces: map[string]map[string]string{"n": nil}}
	svc := holding(aService("web", 0), "10.0.0.1")
	svc.Annotations[v1beta1.AnnotationLoadBalancerIPs] = "10.0.0.2"
	s := New(nil, Finalizer{})
	in.Services = []*corev1.Service{svc}
	if _, sends, _ := s.Pass(in); len(sends) != 1 {
		t.Fatalf("%d writes", len(sends))
	}
	in.Services = nil
	p, _, _ := s.Pass(in)
	var kept []string
	for _, k := range p.Kept {
		kept = append(kept, k.Addr.String())
	}
	slices.Sort(kept)
	want(t, fmt.Sprint(kept), "[10.0.0.1 10.0.0.2]") // the write may have arrived
}

// holding returns svc as it shows an address of pool p.
func holding(svc *corev1.Service, address string) *corev1.Service {
	g := ipam.Grant{Addrs: []netip.Addr{netip.MustParseAddr(address)}, Pools: []string{"p"}}
	c, _ := changeTo(svc, g, nil, orphaned{}, nil)
	c.Apply(svc, Finalizer{})
	return svc
}

func TestNothingIsKeptForEver(t *testing.T) {
	var r replica
	pools, services := r.deleted("1m")
	r.plan(noon, pools, &services)
	want(t, r.plan(noon.Add(59*time.Second), pools, &services)["old"], "every")
	want(t, r.plan(noon.Add(time.Minute), pools, &services)["old"], "10.0.0.1")
}

func TestAShorterGraceTimeCountsAtOnce(t *testing.T) {
	for grace, first := range map[string]string{"0s": "10.0.0.1", "10s": "every IPv4 address is taken: IPAddressPools p; 10.0.0.1 is kept for Service n/web, which had it, until 2030-01-01T12:00:11Z"} {
		var r replica
		pools, services := r.deleted("24h")
		r.plan(noon, pools, &services)
		pools[0].Spec.GraceTime = v1beta1.Duration(grace)
		want(t, r.plan(noon.Add(time.Second), pools, &services)["old"], first)
	}
}

func TestOthersKnowWhatIsKept(t *testing.T) {
	pools := []v1beta1.IPAddressPool{graced("p", "1m", "10.0.0.1")}
	services := []*corev1.Service{aService("web", 0), another("old")}
	var leader, standby replica
	leader.plan(noon, pools, &services)
	standby.watch(noon, pools, services)
	services = services[1:]
	for name, next := range map[string]func() *replica{
		"a standby that saw it go": func() *replica {
			standby.watch(noon, pools, services)
			return &standby
		},
		"a standby that saw the Service, and leads before it sees it go": func() *replica {
			var r replica
			r.watch(noon, pools, append(slices.Clone(services), func() *corev1.Service {
				svc, _ := settledService()
				svc.Name, svc.UID = "web", "web"
				svc.Status.Conditions[1].Message = `10.0.0.1 of IPAddressPool "p"`
				return svc
			}()))
			return &r
		},
		"a new one, after it was written into the pool's status": func() *replica {
			var written replica
			before := []*corev1.Service{aService("web", 0)}
			written.plan(noon, pools, &before)
			before = nil
			written.plan(noon, pools, &before)
			return new(replica)
		},
	} {
		pools[0].Status.Kept = nil
		r := next()
		r.lead()
		mine := slices.Clone(services)
		got := r.plan(noon.Add(time.Second), pools, &mine)
		want(t, name+": "+got["old"], name+`: every IPv4 address is taken: IPAddressPools p; 10.0.0.1 is kept for Service n/web`)
	}
}

func TestAServiceThatWaitsForUsIsKeptItsAddress(t *testing.T) {
	r := replica{Planner: Planner{Finalizer: Finalizer{Wanted: true}}}
	pools := []v1beta1.IPAddressPool{graced("p", "1m", "10.0.0.1")}
	services := []*corev1.Service{aService("web", 0), another("old")}
	r.plan(noon, pools, &services)
	leaving := services[0].DeepCopy()
	at := metav1.NewTime(noon)
	leaving.DeletionTimestamp = &at
	services = []*corev1.Service{leaving, services[1]}
	want(t, r.plan(noon, pools, &services)["old"], "every")
	services = services[1:]
	want(t, r.plan(noon, pools, &services)["old"], "every")
	services = append(services, again("web", "2"))
	want(t, r.plan(noon, pools, &services)["web"], "10.0.0.1")
}

func TestAServiceKeepsWhatItHasOfAPoolThatIsGone(t *testing.T) {
	const kept = `10.0.0.1 10.0.0.1 of IPAddressPool "p" (which is gone: kept until 2030-01-01T12:01:00Z)`
	var r replica
	pools := []v1beta1.IPAddressPool{graced("p", "1m", "10.0.0.1"), graced("q", "1m", "10.0.1.1")}
	other := pools[1:]
	services := []*corev1.Service{aService("web", 0)}
	r.plan(noon, pools, &services)
	want(t, r.plan(noon, other, &services)["web"], kept)
	if r.again != time.Minute {
		t.Errorf("looks again after %s", r.again)
	}
	r = replica{} // the time is not lost with the controller
	want(t, r.plan(noon.Add(50*time.Second), other, &services)["web"], kept)
	back := slices.Clone(services)
	want(t, r.plan(noon.Add(59*time.Second), pools, &back)["web"], `10.0.0.1 10.0.0.1 of IPAddressPool "p";`)
	renamed := append(slices.Clone(other), graced("new", "1m", "10.0.0.0/28"))
	back = slices.Clone(services)
	want(t, r.plan(noon.Add(59*time.Second), renamed, &back)["web"], `10.0.0.1 10.0.0.1 of IPAddressPool "new";`)
	want(t, r.plan(noon.Add(time.Minute), other, &services)["web"], `10.0.1.1`)
}

func TestHowLongAServiceKeepsWhatItHasOfAPoolThatIsGone(t *testing.T) {
	services := func() []*corev1.Service {
		out := []*corev1.Service{aService("web", 0)}
		new(replica).plan(noon, []v1beta1.IPAddressPool{graced("p", "0s", "10.0.0.1")}, &out)
		return out
	}
	var knows, restarted replica
	mine := services()
	knows.plan(noon, []v1beta1.IPAddressPool{graced("p", "0s", "10.0.0.1")}, &mine)
	want(t, knows.plan(noon, nil, &mine)["web"], "there is no IPAddressPool")
	mine = services()
	want(t, restarted.plan(noon, nil, &mine)["web"], `10.0.0.1 10.0.0.1 of IPAddressPool "p" (which is gone: kept until 2030-01-01T12:05:00Z)`)
	// A pool that is there, and does not hold the address any more, is not gone.
	mine = services()
	want(t, knows.plan(noon, []v1beta1.IPAddressPool{graced("p", "5m", "10.0.0.2")}, &mine)["web"], "10.0.0.2")
}

// A standby sees that a Service has lost its address. That the leader has taken it away,
// for it asks for another one, is no deletion: nothing is kept for it.
func TestAStandbyKeepsNothingThatTheLeaderHasTakenAway(t *testing.T) {
	var leader, standby replica
	pools := []v1beta1.IPAddressPool{graced("p", "10m", "10.0.0.1")}
	services := []*corev1.Service{aService("web", 0)}
	leader.plan(noon, pools, &services)
	standby.watch(noon, pools, services)
	asks := services[0].DeepCopy()
	asks.Annotations[v1beta1.AnnotationLoadBalancerIPs] = "10.0.0.9"
	services[0] = asks
	standby.watch(noon.Add(time.Second), pools, services)
	got := leader.plan(noon.Add(time.Second), pools, &services)
	want(t, got["web"], "no IPAddressPool holds 10.0.0.9")
	services = append(services, another("other"))
	got = leader.plan(noon.Add(2*time.Second), pools, &services)
	want(t, got["other"], "10.0.0.1")
	standby.watch(noon.Add(2*time.Second), pools, services)
	services[slices.IndexFunc(services, func(svc *corev1.Service) bool { return svc.Name == "web" })] = again("web", "2")
	standby.lead()
	standby.plan(noon.Add(3*time.Second), pools, &services)
	if len(pools[0].Status.Kept) > 0 {
		t.Errorf("%v is kept", pools[0].Status.Kept)
	}
}
