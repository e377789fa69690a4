package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestAnnounced(t *testing.T) {
	route := func(p string) announce.Route { return announce.Route{Prefix: netip.MustParsePrefix(p)} }
	list := []announce.Route{route("10.0.0.1/32"), route("10.0.1.0/24"), route("2001:db8::/64")}
	p := announce.Plan{
		Claims: []announce.Claim{{Addr: netip.MustParseAddr("192.0.2.7")}, {Addr: netip.MustParseAddr("2001:db8::7")}},
		// Two share a list, one has the beginning of it, one has none, one has its own.
		Peerings: []announce.Peering{{Routes: list}, {Routes: list}, {Routes: list[:1]}, {}, {Routes: []announce.Route{route("10.0.2.1/32")}}},
	}
	var got []string
	for _, x := range announced(p) {
		got = append(got, x.String())
	}
	want := []string{"192.0.2.7/32", "2001:db8::7/128", "10.0.0.1/32", "10.0.1.0/24", "2001:db8::/64", "10.0.0.1/32", "10.0.2.1/32"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := announced(announce.Plan{}); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
}
