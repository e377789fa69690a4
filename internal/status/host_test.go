package status

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/ports"
)

// TestHostReportsItsNode has a kernel's settings in files.
func TestHostReportsItsNode(t *testing.T) {
	proc := t.TempDir()
	for name, text := range map[string]string{
		"kernel/osrelease":                "6.1.0-13-amd64\n",
		"net/ipv4/conf/all/rp_filter":     "0\n",
		"net/ipv4/conf/default/rp_filter": "1\n",
		"net/ipv4/conf/lo/rp_filter":      "1\n",
		"net/ipv4/conf/eth0/rp_filter":    "1\n",
		"net/ipv4/conf/eth1/rp_filter":    "2\n",
		"net/ipv4/conf/eth2/rp_filter":    "0\n",
	} {
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("nftables")) }))
	defer proxy.Close()
	standing := map[string]membership.Standing{"a": membership.Unknown, "b": membership.Alive, "c": membership.Unknown}
	down := map[string]time.Time{"b": {}, "c": {}}
	var unnumbered []string
	var notReady, noNetwork error
	noNulls, noNode := "", ""
	others := []ports.Use{{Program: "bird (process 7)"}, {Program: "bird (process 7)", Ours: netip.MustParseAddr("192.0.2.11"), Theirs: netip.MustParseAddr("192.0.2.1")}}
	h := &Host{
		bgp:  func() []ports.Use { return others },
		proc: proc, proxy: proxy.URL,
		ready: func(context.Context) (string, error) { return v1beta1.ForwarderReadyCheck, notReady },
		view: func() membership.View {
			dmz := map[netip.Prefix]membership.View{netip.MustParsePrefix("198.51.100.0/24"): {Down: map[string]time.Time{"b": {}}}}
			return membership.View{Standing: standing, Down: down, Segments: dmz}
		},
		nulls: func() string { return noNulls },
		token: func(context.Context) string { return noNode },
		network: func() (Network, error) {
			return Network{[]v1beta1.HostAddress{{Address: "192.0.2.11", Link: "eth0"}}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, unnumbered}, noNetwork
		},
	}
	see := func(want v1beta1.SpeakerHost) {
		t.Helper()
		if diff := cmp.Diff(want, h.check(t.Context())); diff != "" {
			t.Error(diff)
		}
	}
	usual := v1beta1.SpeakerHost{Kernel: "6.1.0-13-amd64", ProxyMode: "nftables", Forwarder: "ReadyCheck", StrictReversePath: []string{"eth0"},
		Addresses: []v1beta1.HostAddress{{Address: "192.0.2.11", Link: "eth0"}}, Gateways: []string{"192.0.2.1"}, BGPPrograms: []v1beta1.BGPProgram{{Program: "bird (process 7)"}, {Program: "bird (process 7)", Router: "192.0.2.1", Address: "192.0.2.11"}}}
	see(usual) // a speaker that is unreachable at the first check may only not be known yet

	down = map[string]time.Time{"c": {}, "d": {}}
	standing["c"], notReady = membership.Alive, errors.New("refused")
	noNulls, noNode = "not permitted", "tells no node"
	later := usual
	later.UnreachableSpeakers, later.ProxyError, later.NullRouteError, later.TokenError = []string{"a"}, "refused", "not permitted", "tells no node"
	later.SessionsDown = []string{"b on 198.51.100.0/24", "c"}
	see(later)

	// The setting for all links applies where it is greater; 2 is loose.
	if err := os.WriteFile(filepath.Join(proc, "net/ipv4/conf/all/rp_filter"), []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	notReady, noNulls, noNode = nil, "", ""
	standing["a"] = membership.Alive
	loose := usual
	loose.StrictReversePath, loose.SessionsDown = nil, []string{"b on 198.51.100.0/24", "c", "d"}
	see(loose)

	// On a link without an address the kernel does at 2 what it does at 1 on others.
	unnumbered = []string{"eth0"}
	loose.StrictReversePath = []string{"eth0"}
	see(loose)
	unnumbered = nil

	// Nothing can be read: all fields are empty.
	h.proc = filepath.Join(proc, "nowhere")
	proxy.Close()
	down, noNetwork = nil, errors.New("no netlink")
	others, h.asked = nil, time.Time{}
	see(v1beta1.SpeakerHost{Forwarder: "ReadyCheck", SessionsDown: []string{"b on 198.51.100.0/24"}})

	// Who else speaks BGP is not looked for at each check; the first 16 are reported.
	for i := range 20 {
		others = append(others, ports.Use{Program: strings.Repeat("b", 300), Ours: netip.MustParseAddr("fe80::1%eth0"), Theirs: netip.AddrFrom4([4]byte{10, 9, 8, byte(i)})})
	}
	if none := h.check(t.Context()).BGPPrograms; none != nil {
		t.Errorf("looked for again at once: %+v", none)
	}
	h.asked = time.Now().Add(-bgpInterval)
	if got := h.check(t.Context()).BGPPrograms; len(got) != 16 || got[0].Router != "10.9.8.0" || got[0].Address != "fe80::1" || len(got[0].Program) > 256 {
		t.Errorf("%d programs: %+v", len(got), got)
	}
}

// A subnet counts as deprecated when the link has no address there to begin connections from.
func TestASubnetWhoseAddressesAreDeprecatedSaysSo(t *testing.T) {
	old, now, v4 := netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParsePrefix("192.0.2.0/24")
	links := linksOf([]layer2.Link{{Name: "eth0", Prefixes: []netip.Prefix{v4, old, now}, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8:2::5")}}}, nil)
	if diff := cmp.Diff([]string{"2001:db8:1::/64"}, links[0].Deprecated); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}
