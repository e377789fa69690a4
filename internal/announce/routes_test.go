package announce_test

import (
	"cmp"
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestRoutesAgreeWithTheTwin(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, _ *rand.Rand) {
		for name, p := range decideAll(s) {
			n := s.Nodes[slices.IndexFunc(s.Nodes, func(n announce.Node) bool { return n.Name == name })]
			have := map[string][]string{}
			for _, peering := range p.Peerings {
				have[peering.Peer.Name] = []string{}
				for _, r := range peering.Routes {
					have[peering.Peer.Name] = append(have[peering.Peer.Name], r.String())
				}
			}
			for _, x := range p.Superseded {
				have[x.Peer] = []string{"superseded by " + x.By}
			}
			want, clashes := twinRoutes(s, n)
			if diff := gocmp.Diff(want, have); diff != "" {
				t.Errorf("%s: the twin -, Decide +\n%s", name, diff)
			}
			reported := map[announce.AttributeClash]bool{}
			for _, c := range p.Clashes {
				reported[c] = true
			}
			if diff := gocmp.Diff(clashes, reported); diff != "" || len(reported) != len(p.Clashes) {
				t.Errorf("%s: clashes by the twin -, by Decide +\n%s", name, diff)
			}
		}
	})
}

// twinSuperseded returns the older peer that keeps n from a session with peer, or "".
func twinSuperseded(s announce.Snapshot, n announce.Node, peer announce.Neighbor) string {
	by := peer
	for _, other := range s.Neighbors {
		older := other.Created.Before(by.Created) || other.Created.Equal(by.Created) && other.Peer.Name < by.Peer.Name
		if (other.Nodes == nil || other.Nodes(n.Labels)) && other.Peer.Port == peer.Peer.Port && older {
			by = other
		}
	}
	if by.Peer.Name == peer.Peer.Name {
		return ""
	}
	return by.Peer.Name
}

// twinServed reports whether a Service on the address has traffic policy Local, and whether n
// has endpoints of all that do.
func twinServed(s announce.Snapshot, n announce.Node, addr netip.Addr) (local, served bool) {
	served = true
	for _, svc := range s.Services {
		for _, a := range svc.Addrs {
			if a.Addr == addr && svc.Local {
				local, served = true, served && svc.ReadyOn(addr)[n.Name]
			}
		}
	}
	return local, served
}

// twinRoutes returns the routes that n advertises to each peer, and the clashes of
// advertisements. For every prefix it goes through all advertisements by name.
func twinRoutes(s announce.Snapshot, n announce.Node) (map[string][]string, map[announce.AttributeClash]bool) {
	out, clashes := map[string][]string{}, map[announce.AttributeClash]bool{}
	for _, peer := range s.Neighbors {
		if peer.Nodes != nil && !peer.Nodes(n.Labels) {
			continue
		}
		if by := twinSuperseded(s, n, peer); by != "" {
			out[peer.Peer.Name] = []string{"superseded by " + by}
			continue
		}
		routes := map[netip.Prefix]announce.Route{}
		setBy := map[netip.Prefix]map[string]string{} // the advertisement that gave each field
		for _, ad := range s.BGP {                    // their names are in order
			if ad.Peers != nil && !ad.Peers[peer.Peer.Name] || n.Excluded != "" || ad.Nodes != nil && !ad.Nodes(n.Labels) {
				continue
			}
			for _, svc := range s.Services {
				for _, a := range svc.Addrs {
					local, served := twinServed(s, n, a.Addr)
					if !selects(ad.Selection, svc, a) || !served || a.Node != "" && a.Node != n.Name {
						continue
					}
					length := map[bool]int{true: ad.Length4, false: ad.Length6}[a.Addr.Is4()]
					if local {
						length = a.Addr.BitLen()
					}
					prefix := netip.PrefixFrom(a.Addr, length).Masked()
					r := routes[prefix]
					r.Prefix = prefix
					if setBy[prefix] == nil {
						setBy[prefix] = map[string]string{}
					}
					field := func(name string, set, same bool) (first bool) {
						by := setBy[prefix][name]
						if set && by == "" {
							setBy[prefix][name] = ad.Name
							return true
						}
						if set && !same {
							clashes[announce.AttributeClash{Loser: ad.Name, Winner: by, Field: name}] = true
						}
						return false
					}
					x := ad.Attributes
					if field("localPref", x.LocalPref != 0, r.LocalPref == x.LocalPref) {
						r.LocalPref = x.LocalPref
					}
					if field("med", x.HasMED, r.MED == x.MED) {
						r.MED, r.HasMED = x.MED, true
					}
					if field("asPathPrepend", x.Prepend != 0, r.Prepend == x.Prepend) {
						r.Prepend = x.Prepend
					}
					r.Communities = slices.Concat(r.Communities, x.Communities)
					slices.Sort(r.Communities)
					r.Communities = slices.Compact(r.Communities)
					r.Large = slices.Concat(r.Large, x.Large)
					slices.SortFunc(r.Large, announce.LargeCommunity.Compare)
					r.Large = slices.Compact(r.Large)
					routes[prefix] = r
				}
			}
		}
		names := []string{}
		for _, r := range slices.SortedFunc(maps.Values(routes), func(a, b announce.Route) int {
			return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits())
		}) {
			names = append(names, r.String())
		}
		out[peer.Peer.Name] = names
	}
	return out, clashes
}
