package bgp

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// TestEqualListsAreKept sets a peer's routes again, equal or not, in a list of their own.
func TestEqualListsAreKept(t *testing.T) {
	routes := func(med uint32, prefixes ...string) (out []announce.Route) {
		for _, p := range prefixes {
			out = append(out, announce.Route{Prefix: netip.MustParsePrefix(p), MED: med})
		}
		return out
	}
	peering := func(name string, of []announce.Route) announce.Peering {
		return announce.Peering{Peer: announce.Peer{Name: name}, Routes: of}
	}
	first := routes(0, "192.0.2.1/32", "192.0.2.2/32")
	before := []announce.Peering{peering("a", first), peering("b", first), peering("c", routes(0, "192.0.2.1/32")), peering("d", nil)}
	for name, c := range map[string]struct {
		peer string
		is   []announce.Route
		kept bool
	}{
		"equal":                    {"a", routes(0, "192.0.2.1/32", "192.0.2.2/32"), true},
		"another attribute":        {"a", routes(1, "192.0.2.1/32", "192.0.2.2/32"), false},
		"another prefix":           {"b", routes(0, "192.0.2.1/32", "192.0.2.3/32"), false},
		"one more":                 {"c", routes(0, "192.0.2.1/32", "192.0.2.2/32"), false},
		"of a peer that had none":  {"d", routes(0, "192.0.2.1/32"), false},
		"of a peer that is new":    {"e", routes(0, "192.0.2.1/32"), false},
		"of another peer that had": {"c", routes(0, "192.0.2.2/32"), false},
	} {
		t.Run(name, func(t *testing.T) {
			was := c.is
			for _, p := range before {
				if p.Peer.Name == c.peer && c.kept {
					was = p.Routes
				}
			}
			want := keepLists(before, []announce.Peering{peering("b", c.is), peering(c.peer, c.is), peering("d", nil)})
			if have := want[1].Routes; &have[0] != &was[0] || len(have) != len(was) {
				t.Errorf("the list is kept: %t, want %t", !c.kept, c.kept)
			}
		})
	}
}
