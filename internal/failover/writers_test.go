package failover

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Two halves of a network that both reach the API server do not write over each other's names.
func TestTheFormerOwnerWritesItsNameAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		denies func(*fixture)
		want   string
	}{
		{"it is alive: it gets the address back", func(*fixture) {}, "Synced"},
		{"it was about to find that it is isolated", func(d *fixture) { d.Isolated = map[string]bool{"x": true} }, "answers 192.0.2.1, Synced"},
		{"its Lease has expired", func(d *fixture) { d.Leases["x"] = Lease{Expired: true} }, "answers 192.0.2.1, Synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFixture()
			d.claim(map[netip.Addr]string{addr: "x", addr2: "y"})
			d.step(0)
			d.dead("x")
			d.Cluster.Nodes[0].Excluded, d.Cluster.Nodes[2].Excluded = "", "an administrator excludes it"
			expect(t, "taken over", d.step(time.Second), "answers 192.0.2.1, answers 192.0.2.2, Synced")
			d.claim(map[netip.Addr]string{addr: self, addr2: self})
			d.step(time.Second)
			d.claim(map[netip.Addr]string{addr: "x", addr2: self})
			o := d.step(time.Second)
			expect(t, "it writes its name", o, "answers 192.0.2.1 unconfirmed, answers 192.0.2.2, probes 192.0.2.1, Synced")
			if o.Wake == 0 || o.Wake > denialTime+2*time.Millisecond {
				t.Errorf("wakes after %v", o.Wake)
			}
			c.denies(d)
			d.step(denialTime - time.Millisecond)
			expect(t, "a while later", d.step(time.Millisecond), strings.Replace(c.want, "Synced", "answers 192.0.2.2, Synced", 1))
		})
	}
}
