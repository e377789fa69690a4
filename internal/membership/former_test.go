package membership

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/bfd"
)

// wanted records the sessions that a Group wants.
type wanted struct{ sessions []bfd.Session }

func (w *wanted) Set(s []bfd.Session)       { w.sessions = s }
func (w *wanted) States() []bfd.State       { return nil }
func (w *wanted) Changed() <-chan struct{}  { return nil }
func (w *wanted) Run(context.Context) error { return nil }

// The Node of a former name remains while its machine has another name: other nodes have one
// session with the machine, and the machine has none with itself.
func TestFormerNameOfANode(t *testing.T) {
	former, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for self, want := range map[string]netip.Addr{"new": other, "other": former} {
		var w wanted
		g := New(self, 1, &w, nil, nil, slog.New(slog.DiscardHandler))
		g.Set(Config{Members: []Member{{Name: "former", Addr: former}, {Name: "new", Addr: former}, {Name: "other", Addr: other}}, Keys: [][]byte{[]byte("key")}, Multiplier: 4})
		r := &running{Group: g, watches: []*watch{{State: NewState(self, 1)}}}
		r.configure()
		if len(w.sessions) != 1 || w.sessions[0].Peer != want {
			t.Errorf("%s has sessions %v", self, w.sessions)
		}
	}
}
