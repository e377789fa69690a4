package announce_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// TestChanges changes each field alone: some need no new session.
func TestChanges(t *testing.T) {
	free := []string{"Name", "ConnectTime", "BFD", "NextHopV4", "NextHopV6", "NodeV4", "NodeV6", "RestartTime", "Revision"}
	fields := reflect.TypeFor[announce.Peer]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		var p, q announce.Peer
		switch f := reflect.ValueOf(&q).Elem().Field(i); f.Interface().(type) {
		case netip.Addr:
			f.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		case announce.BFD:
			f.Set(reflect.ValueOf(announce.BFD{Multiplier: 3}))
		case announce.Source:
			f.Set(reflect.ValueOf(announce.Source{Link: "eth1"}))
		case announce.Gateway:
			f.Set(reflect.ValueOf(announce.Gateway{Link: "eth1"}))
		case bool:
			f.SetBool(true)
		default:
			if f.Kind() == reflect.String {
				f.SetString("x")
			} else if f.CanUint() {
				f.SetUint(7)
			} else {
				f.SetInt(7)
			}
		}
		if reflect.DeepEqual(p, q) {
			t.Fatalf("%s was not changed", name)
		}
		want := 1
		if slices.Contains(free, name) {
			want = 0
		}
		if got := p.Changes(q); len(got) != want {
			t.Errorf("%s: changes %v, want %d of them", name, got, want)
		}
		if got := q.Changes(q); got != nil {
			t.Errorf("%s: changes from itself: %v", name, got)
		}
	}
}

// Without graceful restart the router does not learn of the restart time.
func TestARestartTimeChangesWhatTheRouterLearned(t *testing.T) {
	p, q := announce.Peer{Graceful: true, RestartTime: 1}, announce.Peer{Graceful: true, RestartTime: 2}
	if got := p.Changes(q); !slices.Equal(got, []announce.Change{{Field: "restartTime", Need: announce.NextSession}}) {
		t.Errorf("changes %v", got)
	}
}

// A node without a value holds no session, and takes no other peer's.
func TestAPeerIsWhatItIsOnTheNode(t *testing.T) {
	router := netip.MustParseAddr("192.0.2.1")
	perNode := func(name string) announce.Neighbor {
		return announce.Neighbor{Peer: announce.Peer{Name: name}, PerNode: func(labels, annotations map[string]string) announce.Peer {
			if labels["rack"] == "" && annotations["rack"] == "" {
				return announce.Peer{Name: name, Problem: "no rack"}
			}
			return announce.Peer{Name: name, Addr: router}
		}}
	}
	for _, c := range []struct {
		name       string
		node       announce.Node
		held       int
		superseded int
		problem    string
	}{
		{"a label", announce.Node{Labels: map[string]string{"rack": "1"}}, 1, 1, ""},
		{"an annotation", announce.Node{Annotations: map[string]string{"rack": "1"}}, 1, 1, ""},
		{"neither", announce.Node{}, 2, 0, "no rack"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.node.Name = "a"
			d := announce.Decide(announce.Snapshot{Self: "a", Nodes: []announce.Node{c.node}, Neighbors: []announce.Neighbor{perNode("p"), perNode("q")}})
			if len(d.Peerings) != c.held || len(d.Superseded) != c.superseded || d.Peerings[0].Peer.Problem != c.problem {
				t.Errorf("holds %v, superseded %v", d.Peerings, d.Superseded)
			}
		})
	}
}

func TestTheNodesAddressIsItsRouterID(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.9")
	for node, want := range map[string]netip.Addr{"192.0.2.11": netip.MustParseAddr("192.0.2.11"), "2001:db8::11": {}} {
		s := announce.Snapshot{
			Self: "a", Nodes: []announce.Node{{Name: "a", Addr: netip.MustParseAddr(node)}},
			Neighbors: []announce.Neighbor{{Peer: announce.Peer{Name: "named", RouterID: own}}, {Peer: announce.Peer{Name: "other", Port: 1790}}},
		}
		held := announce.Decide(s).Peerings
		if held[0].Peer.RouterID != own || held[1].Peer.RouterID != want {
			t.Errorf("at %s: %s and %s", node, held[0].Peer.RouterID, held[1].Peer.RouterID)
		}
	}
}
