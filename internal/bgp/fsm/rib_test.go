package fsm

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestChanges(t *testing.T) {
	route := func(prefix string, med uint32) announce.Route {
		return announce.Route{Prefix: netip.MustParsePrefix(prefix), HasMED: true, MED: med}
	}
	a, a2, b, c, six := route("192.0.2.1/32", 1), route("192.0.2.1/32", 2), route("192.0.2.2/32", 1), route("192.0.2.3/32", 1), route("2001:db8::/64", 1)
	self, self6, other := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("192.0.2.99")
	with := func(hop netip.Addr, routes ...announce.Route) AdjRIBOut { return AdjRIBOut{routes, NextHops{V4: hop}} }
	add := func(hop netip.Addr, r announce.Route) Change {
		return Change{Path: Path{Route: r, NextHop: hop}}
	}
	for _, test := range []struct {
		name       string
		have, want AdjRIBOut
		changes    []Change
	}{
		{"nothing to nothing is no change", AdjRIBOut{}, AdjRIBOut{}, nil},
		{"the same is no change", with(self, a, b), with(self, a, b), nil},
		{"new paths are added in order", AdjRIBOut{}, with(self, a, b), []Change{add(self, a), add(self, b)}},
		{"a changed attribute replaces the path", with(self, a, b), with(self, a2, b), []Change{add(self, a2)}},
		{"a changed next hop replaces the path", with(self, a), with(other, a), []Change{add(other, a)}},
		{"missing paths are withdrawn after the new ones are added", with(self, a, b), with(self, b, c),
			[]Change{add(self, c), {Path: Path{Route: a, NextHop: self}, Withdraw: true}}},
		{"an IPv6 session offers IPv6 routes", AdjRIBOut{}, AdjRIBOut{[]announce.Route{a, six}, NextHops{V6: self6}}, []Change{add(self6, six)}},
		{"with a next hop for each it offers both", AdjRIBOut{}, AdjRIBOut{[]announce.Route{a, six}, NextHops{V4: self, V6: self6}}, []Change{add(self, a), add(self6, six)}},
		{"a family without a next hop is not offered", AdjRIBOut{}, with(self, a, six), []Change{add(self, a)}},
		{"a family that loses its next hop is withdrawn", with(self, a), with(netip.Addr{}, a),
			[]Change{{Path: Path{Route: a, NextHop: self}, Withdraw: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.changes, changes(test.have, test.want), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestChangesAppliedToWhatThereIsGiveWhatIsWanted(t *testing.T) {
	some := func() AdjRIBOut {
		var o AdjRIBOut
		for _, p := range []string{"192.0.2.0/24", "192.0.2.1/32", "192.0.2.2/32", "2001:db8::/64"} {
			if n := rand.Uint32N(3); n > 0 {
				o.Routes = append(o.Routes, announce.Route{Prefix: netip.MustParsePrefix(p), MED: n, HasMED: true})
			}
		}
		hops4 := []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("192.0.2.99")}
		hops6 := []netip.Addr{{}, netip.IPv6Unspecified()}
		o.NextHops = NextHops{hops4[rand.IntN(3)], hops6[rand.IntN(2)]}
		return o
	}
	paths := func(o AdjRIBOut) map[netip.Prefix]Path {
		m := map[netip.Prefix]Path{}
		for i := range o.Routes {
			if p, ok := o.at(i); ok {
				m[p.Route.Prefix] = p
			}
		}
		return m
	}
	for range 2000 {
		have, want := some(), some()
		got, steps := paths(have), changes(have, want)
		for _, c := range steps {
			if c.Withdraw {
				delete(got, c.Path.Route.Prefix)
			} else {
				got[c.Path.Route.Prefix] = c.Path
			}
		}
		if !maps.EqualFunc(got, paths(want), Path.Equal) || len(got) != want.Len() {
			t.Fatalf("%v to %v by %v gives %v", have, want, steps, got)
		}
		if slices.ContainsFunc(steps, func(c Change) bool { return !c.Withdraw && paths(have)[c.Path.Route.Prefix].Equal(c.Path) }) {
			t.Fatalf("%v to %v by %v sends what is there", have, want, steps)
		}
	}
}
