package failover

import (
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

var (
	dmz     = netip.MustParsePrefix("198.51.100.0/24")
	dmzAddr = netip.MustParseAddr("198.51.100.1")
)

// newSegmentFixture returns a fixture whose nodes have a second link, with an address there
// that node x has.
func newSegmentFixture() *fixture {
	d := newFixture()
	v := membership.View{Standing: map[string]membership.Standing{}}
	for i := range d.Cluster.Nodes {
		n := &d.Cluster.Nodes[i]
		n.Links[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		mac := macOf(n.Name)
		mac[4] = 1
		d.MACs[mac] = n.Name
		n.Links = append(n.Links, announce.Link{Name: "eth1", Up: true, MAC: mac, Prefixes: []netip.Prefix{dmz}})
		v.Standing[n.Name] = membership.Alive
	}
	d.Members.Segments = map[netip.Prefix]membership.View{dmz: v}
	d.Cluster.Services[0].Addrs[0].Addr = dmzAddr
	d.Cluster.Services = d.Cluster.Services[:1]
	d.Cluster.Nodes = d.Cluster.Nodes[:2] // this one and x
	d.claim(map[netip.Addr]string{dmzAddr: "x"})
	return d
}

func (d *fixture) linkDead(node string) { d.Members.Segments[dmz].Standing[node] = membership.Dead }
func (d *fixture) linkReported(node string, up bool) {
	for i := range d.Cluster.Nodes {
		if d.Cluster.Nodes[i].Name == node {
			d.Cluster.Nodes[i].Links[1].Up = up
		}
	}
}

// renew has the Lease of x renewed, as seen by a Step a second later.
func (d *fixture) renew() Output {
	d.Leases["x"] = Lease{Renewed: d.Leases["x"].Renewed.Add(time.Second)}
	return d.step(time.Second)
}

func TestALinkThatIsDead(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*fixture)
		then   func(*fixture)
		takes  bool
	}{
		{"works", func(*fixture) {}, func(*fixture) {}, false},
		{"is dead", func(*fixture) {}, func(d *fixture) { d.linkDead("x") }, true},
		{"is dead, and the API server is away", (*fixture).away, func(d *fixture) { d.linkDead("x") }, true},
		{"is not reached, and reported as down", func(*fixture) {}, func(d *fixture) {
			d.Members.Segments[dmz].Standing["x"] = membership.Unknown
			d.linkReported("x", false)
		}, true},
		{"is reached, and had been reported as down", func(*fixture) {}, func(d *fixture) { d.linkReported("x", false) }, false},
		{"is dead, and so is that of this node", func(*fixture) {}, func(d *fixture) {
			d.linkDead("x")
			v := d.Members.Segments[dmz]
			v.Isolated = true
			d.Members.Segments[dmz] = v
		}, false},
		{"is dead, and its node is heard to announce by it", func(*fixture) {}, func(d *fixture) {
			d.linkDead("x")
			mac := macOf("x")
			mac[4] = 1
			d.Facts.Conflicts = []Conflict{{Addr: dmzAddr, MAC: mac, First: d.Now, Last: d.Now}}
		}, false},
	} {
		t.Run("the link "+c.name, func(t *testing.T) {
			d := newSegmentFixture()
			d.step(0)
			c.before(d)
			d.step(0)
			c.then(d)
			if got := d.step(0).Claimed[dmzAddr]; got != c.takes {
				t.Errorf("takes: %t", got)
			}
		})
	}
}

// Halves of a segment, all of whose nodes reach the API server: each takes the other's
// links for dead.
func TestALinkThatIsDeadForOneHalfAlone(t *testing.T) {
	d := newSegmentFixture()
	d.step(0)
	d.linkDead("x")
	if !d.step(0).Claimed[dmzAddr] {
		t.Fatal("does not take the address")
	}
	d.claim(map[netip.Addr]string{dmzAddr: self})
	for range 4 {
		d.renew()
	}
	d.claim(map[netip.Addr]string{dmzAddr: "x"}) // which goes on to have it
	if d.renew().Claimed[dmzAddr] {
		t.Error("keeps the address that x goes on to have")
	}
	d.linkReported("x", false)
	if !d.renew().Claimed[dmzAddr] {
		t.Error("x says that its link is dead, and this node does not take the address")
	}
}

// A node with a dead link is counted on for all else.
func TestALinkThatIsDeadIsNoDeadNode(t *testing.T) {
	d := newSegmentFixture()
	d.Cluster.Services[0].Addrs = append(d.Cluster.Services[0].Addrs, announce.Address{Addr: addr, Pool: "lan"})
	d.claim(map[netip.Addr]string{dmzAddr: "x", addr: "x"})
	d.step(0)
	d.linkDead("x")
	o := d.step(0)
	if !o.Claimed[dmzAddr] || o.Claimed[addr] || !o.Alive["x"] {
		t.Errorf("claims %v, alive %v", o.Claimed, o.Alive)
	}
	d.Members.Segments[dmz].Standing["x"] = membership.Alive
	d.claim(map[netip.Addr]string{dmzAddr: self, addr: "x"})
	o = d.step(time.Second)
	if o = d.step(time.Second); !o.Claimed[dmzAddr] || o.Plan.Claims[0].Generation != 1 {
		t.Errorf("x is back on the link, and its neighbors there are not told: %+v", o.Plan.Claims)
	}
}

// This node's link was dead while the API server was away, so it has missed who took its
// address over: it asks, and takes the address at once when that one's link is dead.
func TestWhatWasMissedOnASegment(t *testing.T) {
	d := newSegmentFixture()
	d.claim(map[netip.Addr]string{dmzAddr: self})
	d.step(0)
	d.away()
	isolate := func(is bool) {
		v := d.Members.Segments[dmz]
		v.Isolated = is
		d.Members.Segments[dmz] = v
	}
	isolate(true)
	d.step(time.Second)
	isolate(false)
	if o := d.step(time.Second); o.Claimed[dmzAddr] || len(o.Probe[dmzAddr].Links) != 1 {
		t.Fatalf("claims %v, and asks for %v", o.Claimed, o.Probe)
	}
	answered := func() {
		mac := macOf("x")
		mac[4] = 1
		d.Probes[dmzAddr] = Probe{Reply: membership.Answered, MAC: mac, Answered: d.Now, Asked: d.Now, Done: d.Now, Links: []string{"eth1"}}
	}
	for range 5 {
		answered()
		if o := d.step(time.Second); o.Claimed[dmzAddr] || len(o.Probe) == 0 {
			t.Fatalf("claims %v, and asks for %v", o.Claimed, o.Probe)
		}
	}
	answered()
	d.step(500 * time.Millisecond)
	d.linkDead("x")
	if !d.step(0).Claimed[dmzAddr] {
		t.Error("does not take what x had")
	}
}

// This node's own link is dead: it gives its address there up.
func TestTheOwnLinkIsDead(t *testing.T) {
	d := newSegmentFixture()
	d.claim(map[netip.Addr]string{dmzAddr: self})
	if !d.step(0).Claimed[dmzAddr] {
		t.Fatal("does not have its address")
	}
	v := d.Members.Segments[dmz]
	v.Isolated = true
	d.Members.Segments[dmz] = v
	if o := d.step(time.Second); o.Claimed[dmzAddr] || len(o.Proxy) > 0 {
		t.Errorf("still answers: %v, %v", o.Claimed, o.Proxy)
	}
}
