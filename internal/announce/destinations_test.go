package announce

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDestinations(t *testing.T) {
	route := func(p string) Route { return Route{Prefix: netip.MustParsePrefix(p)} }
	list := []Route{route("10.0.0.1/32"), route("10.0.1.0/24"), route("2001:db8::/64")}
	p := Plan{
		Claims: []Claim{{Addr: netip.MustParseAddr("192.0.2.7")}, {Addr: netip.MustParseAddr("2001:db8::7")}},
		// Two share a list, one has the beginning of it, one has none, one has its own.
		Peerings: []Peering{{Routes: list}, {Routes: list}, {Routes: list[:1]}, {}, {Routes: []Route{route("10.0.2.1/32")}}},
	}
	var got []string
	for _, x := range p.Destinations() {
		got = append(got, x.String())
	}
	want := []string{"192.0.2.7/32", "2001:db8::7/128", "10.0.0.1/32", "10.0.1.0/24", "2001:db8::/64", "10.0.0.1/32", "10.0.2.1/32"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (Plan{}).Destinations(); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
}
