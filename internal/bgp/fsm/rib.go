package fsm

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Path is a route with its next hop. An unspecified next hop stands for this node's
// address in the session. The zero Path is not valid.
type Path struct {
	Route   announce.Route
	NextHop netip.Addr
}

// Equal reports whether p and q would be sent as the same UPDATE.
func (p Path) Equal(q Path) bool { return p.NextHop == q.NextHop && p.Route.Equal(q.Route) }

// sharesAttributes reports whether p and q are of one family and differ in their
// prefixes only.
func (p Path) sharesAttributes(q Path) bool {
	same := p.Route.Prefix.Addr().Is4() == q.Route.Prefix.Addr().Is4()
	q.Route.Prefix = p.Route.Prefix
	return same && p.Equal(q)
}

// attributesKey returns equal strings for paths that share their attributes.
func (p Path) attributesKey() string {
	r := p.Route
	r.Prefix = netip.Prefix{}
	return fmt.Sprint(p.Route.Prefix.Addr().Is4(), p.NextHop, r.LocalPref, r.MED, r.HasMED, r.Bandwidth, r.Prepend, r.Leaving, r.Communities, r.Large)
}

// Change is a path to advertise, which replaces an earlier one of its prefix, or a
// path to withdraw.
type Change struct {
	Path     Path
	Withdraw bool
}

// NextHops are the next hops of a session, by family of the route. Invalid: routes of
// that family are not advertised.
type NextHops struct{ V4, V6 netip.Addr }

// of returns the next hop for a route.
func (h NextHops) of(r announce.Route) netip.Addr {
	if r.Prefix.Addr().Is4() {
		return h.V4
	}
	return h.V6
}

// AdjRIBOut is what a session advertises (RFC 4271 section 3.2): the routes for whose
// family it has a next hop. The zero AdjRIBOut is empty.
type AdjRIBOut struct {
	Routes   []announce.Route // sorted by prefix; shared with other sessions and plans, so it must not be changed
	NextHops NextHops
}

// at returns the path of a route; false: it is not advertised.
func (o AdjRIBOut) at(i int) (Path, bool) {
	p := Path{Route: o.Routes[i], NextHop: o.NextHops.of(o.Routes[i])}
	return p, p.NextHop.IsValid()
}

// Len counts the paths.
func (o AdjRIBOut) Len() int {
	n := 0
	for i := range o.Routes {
		if o.NextHops.of(o.Routes[i]).IsValid() {
			n++
		}
	}
	return n
}

// Equal reports whether o and p have the same list of routes in memory. False does
// not mean that they differ.
func (o AdjRIBOut) Equal(p AdjRIBOut) bool {
	return o.NextHops == p.NextHops && len(o.Routes) == len(p.Routes) && (len(o.Routes) == 0 || &o.Routes[0] == &p.Routes[0])
}

// agreed returns the part of o that the peer accepts.
func (o AdjRIBOut) agreed(p announce.Peer, t Capabilities) AdjRIBOut {
	own4 := p.Addr.Is4() || p.DualStack
	own6 := !p.Addr.Is4() || p.DualStack
	if !own4 || !t.IPv4 || o.NextHops.V4.Is6() && !t.Extended {
		o.NextHops.V4 = netip.Addr{}
	}
	if !own6 || !t.IPv6 {
		o.NextHops.V6 = netip.Addr{}
	}
	return o
}

// changes returns the changes from have to want: first what is new or different, then
// what is withdrawn, each sorted by prefix.
func changes(have, want AdjRIBOut) []Change {
	if have.Equal(want) {
		return nil
	}
	var add, withdraw []Change
	for i, j := 0, 0; i < len(have.Routes) || j < len(want.Routes); {
		order := 0 // <0: the next prefix of have is not in want; >0: that of want is not in have
		switch {
		case i == len(have.Routes):
			order = 1
		case j == len(want.Routes):
			order = -1
		default:
			order = announce.ComparePrefix(have.Routes[i].Prefix, want.Routes[j].Prefix)
		}
		var h, w Path
		var had, wanted bool
		if order <= 0 {
			h, had = have.at(i)
			i++
		}
		if order >= 0 {
			w, wanted = want.at(j)
			j++
		}
		switch {
		case wanted && !(had && h.Equal(w)):
			add = append(add, Change{Path: w})
		case had && !wanted:
			withdraw = append(withdraw, Change{Path: h, Withdraw: true})
		}
	}
	return slices.Concat(add, withdraw)
}
