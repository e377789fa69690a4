package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestTheGatewayIsTheRouter(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 neighbor 10.9.0.4 remote-as 64512
 neighbor 10.9.0.4 passive
`+activate("10.9.0.4"), "")
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.99")
	p.Addr, p.Gateway = netip.Addr{}, announce.Gateway{Link: "eth0", Family: 4}
	p.Source = announce.Source{Link: "eth0", Prefix: netip.MustParsePrefix("10.9.0.4/31")}
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	fails(t, s, "p", "this node has no default route of IPv4 on eth0 with a gateway")
	ip(t, "route", "add", "default", "via", "10.9.0.99", "metric", "9") // the other one has the least metric
	ip(t, "route", "add", "default", "via", "10.9.0.1")
	if got := router.path(t, "ipv4", "198.51.100.1/32"); got.Nexthops[0].IP != "10.9.0.4" {
		t.Errorf("%+v", got)
	}
	if got := establish(t, s, "p"); got.Addr != netip.MustParseAddr("10.9.0.1") {
		t.Errorf("%+v", got)
	}
	// The session lasts for as long as its router answers, whatever the routes say.
	ip(t, "route", "del", "default", "via", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.2/32")}})
	router.path(t, "ipv4", "198.51.100.2/32")
	if got := state(s, "p"); got.Session != Established || got.Drops != 0 {
		t.Errorf("%+v", got)
	}
}

func TestASourceThatIsNotThere(t *testing.T) {
	if !inRack(t) {
		return
	}
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	p.Source = announce.Source{Prefix: netip.MustParsePrefix("192.0.2.0/24")}
	plain := announce.Peer{Name: "plain", LocalASN: 64512, PeerASN: 64601, Problem: "spec.peerAddressFrom: this Node has no label"}
	s.Set([]announce.Peering{{Peer: p}, {Peer: plain}})
	fails(t, s, "p", "this node has no address of IPv4 in 192.0.2.0/24 for the session")
	fails(t, s, "plain", plain.Problem)
}

func TestNextHopsOfThePeer(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startFRR(t, os.Getenv(routerNS), frrHead+`
 neighbor 10.9.0.2 remote-as 64512
 neighbor 10.9.0.2 passive
`+activate("10.9.0.2"), "")
	addAddr(t, strings.TrimSuffix(os.Getenv(routerNS), "router")+"node", "fd09::3/64")
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	p.DualStack = true
	set := func() {
		s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32", "2001:db8::1/128")}})
	}
	hops := func(v4, v6 string) {
		t.Helper()
		for prefix, want := range map[string]string{"198.51.100.1/32": v4, "2001:db8::1/128": v6} {
			family := map[bool]string{true: "ipv6", false: "ipv4"}[strings.Contains(prefix, ":")]
			eventually(t, prefix+" has the next hop "+want, func() error {
				if got := router.path(t, family, prefix); got.Nexthops[0].IP != want {
					return fmt.Errorf("%+v", got)
				}
				return nil
			})
		}
	}
	set()
	hops("10.9.0.2", "fd09::2")
	p.NodeV6 = netip.MustParseAddr("fd09::3")
	set()
	hops("10.9.0.2", "fd09::3")
	// Without a word of the cluster: the address leaves the node.
	ip(t, "addr", "del", "fd09::3/64", "dev", "eth0")
	hops("10.9.0.2", "fd09::2")
	p.NextHopV4, p.NextHopV6 = netip.MustParseAddr("10.9.0.3"), netip.MustParseAddr("fd09::1:9")
	ip(t, "-n", os.Getenv(routerNS), "neigh", "replace", "fd09::1:9", "lladdr", "02:00:00:00:00:09", "dev", "eth0")
	set()
	hops("10.9.0.3", "fd09::1:9")
	if got := state(s, "p"); got.Session != Established || got.Resets != 0 || got.Drops != 0 {
		t.Errorf("%+v", got)
	}
}

func TestALinkLocalRouter(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, `
protocol bgp uplink {
  local as 64601; neighbor range fe80::/10 external; interface "eth0"; dynamic name "node"; graceful restart;
  ipv4 { import all; export none; extended next hop on; };
  ipv6 { import all; export none; };
}
`)
	text := linkLocal(t, "-n", os.Getenv(routerNS))
	addr := netip.MustParseAddr(text).WithZone("eth0")
	s, _ := startSessions(t)
	p := announce.Peer{Name: "p", Addr: addr, LocalASN: 64512, PeerASN: 64601, ConnectTime: 1e9, DualStack: true, Graceful: true, RestartTime: 300e9}
	s.Set([]announce.Peering{{Peer: p, Routes: routes("2001:db8::1/128")}})
	establish(t, s, "p")
	router.shows(t, "node1", "2001:db8::1/128", "BGP.next_hop: ", " fe80::")
	eventually(t, "the router knows the restart time", func() error {
		text, err := router.ask("show", "protocols", "all", "node1")
		if err == nil && !strings.Contains(text, "Restart time: 300") {
			err = fmt.Errorf("in\n%s", text)
		}
		return err
	})
	// The same router as the gateway of a route of IPv6.
	s.Set(nil)
	ip(t, "-6", "route", "add", "default", "via", text, "dev", "eth0")
	p.Name, p.Addr, p.Gateway = "q", netip.Addr{}, announce.Gateway{Family: 6}
	s.Set([]announce.Peering{{Peer: p}})
	if got := establish(t, s, "q"); got.Addr != addr {
		t.Errorf("%+v", got)
	}
}

// A network plugin's session with the same router goes first: a dial of ours could end it.
func TestBesideAnothersSession(t *testing.T) {
	if !inRack(t) {
		return
	}
	router := startBird(t, `
protocol bgp plugin { local as 64601; neighbor 10.9.0.2 as 64512; passive; graceful restart; ipv4 { import all; export none; }; }
protocol bgp ours { local as 64601; neighbor 10.9.0.3 as 64512; passive; ipv4 { import all; export none; }; }
`)
	dir := t.TempDir()
	config := "router id 10.9.0.2;\nprotocol device {}\nprotocol bgp { local 10.9.0.2 as 64512; neighbor 10.9.0.1 as 64601; connect delay time 1; ipv4 { import none; export none; }; }\n"
	if err := os.WriteFile(dir+"/bird.conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	plugin := exec.Command("bird", "-f", "-c", dir+"/bird.conf", "-s", dir+"/ctl") // in the node's namespace, as this test is
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	up := func(protocol string) {
		t.Helper()
		eventually(t, protocol+" is up", func() error {
			out, err := router.ask("show", "protocols", protocol)
			if err == nil && !strings.Contains(out, "Established") {
				err = fmt.Errorf("in\n%s", out)
			}
			return err
		})
	}
	up("plugin")
	s, _ := startSessions(t)
	p := peer("p", "10.9.0.1")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	fails(t, s, "p", "another program of this node has a BGP session with 10.9.0.1 from 10.9.0.2", "bird (process ", "sourceAddressFrom")
	before, err := router.ask("show", "protocols", "plugin")
	if err != nil {
		t.Fatal(err)
	}
	own := p
	own.SourceAddr = netip.MustParseAddr("10.9.0.3") // what makes it work
	s.Set([]announce.Peering{{Peer: own, Routes: routes("198.51.100.1/32")}})
	router.shows(t, "ours", "198.51.100.1/32")
	if after, err := router.ask("show", "protocols", "plugin"); err != nil || after != before {
		t.Errorf("the plugin's session changed: %v\n%s\n%s", err, before, after)
	}
	s.Set([]announce.Peering{{Peer: p, Routes: routes("198.51.100.1/32")}})
	fails(t, s, "p", "another program of this node")
	if err := plugin.Process.Kill(); err != nil { // the plugin is gone: the router is ours
		t.Fatal(err)
	}
	_ = plugin.Wait()
	router.shows(t, "plugin", "198.51.100.1/32")
}
