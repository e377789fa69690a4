package failover

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// A node that is to have an address for a new endpoint leaves it to its owner until kube-proxy
// sends to the endpoint.
func TestANewEndpointWaitsForKubeProxy(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts func(*fixture)
		want  string
	}{
		{"nothing of a living node before", func(*fixture) {}, "Synced"},
		{"then it does", func(d *fixture) { d.Cluster.Services[0].EndpointState = "" }, "answers 192.0.2.1, Synced"},
		{"what a dead node had waits for nothing", func(d *fixture) { d.dead("x") }, "answers 192.0.2.1, Synced"},
		{"nor does what is its own", func(d *fixture) { d.claim(map[netip.Addr]string{addr: self, addr2: "y"}) }, "answers 192.0.2.1, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			svc := &d.Cluster.Services[0]
			svc.Local, svc.ReadyOn4, svc.EndpointState = true, map[string]bool{self: true}, announce.Arriving
			c.facts(d)
			expect(t, c.name, d.step(0), c.want)
		})
	}
}
