package announce_test

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestLinksMatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		links announce.Links
		link  string
		want  bool
	}{
		{name: "no patterns match every link", link: "eth0", want: true},
		{name: "an exact name matches itself", links: announce.Links{Only: []string{"eth0"}}, link: "eth0", want: true},
		{name: "an exact name is no prefix", links: announce.Links{Only: []string{"eth0"}}, link: "eth01"},
		{name: "a glob matches", links: announce.Links{Only: []string{"lan", "eth*"}}, link: "eth12", want: true},
		{name: "a glob matches the whole name", links: announce.Links{Only: []string{"eth?"}}, link: "eth12"},
		{name: "an exception wins", links: announce.Links{Only: []string{"eth0"}, Except: []string{"e*"}}, link: "eth0"},
		{name: "an exception leaves the others", links: announce.Links{Except: []string{"cali*"}}, link: "eth0", want: true},
		{name: "a name that is no pattern matches itself", links: announce.Links{Only: []string{"a["}}, link: "a[", want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := c.links.Match(c.link); have != c.want {
				t.Errorf("%+v matches %q: want %v, have %v", c.links, c.link, c.want, have)
			}
		})
	}
}

func TestRoutesAreEqualOnlyInEveryPart(t *testing.T) {
	full := announce.Route{
		Prefix: netip.MustParsePrefix("10.0.0.0/24"), LocalPref: 1, MED: 2, HasMED: true, Prepend: 3,
		Communities: []uint32{4}, Large: []announce.LargeCommunity{{Global: 5, Data1: 6, Data2: 7}},
	}
	if !full.Equal(full) {
		t.Error("a route differs from itself")
	}
	for part, change := range map[string]func(*announce.Route){
		"prefix":      func(r *announce.Route) { r.Prefix = netip.MustParsePrefix("10.0.0.0/25") },
		"local-pref":  func(r *announce.Route) { r.LocalPref++ },
		"med":         func(r *announce.Route) { r.MED++ },
		"no med":      func(r *announce.Route) { r.HasMED = false },
		"prepend":     func(r *announce.Route) { r.Prepend++ },
		"communities": func(r *announce.Route) { r.Communities = []uint32{5} },
		"large":       func(r *announce.Route) { r.Large = []announce.LargeCommunity{{Global: 5, Data1: 6, Data2: 8}} },
	} {
		other := full
		change(&other)
		if full.Equal(other) || other.Equal(full) {
			t.Errorf("routes of different %s count as equal", part)
		}
		if full.String() == other.String() {
			t.Errorf("routes of different %s print the same: %s", part, full)
		}
	}
}

func TestClaimIsNewUntilItWasAnnounced(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name string
		held []announce.HeldClaim
		want bool
	}{
		{"no node has claimed it", nil, true},
		{"another address is claimed", []announce.HeldClaim{{Addr: addr.Next(), Node: "a"}}, true},
		{"it was announced, by this node", []announce.HeldClaim{{Addr: addr, Node: "a"}}, false},
		{"it was announced, by another", []announce.HeldClaim{{Addr: addr, Node: "b"}}, false},
		{"it was claimed, but not announced", []announce.HeldClaim{{Addr: addr, Node: "a", NeedsDAD: true}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := announce.Decide(announce.Snapshot{
				Self: "a", Nodes: []announce.Node{{Name: "a", Live: true, Links: []announce.Link{{Name: "eth0", Up: true}}}},
				Services: []announce.Service{{Addrs: []announce.Address{{Addr: addr, Pool: "lan"}}}},
				L2:       []announce.L2Advertisement{{Name: "lan"}}, Claims: c.held,
			})
			if len(plan.Claims) != 1 || plan.Claims[0].NeedsDAD != c.want {
				t.Errorf("claims %+v, want one with NeedsDAD=%t", plan.Claims, c.want)
			}
		})
	}
}
