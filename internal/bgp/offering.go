package bgp

import (
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/speak"
)

// offering is what a session offers: those of the routes for whose family it
// has a next hop. The zero offering is empty.
type offering struct {
	routes []announce.Route // sorted by prefix; shared with other sessions and plans, so never written
	hops   hops
}

// at returns the path of a route; false: it is not offered.
func (o offering) at(i int) (speak.Path, bool) {
	p := speak.Path{Route: o.routes[i], NextHop: o.hops.of(o.routes[i])}
	return p, p.NextHop.IsValid()
}

// len counts the paths.
func (o offering) len() int {
	n := 0
	for i := range o.routes {
		if o.hops.of(o.routes[i]).IsValid() {
			n++
		}
	}
	return n
}

// changes lists what leads from have to want: first what is new or different,
// then what is withdrawn, each sorted by prefix.
func changes(have, want offering) []speak.Change {
	var add, withdraw []speak.Change
	for i, j := 0, 0; i < len(have.routes) || j < len(want.routes); {
		order := 0 // <0: have's comes first, and want has none of its prefix
		switch {
		case i == len(have.routes):
			order = 1
		case j == len(want.routes):
			order = -1
		default:
			order = announce.ComparePrefix(have.routes[i].Prefix, want.routes[j].Prefix)
		}
		var h, w speak.Path
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
			add = append(add, speak.Change{Path: w})
		case had && !wanted:
			withdraw = append(withdraw, speak.Change{Path: h, Withdraw: true})
		}
	}
	return append(add, withdraw...)
}
