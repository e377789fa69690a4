package announce_test

import (
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestTheForecastAgreesWithTheDecisionOfEachNode(t *testing.T) {
	everywhere := func(announce.Node) bool { return true }
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, rng *rand.Rand) {
		for i := range s.Neighbors {
			s.Neighbors[i].Peer.DualStack = rng.Intn(2) == 0
		}
		plans, forecast := decideAll(s), s.Forecast(everywhere)
		for i := range s.Services {
			svc := &s.Services[i]
			for _, a := range svc.Addrs {
				compareLayer2(t, plans, forecast, svc, a)
				compareAdvertisements(t, s, plans, forecast, svc, a)
			}
			if len(svc.Addrs) == 1 { // Decide tells of all together
				compareRoutes(t, plans, forecast, svc)
			}
		}
	})
}

func compareLayer2(t *testing.T, plans map[string]announce.Plan, forecast *announce.Forecast, svc *announce.Service, a announce.Address) {
	t.Helper()
	want, have, owner := map[announce.Reason]int{}, forecast.Layer2(svc, a), ""
	for _, p := range plans {
		of := p.Of(svc.Key).Of(a.Addr)
		owner = of.Owner
		want[of.Reason]++
	}
	takesPart := want[announce.AddressOutsidePools]+want[announce.NotAdvertised]+want[announce.NoEndpoints]+want[announce.EndpointsUnstable] == 0
	if owner != "" && takesPart && have[announce.Announced] == 0 || (owner == "" || !takesPart) && !maps.Equal(want, have) {
		t.Errorf("%s of %s: %q owns it, for %v; the forecast is %v", a.Addr, svc.Key, owner, want, have)
	}
}

// compareAdvertisements holds that a node announces an address by some advertisement.
func compareAdvertisements(t *testing.T, s announce.Snapshot, plans map[string]announce.Plan, forecast *announce.Forecast, svc *announce.Service, a announce.Address) {
	t.Helper()
	onLink, _ := forecast.Covered(svc, a)
	if node := owner(plans, a.Addr); onLink && node != "" && plans[node].Of(svc.Key).Of(a.Addr).Reason == announce.Announced && len(forecast.AnsweredBy(svc, a, node)) == 0 {
		t.Errorf("%s of %s: node %s answers for it, by no L2Advertisement", a.Addr, svc.Key, node)
	}
	want, have := map[string]bool{}, map[string]bool{}
	for node := range forecast.Sessions(svc, a) {
		want[node] = true
	}
	for _, nodes := range forecast.OfferedBy(svc, a, func(string, string) bool { return true }) {
		for _, n := range nodes {
			have[n] = true
		}
	}
	if slices.ContainsFunc(s.BGP, func(ad announce.BGPAdvertisement) bool { return ad.Withdraws }) {
		maps.DeleteFunc(want, func(node string, _ bool) bool { return !have[node] }) // others may withdraw it
	}
	if !maps.Equal(want, have) {
		t.Errorf("%s of %s: %v offer it, by advertisements %v do", a.Addr, svc.Key, want, have)
	}
}

func compareRoutes(t *testing.T, plans map[string]announce.Plan, forecast *announce.Forecast, svc *announce.Service) {
	t.Helper()
	a := svc.Addrs[0]
	want, have := map[announce.Reason]int{}, forecast.BGP(svc, a)
	for _, p := range plans {
		want[p.Of(svc.Key).BGP]++
	}
	delete(want, announce.AddressOutsidePools) // of these no node has more to tell
	delete(want, announce.NotAdvertised)
	have[announce.Announced] += have[announce.NotCarried]
	delete(have, announce.NotCarried)
	maps.DeleteFunc(have, func(_ announce.Reason, n int) bool { return n == 0 })
	if !maps.Equal(want, have) {
		t.Errorf("%s of %s: the nodes decide %v, the forecast is %v", a.Addr, svc.Key, want, have)
	}
	for node, peer := range forecast.Sessions(svc, a) {
		if !slices.ContainsFunc(plans[node].Peerings, func(x announce.Peering) bool {
			return x.Peer.Name == peer && x.Peer.Carries(ipam.FamilyOf(a.Addr)) &&
				slices.ContainsFunc(x.Routes, func(r announce.Route) bool { return r.Prefix.Contains(a.Addr) })
		}) {
			t.Errorf("%s of %s: by the forecast node %s offers it to %s", a.Addr, svc.Key, node, peer)
		}
	}
}
