package planner

import (
	"net/netip"
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
