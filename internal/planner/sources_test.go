package planner

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// A Service moves from an address that its pool no longer has: nothing but the answer to that write tells that the
// IPAM can have it back.
func TestAnIPAMGetsBackAtOnceWhatNoServiceShows(t *testing.T) {
	svc, s := aService("a", 1), New(nil, Finalizer{})
	in := Input{Now: time.Unix(100, 0), Namespaces: map[string]map[string]string{"n": {}}, Services: []*corev1.Service{svc}, Cluster: "c"}
	configure := func(r v1beta1.AddressRange) {
		pool := aPool("lan", r)
		pool.Spec.Source = &v1beta1.PoolSource{Type: v1beta1.SourceExternal, External: &v1beta1.ExternalSource{Endpoint: "127.0.0.1:9000"}}
		in.Objects = intent.Objects{Pools: []v1beta1.IPAddressPool{*pool}}
		in.Config = parsed(in.Objects)
	}
	pass := func(want source.Kind) (Plan, []Send) {
		t.Helper()
		in.Now = in.Now.Add(time.Second)
		p, sends, _ := s.Pass(in)
		if want == 0 && len(p.Calls) > 0 || want != 0 && (len(p.Calls) != 1 || p.Calls[0].Kind != want) {
			t.Fatalf("it calls %v, want a %s: %+v", p.Calls, want, p.Grants)
		}
		return p, sends
	}
	written := func(sends []Send) (due bool) {
		for _, x := range sends {
			svc = svc.DeepCopy()
			x.Change.Apply(svc, Finalizer{})
			svc.ResourceVersion += "1"
			in.Services[0] = svc
			due = s.Done(x.Write, Answer{Service: svc, Now: in.Now}).Due
		}
		return due
	}
	configure("10.0.0.1-10.0.0.4")
	p, sends := pass(source.List)
	written(sends)
	s.Asked(source.Answer{Call: p.Calls[0]}, in.Now)
	p, _ = pass(source.Allocate)
	s.Asked(source.Answer{Call: p.Calls[0], Given: netip.MustParseAddr("10.0.0.4"), Of: "lan"}, in.Now)
	_, sends = pass(0)
	written(sends)
	configure("10.0.0.1-10.0.0.2")
	if _, sends = pass(0); len(sends) != 1 || len(sends[0].Change.Addrs) > 0 {
		t.Fatalf("it writes %+v, and does not take the address away", sends)
	}
	if !written(sends) {
		t.Error("no pass is due when no Service shows the address any more")
	}
	pass(source.Release)
}

// An IPAM says that it has not leased what a Service has, and refuses it. With whenLost: Move the Service gets
// another address, and keeps the old one until then.
func TestALostAddress(t *testing.T) {
	for _, c := range []struct {
		whenLost v1beta1.WhenLost
		again    netip.Addr // what is asked for after the refusal
	}{
		{v1beta1.LostKeep, netip.MustParseAddr("10.0.0.4")},
		{v1beta1.LostMove, netip.Addr{}},
	} {
		t.Run(string(c.whenLost), func(t *testing.T) {
			old, other := netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.0.0.2")
			svc, s := aService("a", 1), New(nil, Finalizer{})
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: old.String()}}
			pool := aPool("lan", "10.0.0.1-10.0.0.4")
			pool.Spec.Source = &v1beta1.PoolSource{Type: v1beta1.SourceExternal, External: &v1beta1.ExternalSource{Endpoint: "127.0.0.1:9000", WhenLost: c.whenLost}}
			in := Input{Now: time.Unix(100, 0), Namespaces: map[string]map[string]string{"n": {}}, Services: []*corev1.Service{svc}, Cluster: "c"}
			in.Objects = intent.Objects{Pools: []v1beta1.IPAddressPool{*pool}}
			in.Config = parsed(in.Objects)
			has := func(what string, want netip.Addr) {
				t.Helper()
				if got := intent.Holds(in.Services[0]); !slices.Equal(got, []netip.Addr{want}) {
					t.Fatalf("%s it has %v, want %s", what, got, want)
				}
			}
			pass := func() Plan {
				in.Now = in.Now.Add(2 * time.Minute)
				p, sends, _ := s.Pass(in)
				for _, x := range sends {
					svc = svc.DeepCopy()
					x.Change.Apply(svc, Finalizer{})
					svc.ResourceVersion += "1"
					in.Services = []*corev1.Service{svc}
					s.Done(x.Write, Answer{Service: svc, Now: in.Now})
				}
				return p
			}
			answer := func(p Plan, kind source.Kind, a source.Answer) source.Call {
				t.Helper()
				i := slices.IndexFunc(p.Calls, func(c source.Call) bool { return c.Kind == kind })
				if i < 0 {
					t.Fatalf("it calls %v, and no %s", p.Calls, kind)
				}
				for j, call := range p.Calls { // others: the list
					if j != i {
						s.Asked(source.Answer{Call: call}, in.Now)
					}
				}
				a.Call = p.Calls[i]
				s.Asked(a, in.Now)
				return p.Calls[i]
			}
			answer(pass(), source.List, source.Answer{})
			if asked := answer(pass(), source.Allocate, source.Answer{Failure: source.Taken, Text: "answers: no"}); asked.Addr != old {
				t.Fatalf("it asks for %s first, want %s", asked.Addr, old)
			}
			asked := answer(pass(), source.Allocate, source.Answer{Failure: source.Exhausted, Text: "has none"})
			if has("while there is no other", old); asked.Addr != c.again {
				t.Errorf("after the refusal it asks for %s, want %s", asked.Addr, c.again)
			}
			if c.whenLost == v1beta1.LostKeep {
				return
			}
			answer(pass(), source.Allocate, source.Answer{Given: other, Of: "lan"})
			pass()
			has("when there is another", other)
			for range 3 {
				for _, call := range pass().Calls {
					if call.Kind != source.List {
						t.Errorf("at rest it calls %+v", call)
					}
					s.Asked(source.Answer{Call: call, Held: []source.Allocation{{Key: source.Key{UID: string(svc.UID)}, Pool: "lan", Addr: other}}}, in.Now)
				}
			}
			has("at rest", other)
		})
	}
}
