package debug

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessions are the same at each time.
type sessions map[string][]announce.Sent

func (s sessions) States() []bgp.State {
	out := []bgp.State{{Peer: "away", Session: bgp.Active}, {Peer: "six", Addr: netip.MustParseAddr("fe80::1%eth0"), Session: bgp.Established}, {Peer: "tor", Addr: netip.MustParseAddr("192.0.2.1"), Session: bgp.Established}}
	return out[:len(s)]
}

func (s sessions) Sent(peer string) []announce.Sent { return s[peer] }

func TestDebugRoutes(t *testing.T) {
	some := sessions{"away": nil, "six": {}, "tor": {
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), NextHop: netip.MustParseAddr("192.0.2.11"), ASPath: []uint32{64512, 64512}, HasMED: true, Bandwidth: 100,
			Communities: []uint32{0xffff0000, 64512<<16 | 7}, Large: []announce.LargeCommunity{{Global: 64512, Data1: 1, Data2: 2}}},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), NextHop: netip.MustParseAddr("2001:db8:2::11"), LocalPref: 300, HasLocalPref: true},
	}}
	const away, six = `{"peer":"away","state":"Active","routes":[]}`, `{"peer":"six","router":"fe80::1%eth0","state":"Established","routes":[]}`
	const tor = `{"peer":"tor","router":"192.0.2.1","state":"Established","routes":[
		{"prefix":"192.0.2.7/32","nextHop":"192.0.2.11","asPath":[64512,64512],"med":0,"communities":["65535:0","64512:7","large:64512:1:2"],"linkBandwidth":100},
		{"prefix":"2001:db8::/64","nextHop":"2001:db8:2::11","localPref":300}]}`
	for _, c := range []struct {
		name, query string
		sessions    sessions
		want        string
	}{
		{"no session", "", nil, "[]"},
		{"all sessions", "", some, "[" + away + "," + six + "," + tor + "]"},
		{"those with one peer", "?peer=tor", some, "[" + tor + "]"},
		{"there is no such peer", "?peer=x", some, "[]"},
	} {
		w := httptest.NewRecorder()
		(&routes{Sessions: c.sessions, log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, httptest.NewRequest("GET", "/debug/routes"+c.query, nil))
		var got, want any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v in %s", c.name, err, w.Body)
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
