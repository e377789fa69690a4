package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// A collector that misreads an UPDATE measures nothing.
func TestCollectorReadsUpdates(t *testing.T) {
	p := netip.MustParsePrefix("10.99.0.7/32")
	nlri, err := bgp.NewIPAddrPrefix(p)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{record: record{routes: map[netip.Prefix]bool{}}}
	c.update(&bgp.BGPUpdate{NLRI: []bgp.PathNLRI{{NLRI: nlri}}}, time.Now())
	if !c.routes[p] || c.updates != 1 {
		t.Errorf("announced: %v", c.routes)
	}
	c.update(&bgp.BGPUpdate{WithdrawnRoutes: []bgp.PathNLRI{{NLRI: nlri}}}, time.Now())
	if len(c.routes) != 0 || c.updates != 2 {
		t.Errorf("withdrawn: %v", c.routes)
	}
}
