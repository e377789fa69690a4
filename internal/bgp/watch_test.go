package bgp

import (
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
)

func TestWatchFrom(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	fast := announce.Peer{BFD: announce.BFD{Receive: 50 * time.Millisecond, Transmit: 40 * time.Millisecond, Multiplier: 3}}
	slow := announce.Peer{BFD: announce.BFD{Receive: time.Second, Transmit: 2 * time.Second, Multiplier: 10}}
	for _, c := range []struct {
		name string
		peer announce.Peer
		now  view
		want time.Time
	}{
		{"soon after the session is up", fast, view{session: Established, since: at(2)}, at(3)},
		{"not before the router has forgotten a former speaker", slow, view{session: Established, since: at(2)}, at(20)},
		{"which in later sessions it has", slow, view{session: Established, since: at(60)}, at(61)},
		{"when the session has long been down, in case the router waits for that", fast, view{session: Active, since: at(8), down: at(2)}, at(12)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := watchFrom(c.peer, c.now, start); !got.Equal(c.want) {
				t.Errorf("after %s, want %s", got.Sub(start), c.want.Sub(start))
			}
		})
	}
}

func TestSevered(t *testing.T) {
	for _, c := range []struct {
		name string
		by   bfd.Outage
		want string
	}{
		{"the router is silent", bfd.Outage{Diagnostic: bfd.DetectionTimeExpired, RemoteStatus: bfd.Up}, "BFD: detection time expired: no packet came from the router"},
		{"the router hears nothing", bfd.Outage{Diagnostic: bfd.NeighborSignaledDown, RemoteStatus: bfd.Down, RemoteDiagnostic: bfd.DetectionTimeExpired}, `BFD: the router signaled down; its diagnostic is "detection time expired"`},
		{"the administrator has switched it off there", bfd.Outage{Diagnostic: bfd.NeighborSignaledDown, RemoteStatus: bfd.AdminDown, RemoteDiagnostic: bfd.AdministrativelyDown}, ""},
		{"or here", bfd.Outage{Diagnostic: bfd.AdministrativelyDown, RemoteStatus: bfd.Up}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pathLost(bfd.State{LastOutage: c.by}); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
